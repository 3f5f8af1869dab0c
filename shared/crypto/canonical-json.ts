/**
 * Canonical JSON (RFC 8785), the bytes that a signed document's signatures cover. The package
 * `canonicalize` writes them; here stands what it must never be given, because it would silently
 * drop or change it: undefined, functions, class instances, numbers that JSON cannot carry exactly.
 */
import canonicalize from 'canonicalize';
import { utf8 } from './bytes.ts';
import { CryptoError } from './errors.ts';

/** Objects and arrays inside each other, at the most. */
export const jsonDepthMax = 32;
/** Canonical bytes of one document, at the most: 1 MiB. */
export const jsonBytesMax = 1024 * 1024;

export type JsonValue =
  null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

const keysRefused: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * The canonical bytes of `value`, UTF-8. Throws `CryptoError` `NOT_ENCODABLE` where `isJson` is
 * false or the result has more than `jsonBytesMax` bytes.
 */
export function canonicalJson(value: unknown): Uint8Array {
  if (!isJson(value)) throw new CryptoError('NOT_ENCODABLE', 'the value is not canonical JSON');
  const text = canonicalize(value);
  if (text === undefined) throw new CryptoError('NOT_ENCODABLE', 'the value has no JSON form');
  const bytes = utf8(text);
  if (bytes.length > jsonBytesMax) {
    throw new CryptoError('NOT_ENCODABLE', `a document has at most ${jsonBytesMax} bytes`);
  }
  return bytes;
}

/**
 * Whether `value` is JSON that means the same everywhere: plain objects and arrays at most 32 deep,
 * well-formed strings, finite numbers with integers within 2^53, no key that reaches a prototype.
 */
export function isJson(value: unknown, depth = 1): value is JsonValue {
  if (value === null || typeof value === 'boolean') return true;
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') {
    return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  }
  if (typeof value !== 'object' || depth > jsonDepthMax) return false;
  if (Array.isArray(value)) return Array.from(value).every((item) => isJson(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.entries(value).every(
    ([key, item]) => !keysRefused.has(key) && key.isWellFormed() && isJson(item, depth + 1),
  );
}
