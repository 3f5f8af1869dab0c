/**
 * Canonical JSON (RFC 8785), the bytes that a signed document's signatures cover: strings and numbers as
 * ECMAScript writes them, fields sorted by UTF-16 code units. What JSON would silently drop or change is
 * refused: undefined, functions, class instances, numbers that it cannot carry exactly. Property tests
 * hold it to the package `canonicalize`.
 */
import { utf8 } from './bytes.ts';
import { CryptoError } from './errors.ts';
import { sortedKeys } from './sorted-keys.ts';

/** Objects and arrays inside each other, at the most. */
export const jsonDepthMax = 32;
/** Canonical bytes of one document, at the most: 1 MiB. */
export const jsonBytesMax = 1024 * 1024;

export type JsonValue =
  null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

const keysRefused: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * The canonical bytes of `value`, UTF-8. Throws `CryptoError` `NOT_ENCODABLE` where `isJson` is
 * false or the result has more than `jsonBytesMax` bytes.
 */
export function canonicalJson(value: unknown): Uint8Array {
  if (!isJson(value)) throw new CryptoError('NOT_ENCODABLE', 'the value is not canonical JSON');
  const bytes = utf8(written(value));
  if (bytes.length > jsonBytesMax) {
    throw new CryptoError('NOT_ENCODABLE', `a document has at most ${jsonBytesMax} bytes`);
  }
  return bytes;
}

/**
 * Whether `value` is JSON that means the same everywhere: plain objects and arrays at most 32 deep,
 * well-formed strings, finite numbers with integers within 2^53, no key that reaches a prototype.
 */
export function isJson(value: unknown, depth = 1): value is JsonValue {
  if (value === null || typeof value === 'boolean') return true;
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') {
    return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  }
  if (typeof value !== 'object' || depth > jsonDepthMax) return false;
  return Array.isArray(value) ? areJson(value, depth) : isJsonObject(value, depth);
}

/** A hole is undefined here too. */
function areJson(items: readonly unknown[], depth: number): boolean {
  for (const item of items) {
    if (!isJson(item, depth + 1)) return false;
  }
  return true;
}

function isJsonObject(value: object, depth: number): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(fields)) {
    if (keysRefused.has(key) || !key.isWellFormed() || !isJson(fields[key], depth + 1)) {
      return false;
    }
  }
  return true;
}

/** Of what `isJson`. */
function written(value: JsonValue): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) {
    let items = '';
    for (const item of value) items += items === '' ? written(item) : `,${written(item)}`;
    return `[${items}]`;
  }
  let fields = '';
  for (const key of sortedKeys(value)) {
    const field = `${JSON.stringify(key)}:${written(value[key] ?? null)}`;
    fields += fields === '' ? field : `,${field}`;
  }
  return `{${fields}}`;
}
