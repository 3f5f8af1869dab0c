/**
 * Canonical MessagePack: one value, one encoding. Map keys are strings, sorted by UTF-16 code units
 * (as RFC 8785 sorts them) and distinct; integers, lengths and strings take their shortest form;
 * there are no extension types, no float32, and float64 only for finite numbers that are no
 * integers, and only where the caller allows them. Depth is at most 32 containers.
 *
 * What is canonical is decoded in one pass (`canonical-reader.ts`) and encoded in one
 * (`canonical-writer.ts`). What is not is decoded again in three passes, which say what is wrong with it,
 * and which tests hold the one pass to: `scan` (in `msgpack-scan.ts`) checks structure, depth and every
 * length against the bytes that are really there, so that a hostile input costs memory in proportion to
 * its own size; the library decodes; the value is encoded again and must give the received bytes.
 */
import { Encoder, decode } from '@msgpack/msgpack';
import { samePublicBytes } from './bytes.ts';
import { readCanonical } from './canonical-reader.ts';
import { writeCanonical } from './canonical-writer.ts';
import { CryptoError } from './errors.ts';
import { depthMax, scan } from './msgpack-scan.ts';
import type { ScanRefusal } from './msgpack-scan.ts';

/** What can be encoded. Decoded `bin` values are views onto the decoded bytes. */
export type CanonicalValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | CanonicalValue[]
  | { [key: string]: CanonicalValue };

export interface CanonicalOptions {
  /** Whether float64 is allowed (bodies) or refused (headers, frames). Default: refused. */
  readonly floats?: boolean;
}

/** Why bytes are not canonical MessagePack. */
export type DecodeRefusal = ScanRefusal | 'NOT_CANONICAL';

export type DecodeResult =
  | { readonly ok: true; readonly value: CanonicalValue }
  | { readonly ok: false; readonly code: DecodeRefusal };

/** Keys that could reach a prototype of the receiver. */
const keysRefused: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);
const CHAR_BYTES_MAX = 3;
const HEAD_BYTES_MAX = 9;

/**
 * Encodes `value`. Throws `CryptoError` `NOT_ENCODABLE` for what has no canonical form: undefined,
 * functions, class instances, symbols, bigints, unsafe integers, NaN and infinities, floats where
 * they are not allowed, lone surrogates, strings that begin with a byte order mark, holes in arrays,
 * keys that reach prototypes, more than 32 levels.
 *
 * Nothing of the value remains in buffers other than the result.
 */
export function encodeCanonical(value: unknown, options: CanonicalOptions = {}): Uint8Array {
  return writeCanonical(value, options.floats ?? false);
}

/**
 * Decodes canonical MessagePack, all of `bytes`. Never throws: what is not canonical is a code.
 * Memory is bounded by a constant factor of the input; `bin` values share its memory.
 */
export function decodeCanonical(bytes: Uint8Array, options: CanonicalOptions = {}): DecodeResult {
  const input = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const read = readCanonical(input, options);
  return read === undefined ? decodeInPasses(input, options) : { ok: true, value: read.value };
}

/** As `decodeCanonical`, in three passes: slower, and with the code of what is refused. */
export function decodeInPasses(bytes: Uint8Array, options: CanonicalOptions = {}): DecodeResult {
  const input = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const refusal = scan(input);
  if (refusal !== undefined) return { ok: false, code: refusal };
  let value: unknown;
  try {
    value = decode(input, { mapKeyConverter: stringKey });
  } catch {
    // A scanned input can only fail at a key that the library refuses.
    return { ok: false, code: 'KEY_REFUSED' };
  }
  const bound = measure(value, options.floats ?? false, 1);
  const isSame = (encoded: Uint8Array): boolean => samePublicBytes(input, encoded);
  if (typeof bound === 'string' || !withEncoding(value, bound, isSame)) {
    return { ok: false, code: 'NOT_CANONICAL' };
  }
  // What has a measure is of the type.
  return { ok: true, value: value as CanonicalValue };
}

/** One buffer that never grows, wiped once it was used. */
function withEncoding<Result>(
  value: unknown,
  bytesMax: number,
  use: (encoded: Uint8Array) => Result,
): Result {
  const encoder = new Encoder({
    sortKeys: true,
    initialBufferSize: bytesMax,
    maxDepth: depthMax + 1,
  });
  const shared = encoder.encodeSharedRef(value);
  try {
    return use(shared);
  } finally {
    shared.fill(0);
  }
}

function stringKey(key: unknown): string {
  if (typeof key !== 'string') throw new CryptoError('NOT_ENCODABLE', 'a map key is a string');
  return key;
}

/** An upper bound of the encoded size in bytes, or what is wrong with the value. */
function measure(value: unknown, floats: boolean, depth: number): number | string {
  if (value === null || typeof value === 'boolean') return 1;
  if (typeof value === 'number') return measureNumber(value, floats);
  if (typeof value === 'string') return measureString(value);
  if (value instanceof Uint8Array) return HEAD_BYTES_MAX + value.length;
  if (typeof value !== 'object') return `a ${typeof value} cannot be encoded`;
  if (depth > depthMax) return `more than ${depthMax} levels`;
  if (Array.isArray(value)) return measureItems(value, floats, depth);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return 'a class instance';
  if (Object.getOwnPropertySymbols(value).length > 0) return 'a symbol key';
  return measureFields(value, floats, depth);
}

function measureItems(items: readonly unknown[], floats: boolean, depth: number): number | string {
  let total = HEAD_BYTES_MAX;
  for (const item of items) {
    const size = measure(item, floats, depth + 1);
    if (typeof size === 'string') return size;
    total += size;
  }
  return total;
}

function measureFields(fields: object, floats: boolean, depth: number): number | string {
  let total = HEAD_BYTES_MAX;
  for (const [key, value] of Object.entries(fields)) {
    if (keysRefused.has(key)) return 'a key that reaches a prototype';
    const keySize = measureString(key);
    if (typeof keySize === 'string') return keySize;
    const size = measure(value, floats, depth + 1);
    if (typeof size === 'string') return size;
    total += keySize + size;
  }
  return total;
}

function measureNumber(value: number, floats: boolean): number | string {
  if (Number.isSafeInteger(value)) return HEAD_BYTES_MAX;
  if (!Number.isFinite(value)) return 'NaN or an infinity';
  if (Number.isInteger(value)) return 'an integer beyond 2^53';
  return floats ? HEAD_BYTES_MAX : 'a float where none is allowed';
}

function measureString(value: string): number | string {
  if (!value.isWellFormed()) return 'a string with a lone surrogate';
  if (value.startsWith('\ufeff')) return 'a string that begins with a byte order mark';
  return HEAD_BYTES_MAX + CHAR_BYTES_MAX * value.length;
}
