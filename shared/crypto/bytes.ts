/**
 * Bytes and their text forms, the same on every runtime: hexadecimal, unpadded base64url
 * (RFC 4648 section 5, one text per value), UTF-8, comparison in constant time, and the
 * length-prefixed join that keeps fields apart inside a hash or a key derivation.
 */
import { equalBytes as nobleEqualBytes } from '@noble/ciphers/utils.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { invariant } from './errors.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const LENGTH_MAX = 0xffff;
/** Up to here characters one by one are faster than the encoder. */
const shortTextLength = 64;

/** The UTF-8 bytes of `text`. Lone surrogates are a mistake of the caller. */
export function utf8(text: string): Uint8Array {
  const short = text.length <= shortTextLength ? ascii(text) : undefined;
  if (short !== undefined) return short;
  invariant(text.isWellFormed(), 'text is well-formed Unicode');
  return encoder.encode(text);
}

/** The bytes of a short text, or undefined where it is not all ASCII. */
function ascii(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code >= 0x80) return undefined;
    bytes[index] = code;
  }
  return bytes;
}

/** All `parts`, one after the other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Comparison of public bytes: no need for constant time. A batch has half a million of them, which Node
 * compares forty times faster than a loop does; elsewhere the loop is what there is.
 */
export function samePublicBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  if (typeof Buffer !== 'undefined') return Buffer.compare(left, right) === 0;
  for (let index = 0; index < left.length; index += 1) {
    if (left[index] !== right[index]) return false;
  }
  return true;
}

/** Lowercase hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return bytesToHex(bytes);
}

/** Bytes of lowercase hexadecimal, or undefined where `text` is something else. */
export function fromHex(text: string): Uint8Array | undefined {
  return /^(?:[0-9a-f]{2})*$/.test(text) ? hexToBytes(text) : undefined;
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const alphabetCodes = encoder.encode(alphabet);
/** Value of each ASCII character in base64url; 255 where it has none. */
const sextets = new Uint8Array(128).fill(255);
for (let value = 0; value < alphabet.length; value += 1) {
  sextets[alphabet.charCodeAt(value)] = value;
}

/** Unpadded base64url. A loop over a table too: a root with its anchors has a hundred thousand letters. */
export function toBase64Url(bytes: Uint8Array): string {
  const letters = new Uint8Array(Math.ceil((bytes.length * 4) / 3));
  let at = 0;
  for (let index = 0; index < bytes.length; index += 3) {
    const left = bytes[index] ?? 0;
    const middle = bytes[index + 1] ?? 0;
    const right = bytes[index + 2] ?? 0;
    // What stands behind the last letter of an unfinished group falls off the end.
    letters[at] = alphabetCodes[left >> 2] ?? 0;
    letters[at + 1] = alphabetCodes[((left & 3) << 4) | (middle >> 4)] ?? 0;
    letters[at + 2] = alphabetCodes[((middle & 15) << 2) | (right >> 6)] ?? 0;
    letters[at + 3] = alphabetCodes[right & 63] ?? 0;
    at += 4;
  }
  return decoder.decode(letters);
}

/**
 * Bytes of unpadded base64url; undefined for any text that `toBase64Url` would not write. Documents
 * carry signatures of 6,170 characters each, so this is a loop over a table and nothing shorter.
 */
export function fromBase64Url(text: string): Uint8Array | undefined {
  if (text.length % 4 === 1) return undefined;
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let held = 0;
  let heldBits = 0;
  let at = 0;
  for (let index = 0; index < text.length; index += 1) {
    const sextet = sextets[text.charCodeAt(index)] ?? 255;
    if (sextet === 255) return undefined;
    held = ((held << 6) | sextet) & 0xfff;
    heldBits += 6;
    if (heldBits < 8) continue;
    heldBits -= 8;
    bytes[at] = held >> heldBits;
    at += 1;
  }
  // Bits left over belong to no byte: only zeros are what `toBase64Url` writes.
  return (held & ((1 << heldBits) - 1)) === 0 ? bytes : undefined;
}

/** Equality in time that depends on the lengths only. */
export function equalConstantTime(left: Uint8Array, right: Uint8Array): boolean {
  return nobleEqualBytes(left, right);
}

/** Eight bytes, big-endian, of a non-negative safe integer. */
export function uint64(value: number): Uint8Array {
  invariant(Number.isSafeInteger(value) && value >= 0, 'a non-negative safe integer');
  const bytes = new Uint8Array(8);
  let rest = value;
  for (let at = 7; rest > 0; at -= 1) {
    bytes[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return bytes;
}

/**
 * Every part behind its own length (two bytes, big-endian), so that two different lists of parts
 * never join to the same bytes. Each part has at most 65,535 bytes.
 */
export function lengthPrefixed(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) {
    invariant(part.length <= LENGTH_MAX, 'a part of at most 65,535 bytes');
    length += 2 + part.length;
  }
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined[at] = part.length >> 8;
    joined[at + 1] = part.length & 0xff;
    joined.set(part, at + 2);
    at += 2 + part.length;
  }
  return joined;
}
