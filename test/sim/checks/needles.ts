/**
 * Looks for many secrets in many bytes at once: a bitmap over the first two bytes of every needle, then
 * a table over the first eight. Needles are looked for as they are, in hexadecimal and in base64url, at
 * every offset.
 */

const headBytes = 8;

export class Needles {
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
    const bitmap = this.#bitmap;
    const end = bytes.length - headBytes;
    let pair = bytes[0] ?? 0;
    for (let at = 0; at <= end; at += 1) {
      pair = ((pair << 8) | (bytes[at + 1] as number)) & 0xffff;
      if (bitmap[pair] === 0) continue;
      const name = this.#nameAt(bytes, at);
      if (name !== undefined) found.push(name);
      if (found.length === foundMax) break;
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
    this.#bitmap[bytes.readUInt16BE(0)] = 1;
    const head = bytes.toString('latin1', 0, headBytes);
    const known = this.#byHead.get(head);
    if (known === undefined) this.#byHead.set(head, [{ name, bytes }]);
    else if (!known.some((other) => other.bytes.equals(bytes))) known.push({ name, bytes });
  }
}
