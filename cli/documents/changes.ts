/**
 * Changes to a document as people type them: `policies.minimum_security_level=4`. A path names a field
 * of the body, a value is JSON where it reads as JSON and text where it does not. Pure: what comes out
 * is checked against the schema by whoever proposes it.
 */
import { usageFault } from '../fault.ts';

export type Json = null | boolean | number | string | Json[] | { [field: string]: Json };

export interface Change {
  readonly path: readonly string[];
  readonly value: Json;
}

/** One field that differs: `from` or `to` is undefined where the field is not there. */
export interface Difference {
  readonly path: string;
  readonly from: Json | undefined;
  readonly to: Json | undefined;
}

/** Fields that the proposal sets itself. */
const ownFields: ReadonlySet<string> = new Set([
  'kind',
  'mesh',
  'version',
  'issued_at',
  'expires_at',
]);
const stepPattern = /^(?:[a-zA-Z0-9_-]{1,64})$/;
const pathStepsMax = 12;

/** `a.b.0.c=VALUE`, or `a.b.NAME.c=VALUE` for an entry of a list that has a name. */
export function parseChange(text: string): Change {
  const at = text.indexOf('=');
  const path = at < 1 ? [] : text.slice(0, at).split('.');
  if (
    path.length === 0 ||
    path.length > pathStepsMax ||
    !path.every((step) => stepPattern.test(step))
  ) {
    throw usageFault(
      `"${text.slice(0, 80)}" is not a change`,
      'Write --set PATH=VALUE, such as policies.minimum_security_level=3.',
    );
  }
  if (ownFields.has(path[0] ?? '')) {
    throw usageFault(
      `${path[0]} is not for --set`,
      'Version and times are set by the proposal itself; see --expires-in-days.',
    );
  }
  return { path, value: jsonOf(text.slice(at + 1)) };
}

/** A copy of `body` with every change applied, in order. */
export function withChanges(body: Json, changes: readonly Change[]): Json {
  return changes.reduce<Json>(
    (changed, { path, value }) => replaced(changed, path, value, path),
    body,
  );
}

/** Every leaf that differs, in order of path; lists of what has no name are compared as wholes. */
export function differences(from: Json, to: Json): Difference[] {
  const left = leavesOf(from, '');
  const right = leavesOf(to, '');
  const paths = [...new Set([...left.keys(), ...right.keys()])].toSorted();
  return paths.flatMap((path) => {
    const [before, after] = [left.get(path), right.get(path)];
    return JSON.stringify(before) === JSON.stringify(after)
      ? []
      : [{ path, from: before, to: after }];
  });
}

function jsonOf(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}

function replaced(
  node: Json | undefined,
  [step, ...rest]: readonly string[],
  value: Json,
  whole: readonly string[],
): Json {
  if (step === undefined) return value;
  if (Array.isArray(node)) {
    const index = /^\d{1,4}$/.test(step) ? Number(step) : indexOfNamed(node, step);
    if (index < 0 || index >= node.length) throw noSuchField(whole);
    return node.with(index, replaced(node[index], rest, value, whole));
  }
  if (node === null || typeof node !== 'object' || !Object.hasOwn(node, step)) {
    throw noSuchField(whole);
  }
  return { ...node, [step]: replaced(node[step], rest, value, whole) };
}

/** The place of the object with this name in a list, or -1. */
function indexOfNamed(list: readonly Json[], name: string): number {
  return list.findIndex(
    (item) =>
      item !== null && typeof item === 'object' && !Array.isArray(item) && item['name'] === name,
  );
}

function noSuchField(path: readonly string[]) {
  return usageFault(
    `the document has no field ${path.join('.').slice(0, 120)}`,
    'Write a field as show and diff do, with its folders; whole lists and objects are set as JSON.',
  );
}

function leavesOf(node: Json, path: string): Map<string, Json> {
  const fields = fieldsOf(node);
  if (fields === undefined) return new Map([[path, node]]);
  return new Map(
    fields.flatMap(([field, value]) => [
      ...leavesOf(value, path === '' ? field : `${path}.${field}`),
    ]),
  );
}

/** Of an object its fields, of a list of named objects those by their names; else undefined. */
function fieldsOf(node: Json): [string, Json][] | undefined {
  if (node === null || typeof node !== 'object') return undefined;
  if (!Array.isArray(node)) return Object.entries(node);
  const named = node.flatMap((item): [string, Json][] => {
    const isObject = item !== null && typeof item === 'object' && !Array.isArray(item);
    const name = isObject ? item['name'] : undefined;
    return typeof name === 'string' ? [[name, item]] : [];
  });
  const isNamed = node.length > 0 && new Set(named.map(([name]) => name)).size === node.length;
  return isNamed ? named : undefined;
}
