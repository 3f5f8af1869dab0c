/**
 * Looks for many secrets in many bytes at once, by the first eight bytes of every needle: the pair of bytes
 * at the end of a window of eight says how far the window can be moved without leaving a needle out (Wu and
 * Manber), a bitmap over the first four bytes rules out most of what remains, and a table over all eight
 * decides. Needles are looked for as they are, in hexadecimal and in base64url, at every offset.
 */

const headBytes = 8;
/** How far a window is moved whose last two bytes stand nowhere in the head of a needle. */
const shiftMax = headBytes - 1;

export class Needles {
  /** By the last two bytes of a window. */
  readonly #shifts = new Uint8Array(65_536).fill(shiftMax);
  /** By the first four. */
  readonly #bitmap = new Uint8Array(65_536);
  readonly #byHead = new Map<string, { readonly name: string; readonly bytes: Buffer }[]>();
  size = 0;

  add(name: string, secret: Uint8Array): void {
    // What is shorter, or the same byte over and over, turns up by chance.
    if (secret.length < headBytes || new Set(secret).size < 4) return;
    const raw = Buffer.from(secret);
    this.#add(name, raw);
    this.#add(`${name} (hexadecimal)`, Buffer.from(raw.toString('hex')));
    this.#add(`${name} (base64url)`, Buffer.from(raw.toString('base64url')));
    this.size += 1;
  }

  /** The names of the first needles found. */
  findIn(bytes: Uint8Array, foundMax = 4): string[] {
    const found: string[] = [];
    const [shifts, bitmap] = [this.#shifts, this.#bitmap];
    const end = bytes.length - headBytes;
    for (let at = 0; at <= end;) {
      const pair = ((bytes[at + shiftMax - 1] ?? 0) << 8) | (bytes[at + shiftMax] ?? 0);
      const shift = shifts[pair] ?? 0;
      at += shift;
      if (shift > 0) continue;
      if (bitmap[placeOf(bytes, at)] === 1) {
        const name = this.#nameAt(bytes, at);
        if (name !== undefined) found.push(name);
        if (found.length === foundMax) break;
      }
      at += 1;
    }
    return found;
  }

  #nameAt(bytes: Uint8Array, at: number): string | undefined {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const needles = this.#byHead.get(view.toString('latin1', at, at + headBytes));
    return needles?.find((needle) =>
      needle.bytes.equals(view.subarray(at, at + needle.bytes.length)),
    )?.name;
  }

  #add(name: string, bytes: Buffer): void {
    this.#bitmap[placeOf(bytes, 0)] = 1;
    for (let at = 0; at < shiftMax; at += 1) {
      const pair = bytes.readUInt16BE(at);
      this.#shifts[pair] = Math.min(this.#shifts[pair] ?? 0, shiftMax - 1 - at);
    }
    const head = bytes.toString('latin1', 0, headBytes);
    const known = this.#byHead.get(head);
    if (known === undefined) this.#byHead.set(head, [{ name, bytes }]);
    else if (!known.some((other) => other.bytes.equals(bytes))) known.push({ name, bytes });
  }
}

/** Of the first four bytes from there on. */
function placeOf(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16);
  const word = high | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
  return Math.imul(word, 0x9e3779b1) >>> 16;
}
