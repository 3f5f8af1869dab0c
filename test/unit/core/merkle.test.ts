/** Against the recursive definitions of RFC 9162 section 2.1, and the roots of RFC 6962's tests. */

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  appendLeaf,
  consistencyProof,
  emptyRange,
  inclusionProof,
  leafHash,
  nodeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
  type CompactRange,
  type NodeSource,
} from '#shared/core/merkle.ts';

const sha256 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(bytes).digest());
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const knownLeaves = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((text) => new Uint8Array(Buffer.from(text, 'hex')));
const knownRoots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

function grow(leaves: readonly Uint8Array[]): { ranges: CompactRange[]; nodes: NodeSource } {
  const ranges = [emptyRange];
  const stored = new Map<string, Uint8Array>();
  for (const leaf of leaves) {
    const grown = appendLeaf(sha256, ranges.at(-1) ?? emptyRange, leafHash(sha256, leaf));
    for (const { level, index, hash } of grown.nodes) stored.set(`${level}/${index}`, hash);
    ranges.push(grown.range);
  }
  const nodes: NodeSource = (level, index) => {
    const hash = stored.get(`${level}/${index}`);
    if (hash === undefined) throw new Error(`no complete subtree ${level}/${index}`);
    return hash;
  };
  return { ranges, nodes };
}

/* The definitions, word by word. */
function splitOf(count: number): number {
  return 2 ** Math.ceil(Math.log2(count) - 1);
}
function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves;
  if (first === undefined) return sha256(new Uint8Array(0));
  if (leaves.length === 1) return leafHash(sha256, first);
  const split = splitOf(leaves.length);
  return nodeHash(sha256, naiveRoot(leaves.slice(0, split)), naiveRoot(leaves.slice(split)));
}
function naivePath(index: number, leaves: readonly Uint8Array[]): Uint8Array[] {
  if (leaves.length === 1) return [];
  const split = splitOf(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return index < split
    ? [...naivePath(index, left), naiveRoot(right)]
    : [...naivePath(index - split, right), naiveRoot(left)];
}
function naiveSubproof(
  first: number,
  leaves: readonly Uint8Array[],
  isWhole: boolean,
): Uint8Array[] {
  if (first === leaves.length) return isWhole ? [] : [naiveRoot(leaves)];
  const split = splitOf(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return first <= split
    ? [...naiveSubproof(first, left, isWhole), naiveRoot(right)]
    : [...naiveSubproof(first - split, right, false), naiveRoot(left)];
}

const someLeaves = fc.array(fc.uint8Array({ maxLength: 8 }), { minLength: 1, maxLength: 70 });

describe('the tree', () => {
  it('has the known roots', () => {
    const { ranges } = grow(knownLeaves);
    expect(ranges.map((range) => hex(rootOf(sha256, range)))).toEqual(knownRoots);
  });

  it('has the roots and proofs of the definition, and they verify', () => {
    fc.assert(
      fc.property(someLeaves, fc.nat(), fc.nat(), (leaves, one, other) => {
        const { ranges, nodes } = grow(leaves);
        const size = leaves.length;
        const root = rootOf(sha256, ranges[size] ?? emptyRange);
        expect(hex(root)).toBe(hex(naiveRoot(leaves)));
        const index = one % size;
        const proof = inclusionProof(sha256, nodes, { index, size });
        expect(proof.map(hex)).toEqual(naivePath(index, leaves).map(hex));
        const leaf = leafHash(sha256, leaves[index] ?? new Uint8Array(0));
        expect(verifyInclusion(sha256, { leaf, index, proof }, { size, root })).toBe(true);
        const first = (other % size) + 1;
        const extension = consistencyProof(sha256, nodes, { first, second: size });
        expect(extension.map(hex)).toEqual(naiveSubproof(first, leaves, true).map(hex));
        const older = { size: first, root: rootOf(sha256, ranges[first] ?? emptyRange) };
        const newer = { size, root };
        const consistent = { first: older, second: newer, proof: extension };
        expect(verifyConsistency(sha256, consistent)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('does not verify what was changed anywhere', () => {
    fc.assert(
      fc.property(someLeaves, fc.nat(), fc.nat(255), (leaves, where, flip) => {
        const { ranges, nodes } = grow(leaves);
        const size = leaves.length;
        const root = rootOf(sha256, ranges[size] ?? emptyRange);
        const index = where % size;
        const proof = inclusionProof(sha256, nodes, { index, size });
        const leaf = leafHash(sha256, leaves[index] ?? new Uint8Array(0));
        const other = leaf.map((byte, position) =>
          position === where % 32 ? byte ^ (flip + 1) : byte,
        );
        const head = { size, root };
        if (flip < 255) {
          expect(verifyInclusion(sha256, { leaf: other, index, proof }, head)).toBe(false);
          const bent = proof.map((hash, position) =>
            position === where % proof.length ? other : hash,
          );
          if (proof.length > 0) {
            expect(verifyInclusion(sha256, { leaf, index, proof: bent }, head)).toBe(false);
          }
        }
        expect(verifyInclusion(sha256, { leaf, index, proof: [...proof, leaf] }, head)).toBe(false);
        expect(verifyInclusion(sha256, { leaf, index: size, proof }, head)).toBe(false);
        const first = { size: index + 1, root: rootOf(sha256, ranges[index + 1] ?? emptyRange) };
        const extension = consistencyProof(sha256, nodes, { first: index + 1, second: size });
        const wrong = { first: { ...first, root: other }, second: head, proof: extension };
        if (flip < 255) expect(verifyConsistency(sha256, wrong)).toBe(false);
        const longer = { first, second: head, proof: [...extension, leaf] };
        expect(verifyConsistency(sha256, longer)).toBe(false);
        const shrunk = { first: head, second: first, proof: extension };
        expect(verifyConsistency(sha256, shrunk)).toBe(index + 1 === size);
      }),
      { numRuns: 100 },
    );
  });

  it('extends the empty tree, but only the real one', () => {
    const { ranges } = grow(knownLeaves);
    const second = { size: 8, root: rootOf(sha256, ranges[8] ?? emptyRange) };
    const empty = { size: 0, root: rootOf(sha256, emptyRange) };
    expect(verifyConsistency(sha256, { first: empty, second, proof: [] })).toBe(true);
    const fake = { size: 0, root: second.root };
    expect(verifyConsistency(sha256, { first: fake, second, proof: [] })).toBe(false);
  });

  it('refuses proofs that cannot be', () => {
    const { nodes } = grow(knownLeaves);
    expect(() => inclusionProof(sha256, nodes, { index: 8, size: 8 })).toThrow(RangeError);
    expect(() => consistencyProof(sha256, nodes, { first: 3, second: 2 })).toThrow(RangeError);
    const head = { size: Number.NaN, root: new Uint8Array(32) };
    const proven = { leaf: new Uint8Array(32), index: 0, proof: [] };
    expect(verifyInclusion(sha256, proven, head)).toBe(false);
    expect(verifyConsistency(sha256, { first: head, second: head, proof: [] })).toBe(false);
  });
});
