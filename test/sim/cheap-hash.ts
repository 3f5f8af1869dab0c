/**
 * SIMULATION, NO CRYPTOGRAPHY: for test/sim only. Hashes and key derivation of the simulated provider. All
 * but SHA-256, which is the real one, come from one small function of 128 bits of state, four multiplications
 * for sixteen bytes, each use with a domain of its own. Different inputs have different outputs, unless
 * somebody who knows the function looks for two that have not: inputs that differ in one block of sixteen
 * bytes never meet, all others as often as chance makes 128 bits equal. A world hashes hundreds of thousands of
 * times, which is why this is not SHA-256 throughout.
 */

import { hash } from 'node:crypto';
import { checkHkdf } from '#shared/crypto/provider-checks.ts';
import type { HkdfInput } from '#shared/crypto/provider.ts';

/** What a hash is for; two of them never agree. */
export const domains = {
  sha3_256: 1,
  sha3_384: 2,
  sha3_512: 3,
  blake3: 4,
  hmac: 5,
  hkdf: 6,
  signingPublicKey: 7,
  signature: 8,
  slhDsaRoot: 9,
  slhDsaSignature: 10,
  kemPublicKey: 11,
  kemCiphertext: 12,
  kemSecret: 13,
  kemRejection: 14,
  x25519PublicKey: 15,
  x25519Secret: 16,
  aeadStream: 17,
  aeadTag: 18,
} as const;

export type Domain = (typeof domains)[keyof typeof domains];

/** A part after the other goes through it, in pieces; one call at a time, all of them synchronous. */
const pieceBytes = 1 << 16;
const piece = new Uint8Array(pieceBytes);
const words = new Int32Array(piece.buffer);

/** 32 bytes over the domain and all parts, each with its length. */
export function digestOf(domain: Domain, ...parts: readonly Uint8Array[]): Uint8Array {
  let a = 0x243f6a88 ^ Math.imul(domain, 0x9e3779b1);
  let b = 0x85a308d3;
  let c = 0x13198a2e;
  let d = 0x03707344;
  for (const part of parts) {
    for (let from = 0; from < part.length; from += pieceBytes) {
      const count = load(part, from);
      for (let at = 0; at < count; at += 4) {
        a = Math.imul(a ^ (words[at] ?? 0), 0x9e3779b1);
        b = Math.imul(b ^ (words[at + 1] ?? 0), 0x85ebca77);
        c = Math.imul(c ^ (words[at + 2] ?? 0), 0xc2b2ae3d);
        d = Math.imul(d ^ (words[at + 3] ?? 0), 0x27d4eb2f);
        a = ((a ^ (a >>> 15)) + ((b << 13) | (b >>> 19))) | 0;
        b = ((b ^ (b >>> 14)) + ((c << 17) | (c >>> 15))) | 0;
        c = ((c ^ (c >>> 16)) + ((d << 5) | (d >>> 27))) | 0;
        d = (d ^ (d >>> 13) ^ ((a << 11) | (a >>> 21))) | 0;
      }
    }
    // So that bytes do not move from a part to its neighbour, nor zeros behind its end count for nothing.
    a = Math.imul(a ^ part.length, 0xcc9e2d51);
    d = (d + ((a << 7) | (a >>> 25))) | 0;
  }
  return finished(a, b, c, d);
}

/** The real one. */
export function sha256(message: Uint8Array): Uint8Array {
  const digest = hash('sha256', message, 'buffer');
  return new Uint8Array(digest.buffer, digest.byteOffset, digest.length);
}

export function hashing(domain: Domain, outputBytes: number): (message: Uint8Array) => Uint8Array {
  return (message) => stretched(digestOf(domain, message), outputBytes);
}

/** HMAC with SHA3-384 in name and size: 48 bytes. */
export function hmac(key: Uint8Array, message: Uint8Array): Uint8Array {
  return stretched(digestOf(domains.hmac, key, message), 48);
}

/** RFC 5869 in name, sizes and bounds. */
export function hkdf(input: HkdfInput): Uint8Array {
  checkHkdf(input);
  const { ikm, salt, info, outputBytes } = input;
  return stretched(digestOf(domains.hkdf, salt, info, ikm), outputBytes);
}

/** `bytes` from `from` on are overwritten with `pattern`, again and again. */
export function fillWith(bytes: Uint8Array, pattern: Uint8Array, from = 0): Uint8Array {
  bytes.set(pattern.subarray(0, bytes.length - from), from);
  for (let filled = pattern.length; from + filled < bytes.length; filled *= 2) {
    bytes.copyWithin(from + filled, from, Math.min(from + filled, bytes.length - filled));
  }
  return bytes;
}

/** Whether `bytes` from `from` on are `pattern`, again and again. */
export function isFilledWith(bytes: Uint8Array, pattern: Uint8Array, from = 0): boolean {
  const { length } = pattern;
  return (
    isSame(bytes.subarray(from, from + length), pattern) &&
    isSame(bytes.subarray(from + length), bytes.subarray(from, bytes.length - length))
  );
}

export function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

/** Or cut. Of at most 8,160 bytes; every block of 32 is the first one with another byte laid over it. */
function stretched(digest: Uint8Array, outputBytes: number): Uint8Array {
  if (outputBytes === digest.length) return digest;
  const output = new Uint8Array(outputBytes);
  for (let at = 0; at < outputBytes; at += 1) output[at] = (digest[at & 31] ?? 0) ^ (at >> 5);
  return output;
}

/** The piece of `part` from there on, with zeros up to whole blocks: how many words they are. */
function load(part: Uint8Array, from: number): number {
  const length = Math.min(pieceBytes, part.length - from);
  piece.set(length === part.length ? part : part.subarray(from, from + length));
  const end = (length + 15) & ~15;
  piece.fill(0, length, end);
  return end >> 2;
}

/** Every bit of the state into every word of the output, which has the state twice. */
function finished(a: number, b: number, c: number, d: number): Uint8Array {
  const state = [a, b, c, d];
  for (let round = 0; round < 8; round += 1) {
    const at = round & 3;
    const [here = 0, next = 0] = [state[at], state[(at + 1) & 3]];
    state[(at + 1) & 3] = (next + mixed((here + Math.imul(round + 1, 0x9e3779b1)) | 0)) | 0;
  }
  const output = new Uint8Array(32);
  for (let at = 0; at < 8; at += 1) {
    const word = mixed(((state[at & 3] ?? 0) + Math.imul(at, 0x85ebca6b)) | 0);
    output[4 * at] = word;
    output[4 * at + 1] = word >>> 8;
    output[4 * at + 2] = word >>> 16;
    output[4 * at + 3] = word >>> 24;
  }
  return output;
}

/** One to one over 32 bits (Appleby's finalizer of MurmurHash3). */
function mixed(word: number): number {
  let bits = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
