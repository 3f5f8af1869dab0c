/** The tree of a batch is the tree of RFC 9162, as the log of the auditor builds it too. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { rootOfPath, treeLevels, treePath, treeRoot } from '#shared/core/batch-tree.ts';
import { appendLeaf, emptyRange, leafHash, rootOf, verifyInclusion } from '#shared/core/merkle.ts';

const hash = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());
const leaves = Array.from({ length: 256 }, (_, index) => leafHash(hash, Uint8Array.of(index)));

test('every size has the root of the appended tree, every leaf its path', () => {
  let range = emptyRange;
  for (const [index, leaf] of leaves.entries()) {
    range = appendLeaf(hash, range, leaf).range;
    const count = index + 1;
    const levels = treeLevels(hash, leaves.slice(0, count));
    const root = rootOf(hash, range);
    expect(treeRoot(levels)).toEqual(root);
    for (const at of new Set([0, index, count >> 1, count >> 2])) {
      const path = treePath(levels, at);
      const proven = leaves[at] ?? leaf;
      expect(rootOfPath(hash, { leaf: proven, index: at, count, path })).toEqual(root);
      const claim = { leaf: proven, index: at, proof: path };
      expect(verifyInclusion(hash, claim, { size: count, root })).toBe(true);
    }
  }
});

test('a path of another length has no root', () => {
  const levels = treeLevels(hash, leaves.slice(0, 5));
  const [leaf] = leaves;
  if (leaf === undefined) throw new Error('there are leaves');
  const path = treePath(levels, 0);
  expect(rootOfPath(hash, { leaf, index: 0, count: 5, path: path.slice(1) })).toBeUndefined();
  expect(rootOfPath(hash, { leaf, index: 0, count: 5, path: [...path, leaf] })).toBeUndefined();
  expect(rootOfPath(hash, { leaf, index: 5, count: 5, path })).toBeUndefined();
  expect(rootOfPath(hash, { leaf, index: -1, count: 5, path })).toBeUndefined();
  expect(() => treeRoot([[]])).toThrow('assertion');
});
