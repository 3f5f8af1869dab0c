/**
 * SIMULATION, NO CRYPTOGRAPHY: for test/sim only. Sealing of the simulated provider: the plaintext under
 * the stream of a small generator (sfc32) whose state is a hash of key and nonce, with 16 bytes of a hash
 * over everything behind it. What was sealed under another key, nonce, algorithm or additional data does
 * not open, nor does anything that was changed; the plaintext is not to be seen in the ciphertext.
 */

import { utf8 } from '#shared/crypto/bytes.ts';
import { checkAead } from '#shared/crypto/provider-checks.ts';
import type { AeadOpenInput, AeadParameters, AeadSealInput } from '#shared/crypto/provider.ts';
import { sizes } from '#shared/crypto/provider.ts';
import { digestOf, domains, isSame } from './cheap-hash.ts';

const names = {
  'ChaCha20-Poly1305': utf8('ChaCha20-Poly1305'),
  'AES-256-GCM': utf8('AES-256-GCM'),
} as const;

export function aeadSeal(input: AeadSealInput): Uint8Array {
  checkAead(input);
  const { length } = input.plaintext;
  const sealed = new Uint8Array(length + sizes.aead.tag);
  sealed.set(input.plaintext);
  applyStream(input, sealed, length);
  sealed.set(tagOf(input, sealed.subarray(0, length)), length);
  return sealed;
}

export function aeadOpen(input: AeadOpenInput): Uint8Array | undefined {
  checkAead(input);
  const { ciphertext } = input;
  const length = ciphertext.length - sizes.aead.tag;
  if (length < 0) return undefined;
  const body = ciphertext.subarray(0, length);
  if (!isSame(tagOf(input, body), ciphertext.subarray(length))) return undefined;
  const opened = body.slice();
  applyStream(input, opened, length);
  return opened;
}

function tagOf({ algorithm, key, nonce, aad }: AeadParameters, body: Uint8Array): Uint8Array {
  const digest = digestOf(domains.aeadTag, names[algorithm], key, nonce, aad, body);
  return digest.subarray(0, sizes.aead.tag);
}

/** Over the first `length` bytes, which begin at the begin of their buffer. */
function applyStream(input: AeadParameters, bytes: Uint8Array, length: number): void {
  const { algorithm, key, nonce } = input;
  const digest = digestOf(domains.aeadStream, names[algorithm], key, nonce);
  const state = new DataView(digest.buffer, digest.byteOffset);
  let a = state.getInt32(0, true);
  let b = state.getInt32(4, true);
  let c = state.getInt32(8, true);
  let counter = state.getInt32(12, true);
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum;
  };
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, length >> 2);
  for (let at = 0; at < words.length; at += 1) words[at] = (words[at] ?? 0) ^ next();
  for (let at = words.length * 4, rest = next(); at < length; at += 1, rest >>>= 8) {
    bytes[at] = (bytes[at] ?? 0) ^ rest;
  }
}
