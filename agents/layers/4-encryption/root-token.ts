/**
 * A PKCS#11 token as the holder of root KEKs: each version is an AES-256 key of its own in the token,
 * which wraps and unwraps there and cannot leave. Faults of the token are translated here: what
 * passes (it is away, it hangs) is worth another try, a refused PIN is not, and what does not open is
 * a damaged secret.
 */

import { equalConstantTime, fromHex, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { KeyToken, KeyTokenDescription } from '#shared/runtime/token/key-token.ts';
import { TokenError, type TokenErrorCode, type TokenKey } from '#shared/runtime/token/token.ts';
import { AdapterError } from '../adapter.ts';
import type { Artefact } from '../embedded/key-kinds.ts';
import type { HeldKey, KeysElsewhere } from '../embedded/keys-elsewhere.ts';

const canaryPurpose = utf8('gyre/v1/root-kek-canary');
const probeBytes = 32;

/** The secret itself is damaged, or was wrapped by something else. */
const damaged: readonly TokenErrorCode[] = ['WRAPPING_INVALID', 'KEY_UNKNOWN'];
/** Another try would end in the same way: somebody has to see to it first. */
const final: readonly TokenErrorCode[] = [
  'TOKEN_PIN_WRONG',
  'TOKEN_PIN_LOCKED',
  'TOKEN_LIBRARY_MISSING',
  'TOKEN_MECHANISM_MISSING',
];

export class RootToken implements KeysElsewhere {
  readonly custody = 'token';
  readonly #token: KeyToken;
  readonly #crypto: CryptoProvider;

  constructor(token: KeyToken, crypto: CryptoProvider) {
    this.#token = token;
    this.#crypto = crypto;
  }

  describe(): KeyTokenDescription {
    return this.#token.describe();
  }

  async make(name: string): Promise<string> {
    return toHex(await translated(() => this.#token.makeKey(name)));
  }

  async wrap(key: HeldKey, secret: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return await translated(() => this.#token.wrap(named(key), secret, purpose));
  }

  /** To be wiped by the caller. @throws AdapterError STORE_FAILED where it does not open */
  async unwrap(key: HeldKey, sealed: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return await translated(() => this.#token.unwrap(named(key), sealed, purpose));
  }

  async probe(key: HeldKey): Promise<boolean> {
    const artefact = await this.makeArtefact(key);
    if (!(await this.checkArtefact(key, artefact))) return false;
    const changed = Uint8Array.from(artefact.output);
    const last = changed.length - 1;
    changed[last] = (changed[last] ?? 0) ^ 1;
    if (await this.checkArtefact(key, { ...artefact, output: changed })) return false;
    // A token that forgets what a wrapping is for would let one pass for another.
    return (await this.#opened(key, artefact.output, utf8('another purpose'))) === undefined;
  }

  async makeArtefact(key: HeldKey): Promise<Artefact> {
    const bytes = this.#crypto.randomBytes(probeBytes);
    const output = await this.wrap(key, bytes, canaryPurpose);
    return { input: this.#crypto.sha3_256(bytes), output };
  }

  async checkArtefact(key: HeldKey, { input, output }: Artefact): Promise<boolean> {
    const opened = await this.#opened(key, output, canaryPurpose);
    return opened !== undefined && equalConstantTime(this.#crypto.sha3_256(opened), input);
  }

  async destroy(name: string): Promise<void> {
    await translated(() => this.#token.destroyKey(name));
  }

  close(): Promise<void> {
    return this.#token.close();
  }

  async #opened(
    key: HeldKey,
    sealed: Uint8Array,
    purpose: Uint8Array,
  ): Promise<Uint8Array | undefined> {
    try {
      return await this.unwrap(key, sealed, purpose);
    } catch (error) {
      if (error instanceof AdapterError && error.code === 'STORE_FAILED') return undefined;
      throw error;
    }
  }
}

function named({ name, keyId }: HeldKey): TokenKey {
  const id = fromHex(keyId);
  if (id !== undefined) return { name, id };
  throw new AdapterError('STORE_FAILED', `the id of ${name} is none`);
}

async function translated<Result>(ask: () => Promise<Result>): Promise<Result> {
  try {
    return await ask();
  } catch (cause) {
    if (!(cause instanceof TokenError)) throw cause;
    const { code, message } = cause;
    if (damaged.includes(code)) throw new AdapterError('STORE_FAILED', message, { cause });
    const retryable = !final.includes(code);
    throw new AdapterError('SYSTEM_UNREACHABLE', message, { cause, retryable });
  }
}
