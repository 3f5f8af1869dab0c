/**
 * Canonical MessagePack, written in one pass: what `canonical-msgpack.ts` says of values is checked where
 * the value is written. Property tests hold it to the library's encoder, value by value.
 *
 * Invariant: nothing of a value remains in buffers other than the result. The buffer that values are
 * written into stays from one to the next and is wiped where it was used; larger values get one of their
 * own for the time, and so does a value that is written while another is (a property that is a getter).
 */
import { CryptoError } from './errors.ts';
import { sortedKeys } from './sorted-keys.ts';
import { depthMax } from './msgpack-scan.ts';

const stayingBytes = 64 * 1_024;
const staying = new Uint8Array(stayingBytes);
let isInUse = false;

const utf8 = new TextEncoder();
/** Up to here characters one by one are faster than the encoder. */
const shortTextLength = 64;
const charBytesMax = 3;
const headBytesMax = 9;
/** Bytes that may be written behind the place where the writing stands. */
const aheadBytesMax = headBytesMax + shortTextLength;
const highWord = 2 ** 32;

/** Heads of MessagePack: the short form, then those with a length of 1, 2 and 4 bytes. */
const ofText = [0xa0, 0xd9, 0xda, 0xdb] as const;
const ofBinary = [0, 0xc4, 0xc5, 0xc6] as const;
const ofItems = [0x90, 0, 0xdc, 0xdd] as const;
const ofFields = [0x80, 0, 0xde, 0xdf] as const;
type Heads = readonly [short: number, one: number, two: number, four: number];

/** A copy, owned by the caller. Throws `CryptoError` `NOT_ENCODABLE`. */
export function writeCanonical(value: unknown, floats: boolean): Uint8Array {
  const writer = new Writer(floats, isInUse ? new Uint8Array(1_024) : staying);
  const wasInUse = isInUse;
  isInUse = true;
  try {
    writer.value(value, 1);
    return writer.result();
  } finally {
    isInUse = wasInUse;
    writer.wipe();
  }
}

class Writer {
  readonly #floats: boolean;
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(floats: boolean, bytes: Uint8Array) {
    this.#floats = floats;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }

  result(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  wipe(): void {
    this.#bytes.fill(0, 0, Math.min(this.#bytes.length, this.#at + aheadBytesMax));
  }

  value(value: unknown, depth: number): void {
    switch (typeof value) {
      case 'string':
        return this.#text(value);
      case 'number':
        return this.#number(value);
      case 'boolean':
        return this.#byte(value ? 0xc3 : 0xc2);
      case 'object':
        return value === null ? this.#byte(0xc0) : this.#object(value, depth);
      default:
        throw notEncodable(`a ${typeof value} cannot be encoded`);
    }
  }

  #object(value: object, depth: number): void {
    if (value instanceof Uint8Array) return this.#binary(value);
    if (depth > depthMax) throw notEncodable(`more than ${depthMax} levels`);
    if (Array.isArray(value)) return this.#items(value, depth);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null)
      throw notEncodable('a class instance');
    if (Object.getOwnPropertySymbols(value).length > 0) throw notEncodable('a symbol key');
    this.#fields(value as Readonly<Record<string, unknown>>, depth);
  }

  #items(items: readonly unknown[], depth: number): void {
    this.#head(ofItems, items.length, 16);
    for (const item of items) this.value(item, depth + 1);
  }

  #fields(fields: Readonly<Record<string, unknown>>, depth: number): void {
    const keys = sortedKeys(fields);
    this.#head(ofFields, keys.length, 16);
    for (const key of keys) {
      if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
        throw notEncodable('a key that reaches a prototype');
      }
      this.#text(key);
      this.value(fields[key], depth + 1);
    }
  }

  #binary(bytes: Uint8Array): void {
    this.#head(ofBinary, bytes.length, 0);
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #text(text: string): void {
    const { length } = text;
    this.#reserve(headBytesMax + charBytesMax * length);
    const begin = this.#at;
    if (length <= shortTextLength) {
      this.#head(ofText, length, 32);
      if (this.#ascii(text)) return;
      this.#at = begin;
    }
    if (!text.isWellFormed()) throw notEncodable('a string with a lone surrogate');
    if (text.startsWith('\ufeff'))
      throw notEncodable('a string that begins with a byte order mark');
    // How long the head is shows when the text is written, behind the longest.
    const from = begin + headBytesMax;
    const { written } = utf8.encodeInto(text, this.#bytes.subarray(from));
    this.#head(ofText, written, 32);
    this.#bytes.copyWithin(this.#at, from, from + written);
    this.#at += written;
  }

  /** Whether it is; room is there. */
  #ascii(text: string): boolean {
    const bytes = this.#bytes;
    const at = this.#at;
    for (let index = 0; index < text.length; index += 1) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) return false;
      bytes[at + index] = code;
    }
    this.#at = at + text.length;
    return true;
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value))
      return value < 0 ? this.#negative(value) : this.#natural(value);
    if (!Number.isFinite(value)) throw notEncodable('NaN or an infinity');
    if (Number.isInteger(value)) throw notEncodable('an integer beyond 2^53');
    if (!this.#floats) throw notEncodable('a float where none is allowed');
    this.#reserve(headBytesMax);
    this.#view.setUint8(this.#at, 0xcb);
    this.#view.setFloat64(this.#at + 1, value);
    this.#at += headBytesMax;
  }

  #natural(value: number): void {
    if (value <= 0x7f) this.#byte(value);
    else if (value <= 0xff) this.#sized(0xcc, 1, value);
    else if (value <= 0xffff) this.#sized(0xcd, 2, value);
    else if (value < highWord) this.#sized(0xce, 4, value);
    else this.#wide(0xcf, value);
  }

  #negative(value: number): void {
    if (value >= -0x20) this.#byte(value + 0x100);
    else if (value >= -0x80) this.#sized(0xd0, 1, value);
    else if (value >= -0x8000) this.#sized(0xd1, 2, value);
    else if (value >= -0x8000_0000) this.#sized(0xd2, 4, value);
    else this.#wide(0xd3, value);
  }

  /** The shortest head for `length`; below `shortEnd` it is in the head itself. */
  #head([short, one, two, four]: Heads, length: number, shortEnd: number): void {
    if (length < shortEnd) this.#byte(short | length);
    else if (length <= 0xff && one !== 0) this.#sized(one, 1, length);
    else if (length <= 0xffff) this.#sized(two, 2, length);
    else this.#sized(four, 4, length);
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#at] = byte;
    this.#at += 1;
  }

  /** A number in two's complement, as an unsigned one is stored. */
  #sized(head: number, size: 1 | 2 | 4, value: number): void {
    this.#reserve(headBytesMax);
    const at = this.#at;
    this.#bytes[at] = head;
    if (size === 1) this.#view.setUint8(at + 1, value);
    else if (size === 2) this.#view.setUint16(at + 1, value);
    else this.#view.setUint32(at + 1, value);
    this.#at = at + 1 + size;
  }

  #wide(head: number, value: number): void {
    this.#reserve(headBytesMax);
    this.#bytes[this.#at] = head;
    this.#view.setUint32(this.#at + 1, Math.floor(value / highWord));
    this.#view.setUint32(this.#at + 5, value);
    this.#at += headBytesMax;
  }

  #reserve(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    bytes.set(this.#bytes.subarray(0, this.#at));
    this.wipe();
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

function notEncodable(why: string): CryptoError {
  return new CryptoError('NOT_ENCODABLE', why);
}
