/**
 * Canonical MessagePack in one pass: every rule of `canonical-msgpack.ts` is checked where the byte is
 * read, so nothing is encoded again to compare. For where values come by the hundred thousand (events
 * of the bulk lane); a property test holds it to `decodeCanonical`, input by input.
 */
import type { CanonicalOptions, CanonicalValue } from './canonical-msgpack.ts';
import { depthMax } from './msgpack-scan.ts';

/** Stands for whatever is not canonical: no value that can be decoded. */
const refused = Symbol('not canonical');
type Read = CanonicalValue | typeof refused;
type Four = [number, number, number, number];

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Up to here characters are faster than the decoder. */
const shortTextBytes = 32;
const highWord = 2 ** 32;

/** Names of fields that were read, one for each place: a later one takes the place of an earlier. */
const knownKeysMax = 1_024;
const knownKeys: (string | undefined)[] = Array.from({ length: knownKeysMax });

function placeOf(length: number, first: number, last: number): number {
  return (length * 37 + first * 13 + last * 5) % knownKeysMax;
}

/** ASCII only: a character is a byte then. */
function remember(key: string): void {
  for (let index = 0; index < key.length; index += 1) {
    if (key.charCodeAt(index) >= 0x80) return;
  }
  if (key === '') return;
  knownKeys[placeOf(key.length, key.charCodeAt(0), key.charCodeAt(key.length - 1))] = key;
}

/** The value, or undefined for what `decodeCanonical` refuses. Never throws; shares `bytes`. */
export function readCanonical(
  bytes: Uint8Array,
  options: CanonicalOptions = {},
): { readonly value: CanonicalValue } | undefined {
  const reader = new Reader(bytes, options.floats ?? false);
  const value = reader.value(0);
  return value === refused || !reader.atEnd ? undefined : { value };
}

