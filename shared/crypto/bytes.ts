/**
 * Bytes and their text forms, the same on every runtime: hexadecimal, unpadded base64url
 * (RFC 4648 section 5, one text per value), UTF-8, comparison in constant time, and the
 * length-prefixed join that keeps fields apart inside a hash or a key derivation.
 */
import { equalBytes as nobleEqualBytes } from '@noble/ciphers/utils.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { invariant } from './errors.ts';

const encoder = new TextEncoder();
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

const base64Url = { alphabet: 'base64url', omitPadding: true } as const;

/** Unpadded base64url. */
export function toBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64(base64Url);
}

/** Bytes of unpadded base64url; undefined for any text that `toBase64Url` would not write. */
export function fromBase64Url(text: string): Uint8Array | undefined {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(text, base64Url);
  } catch (error) {
    // Anything else is no fault of the text: a runtime without the decoder, say.
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
  // It takes spaces, padding and bits left over, which `toBase64Url` does not write.
  return toBase64Url(bytes) === text ? bytes : undefined;
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
