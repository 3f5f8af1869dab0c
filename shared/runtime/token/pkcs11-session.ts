/**
 * One logged-in session with one token, and the AES-256 key in it that wraps the ML-DSA seeds. Used
 * in the token child only. Login happens exactly once per session object, and never after a refusal.
 */
import { AesKey, findAesKeys, makeAesKey, requireGoodKey } from './pkcs11-aes-key.ts';
import type { Handle, Pkcs11 } from './pkcs11-library.ts';
import { call, logIn, logOut } from './pkcs11-slot.ts';
import type { TokenInfo } from './pkcs11-slot.ts';
import { TokenError } from './token.ts';

export const wrappingKeyLabel = 'gyre-seed-wrapping-key';

export class Pkcs11Session {
  readonly info: TokenInfo;
  readonly wrapper: AesKey;
  readonly #library: Pkcs11;
  readonly #session: Handle;

  private constructor(library: Pkcs11, session: Handle, wrapper: AesKey, info: TokenInfo) {
    this.#library = library;
    this.#session = session;
    this.wrapper = wrapper;
    this.info = info;
  }

  /** One login, read-only. TOKEN_FAILED without exactly one good wrapping key. */
  static open(library: Pkcs11, label: string, pin: string): Pkcs11Session {
    const { session, info } = logIn(library, { label, pin, writable: false });
    const [key, ...others] = findAesKeys(library, session, { label: wrappingKeyLabel });
    if (key === undefined || others.length > 0) {
      const found = key === undefined ? 'no' : 'more than one';
      throw new TokenError('TOKEN_FAILED', `the token has ${found} key named ${wrappingKeyLabel}`);
    }
    requireGoodKey(library, session, key);
    return new Pkcs11Session(library, session, new AesKey(library, session, key), info);
  }

  close(): void {
    logOut(this.#library, this.#session);
  }
}

/**
 * Makes the wrapping key if the token has none; true if it made one. Logs in once, writable. The
 * label of the key is its name, so a second one is never made.
 */
export function ensureWrappingKey(library: Pkcs11, label: string, pin: string): boolean {
  const { session } = logIn(library, { label, pin, writable: true });
  const existing = findAesKeys(library, session, { label: wrappingKeyLabel });
  for (const key of existing) requireGoodKey(library, session, key);
  if (existing.length === 0) makeAesKey(library, session, { label: wrappingKeyLabel });
  call('C_CloseSession', () => library.C_CloseSession(session));
  return existing.length === 0;
}