/** The text of ASCII bytes, eight characters at a time; undefined where one of them is not ASCII. */
function asciiIn(bytes: Uint8Array, from: number, to: number): string | undefined {
  let text = '';
  let at = from;
  for (; at + 8 <= to; at += 8) {
    const [a, b, c, d] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]] as Four;
    const [e, f, g, h] = [bytes[at + 4], bytes[at + 5], bytes[at + 6], bytes[at + 7]] as Four;
    if ((a | b | c | d | e | f | g | h) >= 0x80) return undefined;
    text += String.fromCharCode(a, b, c, d, e, f, g, h);
  }
  for (; at < to; at += 1) {
    const byte = bytes[at] ?? 0x80;
    if (byte >= 0x80) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #floats: boolean;
  #at = 0;

  constructor(bytes: Uint8Array, floats: boolean) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#floats = floats;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(depth: number): Read {
    const head = this.#bytes[this.#at];
    if (head === undefined) return refused;
    this.#at += 1;
    if (head <= 0x7f) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head <= 0x8f) return this.#map(head & 0x0f, depth);
    if (head <= 0x9f) return this.#array(head & 0x0f, depth);
    if (head <= 0xbf) return this.#text(head & 0x1f);
    return this.#headed(head, depth);
  }

  #headed(head: number, depth: number): Read {
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xcb:
        return this.#float();
      case 0xc4:
        return this.#binary(this.#unsigned(1, 0));
      case 0xc5:
        return this.#binary(this.#unsigned(2, 0x100));
      case 0xc6:
        return this.#binary(this.#unsigned(4, 0x1_0000));
      case 0xd9:
        return this.#text(this.#unsigned(1, 32));
      case 0xda:
        return this.#text(this.#unsigned(2, 0x100));
      case 0xdb:
        return this.#text(this.#unsigned(4, 0x1_0000));
      case 0xdc:
        return this.#array(this.#unsigned(2, 16), depth);
      case 0xdd:
        return this.#array(this.#unsigned(4, 0x1_0000), depth);
      case 0xde:
        return this.#map(this.#unsigned(2, 16), depth);
      case 0xdf:
        return this.#map(this.#unsigned(4, 0x1_0000), depth);
      default:
        return this.#integer(head) ?? refused;
    }
  }

  #integer(head: number): number | undefined {
    switch (head) {
      case 0xcc:
        return this.#unsigned(1, 0x80);
      case 0xcd:
        return this.#unsigned(2, 0x100);
      case 0xce:
        return this.#unsigned(4, 0x1_0000);
      case 0xcf:
        return this.#unsigned(8, highWord);
      case 0xd0:
        return this.#signed(1, -0x20);
      case 0xd1:
        return this.#signed(2, -0x80);
      case 0xd2:
        return this.#signed(4, -0x8000);
      case 0xd3:
        return this.#signed(8, -0x8000_0000);
      default:
        return undefined;
    }
  }

  /** An integer that needs this form: of at least `least`. */
  #unsigned(size: 1 | 2 | 4 | 8, least: number): number | undefined {
    const at = this.#take(size);
    if (at === undefined) return undefined;
    const value =
      size === 1
        ? this.#view.getUint8(at)
        : size === 2
          ? this.#view.getUint16(at)
          : size === 4
            ? this.#view.getUint32(at)
            : this.#view.getUint32(at) * highWord + this.#view.getUint32(at + 4);
    return value >= least && Number.isSafeInteger(value) ? value : undefined;
  }

  /** A negative integer that needs this form: below `below`. */
  #signed(size: 1 | 2 | 4 | 8, below: number): number | undefined {
    const at = this.#take(size);
    if (at === undefined) return undefined;
    const value =
      size === 1
        ? this.#view.getInt8(at)
        : size === 2
          ? this.#view.getInt16(at)
          : size === 4
            ? this.#view.getInt32(at)
            : this.#view.getInt32(at) * highWord + this.#view.getUint32(at + 4);
    return value < below && Number.isSafeInteger(value) ? value : undefined;
  }

  #float(): Read {
    const at = this.#take(8);
    if (at === undefined || !this.#floats) return refused;
    const value = this.#view.getFloat64(at);
    return Number.isFinite(value) && !Number.isInteger(value) ? value : refused;
  }

  #binary(length: number | undefined): Read {
    const at = length === undefined ? undefined : this.#take(length);
    return at === undefined ? refused : this.#bytes.subarray(at, this.#at);
  }

  #text(length: number | undefined): string | typeof refused {
    const at = length === undefined ? undefined : this.#take(length);
    if (at === undefined) return refused;
    const end = this.#at;
    if (end - at <= shortTextBytes) {
      const text = asciiIn(this.#bytes, at, end);
      if (text !== undefined) return text;
    }
    try {
      const text = utf8.decode(this.#bytes.subarray(at, end));
      return text.startsWith('\ufeff') ? refused : text;
    } catch {
      // The decoder throws for one reason only: the bytes are not UTF-8.
      return refused;
    }
  }

  #array(items: number | undefined, depth: number): Read {
    if (items === undefined || items > this.#remaining || depth >= depthMax) return refused;
    const list: CanonicalValue[] = [];
    for (let index = 0; index < items; index += 1) {
      const item = this.value(depth + 1);
      if (item === refused) return refused;
      list.push(item);
    }
    return list;
  }

  #map(entries: number | undefined, depth: number): Read {
    if (entries === undefined || entries * 2 > this.#remaining || depth >= depthMax) return refused;
    const fields: { [key: string]: CanonicalValue } = {};
    let last: string | undefined;
    for (let index = 0; index < entries; index += 1) {
      const key = this.#key();
      if (key === refused || (last !== undefined && key <= last)) return refused;
      const value = this.value(depth + 1);
      if (value === refused) return refused;
      fields[key] = value;
      last = key;
    }
    return fields;
  }

  #key(): string | typeof refused {
    const head = this.#bytes[this.#at] ?? 0;
    const isText = (head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb);
    if (!isText) return refused;
    const known = head <= 0xbf ? this.#knownKey(head & 0x1f) : undefined;
    if (known !== undefined) return known;
    const key = this.value(depthMax);
    if (typeof key !== 'string') return refused;
    if (key === '__proto__' || key === 'constructor' || key === 'prototype') return refused;
    if (head <= 0xbf) remember(key);
    return key;
  }

  /** The same few names come again and again: each is one string, which needs no making. */
  #knownKey(length: number): string | undefined {
    const bytes = this.#bytes;
    const from = this.#at + 1;
    if (length === 0 || from + length > bytes.length) return undefined;
    const key = knownKeys[placeOf(length, bytes[from] ?? 0, bytes[from + length - 1] ?? 0)];
    if (key?.length !== length) return undefined;
    for (let index = 0; index < length; index += 1) {
      if (key.charCodeAt(index) !== bytes[from + index]) return undefined;
    }
    this.#at = from + length;
    return key;
  }

  get #remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** Where the next `count` bytes begin, or undefined where there are not so many. */
  #take(count: number): number | undefined {
    if (count > this.#remaining) return undefined;
    const at = this.#at;
    this.#at += count;
    return at;
  }
}
