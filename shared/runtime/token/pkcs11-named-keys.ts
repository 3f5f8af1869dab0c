/**
 * AES-256 keys in a token by name, made and destroyed while it is used: what wraps the keys of a
 * layer, version by version. Used in the token child only. A key goes by its name and by the id that
 * was drawn for it, so that another key of its name is never taken for it; both are bound to what
 * it wraps.
 */
import { randomBytes } from 'node:crypto';

import {
  AesKey,
  findAesKeys,
  idOf,
  makeAesKey,
  requireGoodKey,
  type AesKeyName,
} from './pkcs11-aes-key.ts';
import type { Handle, Pkcs11 } from './pkcs11-library.ts';
import { call, logIn, logOut, type TokenInfo } from './pkcs11-slot.ts';
import { TokenError, tokenKeyIdBytes, type TokenKey } from './token.ts';
import { unwrapBytes, wrapBytes } from './wrapping.ts';

export class NamedKeys {
  readonly info: TokenInfo;
  readonly #label: string;
  readonly #library: Pkcs11;
  readonly #session: Handle;

  private constructor(library: Pkcs11, session: Handle, label: string, info: TokenInfo) {
    this.#library = library;
    this.#session = session;
    this.#label = label;
    this.info = info;
  }

  /** One login, writable. */
  static open(library: Pkcs11, label: string, pin: string): NamedKeys {
    const { session, info } = logIn(library, { label, pin, writable: true });
    return new NamedKeys(library, session, label, info);
  }

  /**
   * The id of the key of that name, which is made unless it is there: asked again after an unknown
   * outcome it finds what was made. TOKEN_FAILED for a key of that name that is not one of ours.
   */
  make(keyName: string): Uint8Array {
    const [existing] = findAesKeys(this.#library, this.#session, { label: keyName });
    if (existing === undefined) {
      const id = new Uint8Array(randomBytes(tokenKeyIdBytes));
      makeAesKey(this.#library, this.#session, { label: keyName, id });
      return id;
    }
    requireGoodKey(this.#library, this.#session, existing);
    const id = idOf(this.#library, this.#session, existing);
    if (id.length === tokenKeyIdBytes) return id;
    throw new TokenError('TOKEN_FAILED', `the key ${keyName} was not made here: its id is short`);
  }

  wrap(key: TokenKey, bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return wrapBytes(this.#key(key), this.#label, { bytes, purpose: purposeOf(key, purpose) });
  }

  unwrap(key: TokenKey, wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return unwrapBytes(this.#key(key), this.#label, {
      wrapped,
      purpose: purposeOf(key, purpose),
    });
  }

  /** Every key of that name: one that was made twice goes with it. None is as good as gone. */
  destroy(keyName: string): void {
    const name: AesKeyName = { label: keyName };
    for (
      let found = findAesKeys(this.#library, this.#session, name);
      found.length > 0;
      found = findAesKeys(this.#library, this.#session, name)
    ) {
      for (const key of found) {
        call('C_DestroyObject', () => this.#library.C_DestroyObject(this.#session, key));
      }
    }
  }

  close(): void {
    logOut(this.#library, this.#session);
  }

  /** KEY_UNKNOWN where there is none of that name and id. */
  #key({ name, id }: TokenKey): AesKey {
    const [key] = findAesKeys(this.#library, this.#session, { label: name, id });
    if (key === undefined) {
      throw new TokenError('KEY_UNKNOWN', `the token ${this.#label} has no such key ${name}`);
    }
    requireGoodKey(this.#library, this.#session, key);
    return new AesKey(this.#library, this.#session, key);
  }
}

/** Name, id and purpose, each behind its two-byte length. */
function purposeOf({ name, id }: TokenKey, purpose: Uint8Array): Uint8Array {
  const fields = [Buffer.from(name, 'utf8'), id, purpose];
  return new Uint8Array(
    Buffer.concat(
      fields.flatMap((field) => [Uint8Array.of(field.length >> 8, field.length & 0xff), field]),
    ),
  );
}
