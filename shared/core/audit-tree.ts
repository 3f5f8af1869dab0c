/**
 * The tree over an auditor's leaves (RFC 9162 section 2.1, `merkle.ts`) with the roots of all its
 * complete subtrees, 64 bytes per leaf in all: so the root of every earlier size and a consistency
 * proof between two sizes cost O(log n) hashes.
 */

import { appendLeaf, consistencyProof, emptyRange, rootOf } from './merkle.ts';
import type { CompactRange, TreeHash } from './merkle.ts';

export class AuditTree {
  readonly #hash: TreeHash;
  /** `levels[k][i]` is the subtree over leaves i·2^k to (i+1)·2^k. */
  readonly #levels: Uint8Array[][] = [];
  #range: CompactRange = emptyRange;

  constructor(hash: TreeHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#range.size;
  }

  /** Takes a leaf hash, 32 bytes. */
  append(leaf: Uint8Array): void {
    const { range, nodes } = appendLeaf(this.#hash, this.#range, leaf);
    this.#range = range;
    for (const { level, hash } of nodes) (this.#levels[level] ??= []).push(hash);
  }

  /** Root over the first `size` leaves, all of them unless told. */
  root(size: number = this.size): Uint8Array {
    if (size === this.size) return rootOf(this.#hash, this.#range);
    if (!(size >= 0 && size < this.size)) throw new RangeError('no such tree');
    const peaks: Uint8Array[] = [];
    for (let start = 0; start < size;) {
      const level = Math.floor(Math.log2(size - start));
      peaks.push(this.#node(level, start / 2 ** level));
      start += 2 ** level;
    }
    return rootOf(this.#hash, { size, peaks });
  }

  /** That the tree of `second` leaves extends the one of `first`: at most 64 hashes. */
  consistency(first: number, second: number): Uint8Array[] {
    if (second > this.size) throw new RangeError('no such tree');
    const nodes = (level: number, index: number): Uint8Array => this.#node(level, index);
    return consistencyProof(this.#hash, nodes, { first, second });
  }

  #node(level: number, index: number): Uint8Array {
    const hash = this.#levels[level]?.[index];
    if (hash === undefined) throw new RangeError('no such subtree');
    return hash;
  }
}
