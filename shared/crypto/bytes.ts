/**
 * Bytes and their text forms, the same on every runtime: hexadecimal, unpadded base64url
 * (RFC 4648 section 5, one text per value), UTF-8, comparison in constant time, and the
 * length-prefixed join that keeps fields apart inside a hash or a key derivation.
 */
import { equalBytes as nobleEqualBytes } from '@noble/ciphers/utils.js';
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';
import { invariant } from './errors.ts';

const encoder = new TextEncoder();
const LENGTH_MAX = 0xffff;

/** The UTF-8 bytes of `text`. Lone surrogates are a mistake of the caller. */
export function utf8(text: string): Uint8Array {
  invariant(text.isWellFormed(), 'text is well-formed Unicode');
  return encoder.encode(text);
}

/** All `parts`, one after the other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...parts);
}

/** Lowercase hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return bytesToHex(bytes);
}

/** Bytes of lowercase hexadecimal, or undefined where `text` is something else. */
export function fromHex(text: string): Uint8Array | undefined {
  return /^(?:[0-9a-f]{2})*$/.test(text) ? hexToBytes(text) : undefined;
}

/** Unpadded base64url. */
export function toBase64Url(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Bytes of unpadded base64url; undefined for any text that `toBase64Url` would not write. */
export function fromBase64Url(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined;
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
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
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/**
 * Every part behind its own length (two bytes, big-endian), so that two different lists of parts
 * never join to the same bytes. Each part has at most 65,535 bytes.
 */
export function lengthPrefixed(...parts: readonly Uint8Array[]): Uint8Array {
  const joined: Uint8Array[] = [];
  for (const part of parts) {
    invariant(part.length <= LENGTH_MAX, 'a part of at most 65,535 bytes');
    joined.push(Uint8Array.of(part.length >> 8, part.length & 0xff), part);
  }
  return concat(...joined);
}
