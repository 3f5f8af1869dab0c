/**
 * The Merkle tree of RFC 9162 section 2.1, with the hash function as an argument (SHA-256 everywhere
 * in gyre, 32 bytes). A compact range holds the roots of the complete subtrees, so that appending and
 * the root need O(log n) hashes of memory; proofs are made from stored nodes of complete subtrees.
 * Both verifications need no tree at all.
 */

export type TreeHash = (bytes: Uint8Array) => Uint8Array;

/** Roots of the complete subtrees of a tree, the largest (leftmost) first. */
export interface CompactRange {
  readonly size: number;
  readonly peaks: readonly Uint8Array[];
}

/** Root of a complete subtree over 2^level leaves, the `index`th of its level. */
export interface TreeNode {
  readonly level: number;
  readonly index: number;
  readonly hash: Uint8Array;
}

/** Where proofs take the roots of complete subtrees from. */
export type NodeSource = (level: number, index: number) => Uint8Array;

export interface TreeHead {
  readonly size: number;
  readonly root: Uint8Array;
}

/** More hashes than any proof over 2^53 leaves has. */
export const proofHashesMax = 64;

export const emptyRange: CompactRange = { size: 0, peaks: [] };

/** H(0x00 ‖ leaf). */
export function leafHash(hash: TreeHash, leaf: Uint8Array): Uint8Array {
  return hash(joined(0, [leaf]));
}

/** H(0x01 ‖ left ‖ right). */
export function nodeHash(hash: TreeHash, left: Uint8Array, right: Uint8Array): Uint8Array {
  return hash(joined(1, [left, right]));
}

/** Takes a leaf hash; returns the grown range and the nodes that it completed, the leaf first. */
export function appendLeaf(
  hash: TreeHash,
  range: CompactRange,
  leaf: Uint8Array,
): { range: CompactRange; nodes: TreeNode[] } {
  const peaks = [...range.peaks];
  let node: TreeNode = { level: 0, index: range.size, hash: leaf };
  const nodes = [node];
  while (node.index % 2 === 1) {
    const left = peaks.pop();
    if (left === undefined) throw new Error('assertion: a range without a peak for its size');
    const parent = nodeHash(hash, left, node.hash);
    node = { level: node.level + 1, index: (node.index - 1) / 2, hash: parent };
    nodes.push(node);
  }
  peaks.push(node.hash);
  return { range: { size: range.size + 1, peaks }, nodes };
}

/** The tree's root; of the empty tree the hash of nothing. */
export function rootOf(hash: TreeHash, { peaks }: CompactRange): Uint8Array {
  const [smallest, ...larger] = peaks.toReversed();
  if (smallest === undefined) return hash(new Uint8Array(0));
  return larger.reduce((right, left) => nodeHash(hash, left, right), smallest);
}

/** RFC 9162 section 2.1.3.1: the path of leaf `index` in the tree of `size` leaves. */
export function inclusionProof(
  hash: TreeHash,
  nodes: NodeSource,
  { index, size }: { readonly index: number; readonly size: number },
): Uint8Array[] {
  if (!(index >= 0 && index < size)) throw new RangeError('no such leaf in the tree');
  const path: Uint8Array[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const split = start + splitOf(end - start);
    if (index < split) {
      path.unshift(subtree(hash, nodes, split, end));
      end = split;
    } else {
      path.unshift(subtree(hash, nodes, start, split));
      start = split;
    }
  }
  return path;
}

/** RFC 9162 section 2.1.4.1: that the tree of `second` leaves extends the one of `first`. */
export function consistencyProof(
  hash: TreeHash,
  nodes: NodeSource,
  { first, second }: { readonly first: number; readonly second: number },
): Uint8Array[] {
  if (!(first >= 0 && first <= second)) throw new RangeError('no such trees');
  if (first === 0 || first === second) return [];
  const path: Uint8Array[] = [];
  let [start, end] = [0, second];
  let isWhole = true;
  while (first !== end) {
    const split = start + splitOf(end - start);
    if (first <= split) {
      path.unshift(subtree(hash, nodes, split, end));
      end = split;
    } else {
      path.unshift(subtree(hash, nodes, start, split));
      start = split;
      isWhole = false;
    }
  }
  return isWhole ? path : [subtree(hash, nodes, start, end), ...path];
}

/** RFC 9162 section 2.1.3.2. Never throws. */
export function verifyInclusion(
  hash: TreeHash,
  proven: {
    readonly leaf: Uint8Array;
    readonly index: number;
    readonly proof: readonly Uint8Array[];
  },
  { size, root }: TreeHead,
): boolean {
  const { leaf, index, proof } = proven;
  if (!areIntegers(index, size) || index >= size || !areHashes(proof, root.length)) return false;
  let [node, last] = [index, size - 1];
  let result = leaf;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      result = nodeHash(hash, sibling, result);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, half(last)];
    } else {
      result = nodeHash(hash, result, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && areEqual(result, root);
}

/** RFC 9162 section 2.1.4.2. Every tree extends the empty one, and itself. Never throws. */
export function verifyConsistency(
  hash: TreeHash,
  {
    first,
    second,
    proof,
  }: {
    readonly first: TreeHead;
    readonly second: TreeHead;
    readonly proof: readonly Uint8Array[];
  },
): boolean {
  if (!areIntegers(first.size, second.size) || first.size > second.size) return false;
  if (!areHashes(proof, second.root.length)) return false;
  if (first.size === second.size) return proof.length === 0 && areEqual(first.root, second.root);
  if (first.size === 0) {
    return proof.length === 0 && areEqual(first.root, hash(new Uint8Array(0)));
  }
  const path = isPowerOfTwo(first.size) ? [first.root, ...proof] : [...proof];
  const [start, ...siblings] = path;
  if (start === undefined) return false;
  let [node, last] = [first.size - 1, second.size - 1];
  while (node % 2 === 1) [node, last] = [half(node), half(last)];
  let [older, newer] = [start, start];
  for (const sibling of siblings) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      older = nodeHash(hash, sibling, older);
      newer = nodeHash(hash, sibling, newer);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, half(last)];
    } else {
      newer = nodeHash(hash, newer, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && areEqual(older, first.root) && areEqual(newer, second.root);
}

/** Root over the leaves from `start` to before `end`, as they lie in a tree split by section 2.1.1. */
function subtree(hash: TreeHash, nodes: NodeSource, start: number, end: number): Uint8Array {
  const count = end - start;
  if (isPowerOfTwo(count)) return nodes(Math.log2(count), start / count);
  const split = start + splitOf(count);
  return nodeHash(hash, subtree(hash, nodes, start, split), subtree(hash, nodes, split, end));
}

/** The largest power of two that is smaller than `count`. */
function splitOf(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

function isPowerOfTwo(count: number): boolean {
  return count > 0 && (count === 1 || splitOf(count) * 2 === count);
}

function half(value: number): number {
  return Math.floor(value / 2);
}

function areIntegers(...values: number[]): boolean {
  return values.every((value) => Number.isSafeInteger(value) && value >= 0);
}

function areHashes(proof: readonly Uint8Array[], bytes: number): boolean {
  return proof.length <= proofHashesMax && proof.every(({ length }) => length === bytes);
}

function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, position) => byte === other[position]);
}

function joined(prefix: number, parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(1 + parts.reduce((sum, { length }) => sum + length, 0));
  bytes[0] = prefix;
  let offset = 1;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
