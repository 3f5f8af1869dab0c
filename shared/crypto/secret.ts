/**
 * A secret that is hard to log: it prints as `[secret]` wherever it is serialised, inspected or
 * joined to a string, and it can be wiped.
 */
import { CryptoError, invariant } from './errors.ts';

const PRINTED = '[secret]';

export class Secret {
  #bytes: Uint8Array | undefined;

  /** Takes ownership of `bytes`: `wipe` overwrites them. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Length in bytes. */
  get length(): number {
    return this.#open().length;
  }

  /** The bytes themselves, not a copy. Throws once the secret is wiped. */
  reveal(): Uint8Array {
    return this.#open();
  }

  get wiped(): boolean {
    return this.#bytes === undefined;
  }

  /** Overwrites the bytes with zeros. Doing it again changes nothing. */
  wipe(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }

  toJSON(): string {
    return PRINTED;
  }

  toString(): string {
    return PRINTED;
  }

  [Symbol.toPrimitive](): string {
    return PRINTED;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return PRINTED;
  }

  [Symbol.dispose](): void {
    this.wipe();
  }

  #open(): Uint8Array {
    invariant(this.#bytes !== undefined, 'the secret is used before it is wiped');
    return this.#bytes;
  }
}

/** Takes a key of exactly `length` bytes from outside as a `Secret`; throws `KEY_INVALID`. */
export function secretOfLength(bytes: Uint8Array, length: number): Secret {
  if (bytes.length !== length) {
    throw new CryptoError('KEY_INVALID', `a secret of ${length} bytes was expected`);
  }
  return new Secret(bytes);
}
