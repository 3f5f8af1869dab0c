/**
 * Walks MessagePack bytes without building anything: every length is checked against the bytes that
 * remain, every container against its depth, every type against what canonical MessagePack allows
 * (no extensions, no float32, string keys only). After it, decoding cannot be made to allocate more
 * than a constant factor of the input.
 */

/** Containers inside each other, at the most. */
export const depthMax = 32;

export type ScanRefusal =
  /** A value or length goes beyond the input, or bytes follow the value. */
  | 'LENGTH_REFUSED'
  /** More than 32 containers inside each other. */
  | 'TOO_DEEP'
  /** An extension, a float32 or the unused byte 0xc1. */
  | 'TYPE_REFUSED'
  /** A map key that is no string, or one that reaches a prototype. */
  | 'KEY_REFUSED';

/** Undefined where `bytes` are one well-formed value of the allowed types. */
export function scan(bytes: Uint8Array): ScanRefusal | undefined {
  const scanner = new Scanner(bytes);
  const refusal = scanner.value(0);
  if (refusal !== undefined) return refusal;
  return scanner.atEnd ? undefined : 'LENGTH_REFUSED';
}

class Scanner {
  readonly #view: DataView;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#position === this.#view.byteLength;
  }

  /** Scans one value inside `depth` containers. */
  value(depth: number): ScanRefusal | undefined {
    if (this.atEnd) return 'LENGTH_REFUSED';
    const head = this.#view.getUint8(this.#position++);
    if (head <= 0x7f || head >= 0xe0) return undefined;
    if (head <= 0x8f) return this.#map(head & 0x0f, depth);
    if (head <= 0x9f) return this.#array(head & 0x0f, depth);
    if (head <= 0xbf) return this.#skip(head & 0x1f);
    return this.#prefixed(head, depth);
  }

  #prefixed(head: number, depth: number): ScanRefusal | undefined {
    switch (head) {
      case 0xc0: // nil
      case 0xc2: // false
      case 0xc3: // true
        return undefined;
      case 0xc4: // bin 8
      case 0xd9: // str 8
        return this.#skip(this.#length(1));
      case 0xc5: // bin 16
      case 0xda: // str 16
        return this.#skip(this.#length(2));
      case 0xc6: // bin 32
      case 0xdb: // str 32
        return this.#skip(this.#length(4));
      case 0xcc: // uint 8
      case 0xd0: // int 8
        return this.#skip(1);
      case 0xcd: // uint 16
      case 0xd1: // int 16
        return this.#skip(2);
      case 0xce: // uint 32
      case 0xd2: // int 32
        return this.#skip(4);
      case 0xcb: // float 64
      case 0xcf: // uint 64
      case 0xd3: // int 64
        return this.#skip(8);
      case 0xdc: // array 16
        return this.#array(this.#length(2), depth);
      case 0xdd: // array 32
        return this.#array(this.#length(4), depth);
      case 0xde: // map 16
        return this.#map(this.#length(2), depth);
      case 0xdf: // map 32
        return this.#map(this.#length(4), depth);
      default: // unused, float 32, extensions
        return 'TYPE_REFUSED';
    }
  }

  #array(items: number | undefined, depth: number): ScanRefusal | undefined {
    if (items === undefined || items > this.#remaining) return 'LENGTH_REFUSED';
    if (depth >= depthMax) return 'TOO_DEEP';
    for (let index = 0; index < items; index += 1) {
      const refusal = this.value(depth + 1);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #map(entries: number | undefined, depth: number): ScanRefusal | undefined {
    if (entries === undefined || entries * 2 > this.#remaining) return 'LENGTH_REFUSED';
    if (depth >= depthMax) return 'TOO_DEEP';
    for (let index = 0; index < entries; index += 1) {
      const refusal = this.#key() ?? this.value(depth + 1);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #key(): ScanRefusal | undefined {
    if (this.atEnd) return 'LENGTH_REFUSED';
    const head = this.#view.getUint8(this.#position);
    const isString = (head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb);
    return isString ? this.value(depthMax) : 'KEY_REFUSED';
  }

  get #remaining(): number {
    return this.#view.byteLength - this.#position;
  }

  #length(bytes: 1 | 2 | 4): number | undefined {
    if (this.#remaining < bytes) return undefined;
    const at = this.#position;
    this.#position += bytes;
    if (bytes === 1) return this.#view.getUint8(at);
    return bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #skip(bytes: number | undefined): ScanRefusal | undefined {
    if (bytes === undefined || bytes > this.#remaining) return 'LENGTH_REFUSED';
    this.#position += bytes;
    return undefined;
  }
}
