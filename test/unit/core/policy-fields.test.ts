/**
 * Every field of the policy is enforced somewhere: one row per field and enforcer, with a case that
 * passes under the policy, the mutation of that one field, and the refusal that follows. The fields are
 * enumerated from the schema, so a new one without a row fails here.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { PolicyBody } from '#schemas/policy.ts';
import { compile } from '#schemas/primitives.ts';
import { policyOf } from './mesh.ts';
import { algorithmRows } from './policy-rows/algorithms.ts';
import { channelRows } from './policy-rows/channels.ts';
import { documentRows } from './policy-rows/documents.ts';
import { rotationRows } from './policy-rows/rotations.ts';
import type { PolicyRow } from './policy-rows/row.ts';

const rows: readonly PolicyRow[] = [
  ...documentRows,
  ...algorithmRows,
  ...rotationRows,
  ...channelRows,
];
const policyCheck = compile(PolicyBody);

interface SchemaNode {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
}

/** Paths of all leaves; the items of a list of objects are entered, other lists are leaves. */
function leavesOf(node: SchemaNode, path = ''): string[] {
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([name, child]) =>
      leavesOf(child, path === '' ? name : `${path}.${name}`),
    );
  }
  return node.items?.properties === undefined ? [path] : leavesOf(node.items, `${path}[]`);
}

/** The values under a path, one for each item of a list of objects. */
function valuesAt(value: unknown, path: string): unknown[] {
  let found: unknown[] = [value];
  for (const part of path.split('.')) {
    const name = part.replace('[]', '');
    found = found.map((one) => (one as Record<string, unknown>)[name]);
    if (part !== name) found = found.flat();
  }
  return found;
}

describe('the fields of the policy', () => {
  const leaves = leavesOf(PolicyBody as unknown as SchemaNode);

  it('each have a row, and no row is about anything else', () => {
    expect(leaves).toContain('policies.rotation.approvals.recovery');
    expect(leaves).toContain('policies.exceptions[].layers');
    expect([...new Set(rows.map(({ field }) => field))].toSorted()).toEqual(leaves.toSorted());
  });

  it('each have their line in docs/policy.md', () => {
    const text = readFileSync(new URL('../../../docs/policy.md', import.meta.url), 'utf8');
    const named = [...text.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, name = '']) => name);
    const paths = leaves.map((leaf) => leaf.replace(/^policies\./, ''));
    expect(named.toSorted()).toEqual(paths.toSorted());
  });

  it.each(rows)('$field: $enforcedBy', async ({ field, before, change, run, code }) => {
    const base = policyOf();
    before?.(base.policies, base);
    const mutated = structuredClone(base);
    change(mutated.policies, mutated);
    expect(await run(base), 'before').toBe('ok');
    expect(await run(mutated), 'after').toBe(code);
    expect(valuesAt(mutated, field)).not.toEqual(valuesAt(base, field));
    for (const other of leaves.filter((leaf) => leaf !== field)) {
      expect(valuesAt(mutated, other), other).toEqual(valuesAt(base, other));
    }
    expect(policyCheck.errors(base)).toEqual([]);
  });
});
