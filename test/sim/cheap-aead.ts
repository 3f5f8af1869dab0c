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

/** What was opened once: everyone in a world who may read a message opens the same bytes. */
interface Opened extends AeadOpenInput {
  readonly plaintext: Uint8Array;
}
const openedBefore = new WeakMap<Uint8Array, Opened>();

export function aeadOpen(input: AeadOpenInput): Uint8Array | undefined {
  checkAead(input);
  const known = openedBefore.get(input.ciphertext);
  if (known !== undefined && isSameInput(known, input)) return known.plaintext.slice();
  const plaintext = open(input);
  if (plaintext === undefined) return undefined;
  const [key, nonce, aad, ciphertext] = [input.key, input.nonce, input.aad, input.ciphertext].map(
    (bytes) => bytes.slice(),
  ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const { algorithm } = input;
  const opened = { algorithm, key, nonce, aad, ciphertext, plaintext: plaintext.slice() };
  openedBefore.set(input.ciphertext, opened);
  return plaintext;
}

function isSameInput(known: Opened, input: AeadOpenInput): boolean {
  return (
    known.algorithm === input.algorithm &&
    isSame(known.key, input.key) &&
    isSame(known.nonce, input.nonce) &&
    isSame(known.aad, input.aad) &&
    isSame(known.ciphertext, input.ciphertext)
  );
}

function open(input: AeadOpenInput): Uint8Array | undefined {
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

/** Plaintext and stream meet here, in pieces; one call at a time, all of them synchronous. */
const pieceBytes = 1 << 16;
const piece = new Uint8Array(pieceBytes);
const words = new Int32Array(piece.buffer);

/** Lays the stream of key and nonce over the first `length` bytes. */
function applyStream(input: AeadParameters, bytes: Uint8Array, length: number): void {
  const { algorithm, key, nonce } = input;
  const digest = digestOf(domains.aeadStream, names[algorithm], key, nonce);
  const state = new Int32Array(digest.buffer, digest.byteOffset, 4);
  let [a = 0, b = 0, c = 0, counter = 0] = state;
  for (let from = 0; from < length; from += pieceBytes) {
    const to = Math.min(length, from + pieceBytes);
    piece.set(bytes.subarray(from, to));
    const count = (to - from + 3) >> 2;
    for (let at = 0; at < count; at += 1) {
      const sum = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      words[at] = (words[at] ?? 0) ^ sum;
    }
    bytes.set(piece.subarray(0, to - from), from);
  }
}
