/**
 * The tree over the events of one batch: RFC 9162 section 2.1, built level by level, because a batch
 * is small and whole. A last node without a sibling moves up as it is, which gives the same root as
 * the recursive definition. Takes and gives hashes of leaves (H(0x00 ‖ leaf)); no crypto of its own.
 */
import type { TreeHash } from './merkle.ts';

/** Level 0 holds the leaf hashes, the last level the root alone. */
export type TreeLevels = readonly (readonly Uint8Array[])[];

/** A hash has 32 bytes, so a node's input has 65. */
const hashBytes = 32;

/** All levels over at least one leaf hash. */
export function treeLevels(hash: TreeHash, leaves: readonly Uint8Array[]): TreeLevels {
  const levels: (readonly Uint8Array[])[] = [leaves];
  const input = new Uint8Array(1 + 2 * hashBytes);
  input[0] = 1;
  for (let level = leaves; level.length > 1;) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < level.length; at += 2) {
      const [left, right] = [level[at], level[at + 1]];
      if (left === undefined) break;
      above.push(right === undefined ? left : nodeOf(hash, input, left, right));
    }
    levels.push(above);
    level = above;
  }
  return levels;
}

/** The root of `treeLevels`. */
export function treeRoot(levels: TreeLevels): Uint8Array {
  const root = levels.at(-1)?.[0];
  if (root === undefined) throw new Error('assertion: a batch has at least one event');
  return root;
}

/** RFC 9162 section 2.1.3.1: the siblings of leaf `index`, from below. */
export function treePath(levels: TreeLevels, index: number): Uint8Array[] {
  const path: Uint8Array[] = [];
  let at = index;
  for (const level of levels.slice(0, -1)) {
    const sibling = level[at ^ 1];
    if (sibling !== undefined) path.push(sibling);
    at >>= 1;
  }
  return path;
}

/** The root that a path leads to; undefined where its length is not the one of this leaf. */
export function rootOfPath(
  hash: TreeHash,
  { leaf, index, count, path }: LeafPath,
): Uint8Array | undefined {
  if (!(index >= 0 && index < count)) return undefined;
  const input = new Uint8Array(1 + 2 * hashBytes);
  input[0] = 1;
  let [node, at, last, used] = [leaf, index, count - 1, 0];
  for (; last > 0; at >>= 1, last >>= 1) {
    if (at === last && at % 2 === 0) continue;
    const sibling = path[used];
    if (sibling === undefined) return undefined;
    used += 1;
    node = at % 2 === 1 ? nodeOf(hash, input, sibling, node) : nodeOf(hash, input, node, sibling);
  }
  return used === path.length ? node : undefined;
}

export interface LeafPath {
  /** Hash of the leaf. */
  readonly leaf: Uint8Array;
  readonly index: number;
  readonly count: number;
  readonly path: readonly Uint8Array[];
}

/** H(0x01 ‖ left ‖ right), through a buffer that the caller keeps. */
function nodeOf(
  hash: TreeHash,
  input: Uint8Array,
  left: Uint8Array,
  right: Uint8Array,
): Uint8Array {
  input.set(left, 1);
  input.set(right, 1 + hashBytes);
  return hash(input);
}
