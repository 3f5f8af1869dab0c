/**
 * SIMULATION, NO CRYPTOGRAPHY: for test/sim only. Hashes and key derivation of the simulated provider,
 * all made of Node's SHA-256, each with a domain of its own, longer outputs stretched without a second
 * pass. So inputs that differ have outputs that differ, as far as SHA-256 goes, and nothing more is
 * promised: no output is random against one who knows how it is made.
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

/** One call at a time, all of them synchronous; grows with what it is given. */
let scratch = new Uint8Array(1 << 16);

/** 32 bytes over the domain and all parts, each behind its length. */
export function digestOf(domain: Domain, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 1;
  for (const part of parts) length += 4 + part.length;
  if (length > scratch.length) scratch = new Uint8Array(length * 2);
  scratch[0] = domain;
  let at = 1;
  for (const part of parts) {
    scratch[at] = part.length;
    scratch[at + 1] = part.length >>> 8;
    scratch[at + 2] = part.length >>> 16;
    scratch[at + 3] = part.length >>> 24;
    scratch.set(part, at + 4);
    at += 4 + part.length;
  }
  return sha256(scratch.subarray(0, length));
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
