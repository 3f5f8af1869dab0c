/**
 * The root of the hierarchy: wraps and unwraps the few secrets right below it by versions of the root
 * KEK, and never gives one away. A version's key is in a token where one is configured (root-token.ts)
 * and in the embedded key store where none is; versions of both kinds can be there at once, while a
 * root is taken from the one to the other by turning it.
 */

import { concat, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { StoredVersion } from '../embedded/key-store.ts';
import type { RootToken } from './root-token.ts';

export const rootSlot = '4/root-kek';

export interface WrappedSecret {
  /** Version of the root KEK that it is wrapped by. */
  readonly rootVersion: number;
  readonly sealed: Uint8Array;
}

export interface NewlyWrapped extends WrappedSecret {
  /** By a root KEK in a file: a copy of the disk opens it. */
  readonly byFile: boolean;
}

/** All of them fail with AdapterError. */
export interface RootKeyPort {
  /** The version that wraps. */
  primaryVersion(): number;
  /** Wraps 32 bytes by the primary version, bound to `context`. STATE_CONFLICT while frozen. */
  wrap(secret: Uint8Array, context: Uint8Array): Promise<NewlyWrapped>;
  /** The secret, to be wiped by the caller. STORE_FAILED where it does not open. */
  unwrap(wrapped: WrappedSecret, context: Uint8Array): Promise<Uint8Array>;
}

export interface RootKeyOptions {
  readonly keys: EmbeddedAdapter;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly token?: RootToken;
}

const nonceBytes = sizes.aead.nonce;

/** AES-256-GCM: by the token, or by the key in the store under a random nonce. */
export class RootKey implements RootKeyPort {
  readonly #options: RootKeyOptions;

  constructor(options: RootKeyOptions) {
    this.#options = options;
  }

  /** Versions that are in a file still: a copy of the disk has them. */
  inFile(): StoredVersion[] {
    return this.#there().filter((stored) => this.#options.keys.heldElsewhere(stored) === undefined);
  }

  /** Versions that are in a token. */
  inToken(): StoredVersion[] {
    return this.#there().filter((stored) => this.#options.keys.heldElsewhere(stored) !== undefined);
  }

  primaryVersion(): number {
    return this.#primary().version;
  }

  async wrap(secret: Uint8Array, context: Uint8Array): Promise<NewlyWrapped> {
    const { keys } = this.#options;
    if (keys.store.slot(rootSlot).frozen) {
      throw new AdapterError('STATE_CONFLICT', `${rootSlot} is frozen`);
    }
    const stored = this.#primary();
    const purpose = aadOf(stored, context);
    const held = keys.heldElsewhere(stored);
    const sealed = await this.#timed(stored, 'wrap', async () =>
      held === undefined
        ? this.#seal(stored, secret, purpose)
        : await this.#token().wrap(held, secret, purpose),
    );
    return { rootVersion: stored.version, sealed, byFile: held === undefined };
  }

  async unwrap({ rootVersion, sealed }: WrappedSecret, context: Uint8Array): Promise<Uint8Array> {
    const { keys } = this.#options;
    const stored = keys.store.version(rootSlot, rootVersion);
    if (stored === undefined) {
      throw new AdapterError('VERSION_UNKNOWN', `no version ${rootVersion} of ${rootSlot}`);
    }
    const purpose = aadOf(stored, context);
    const held = keys.heldElsewhere(stored);
    return await this.#timed(stored, 'unwrap', async () =>
      held === undefined
        ? this.#open(stored, sealed, purpose)
        : await this.#token().unwrap(held, sealed, purpose),
    );
  }

  #seal(stored: StoredVersion, plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
    const { keys, crypto } = this.#options;
    const nonce = crypto.randomBytes(nonceBytes);
    const sealed = keys.store.withKey(stored, ({ secret: key }) =>
      crypto.aeadSeal({ algorithm: 'AES-256-GCM', key, nonce, aad, plaintext }),
    );
    return concat(nonce, sealed);
  }

  #open(stored: StoredVersion, sealed: Uint8Array, aad: Uint8Array): Uint8Array {
    const { keys, crypto } = this.#options;
    const nonce = sealed.subarray(0, nonceBytes);
    const ciphertext = sealed.subarray(nonceBytes);
    const secret = keys.store.withKey(stored, ({ secret: key }) =>
      crypto.aeadOpen({ algorithm: 'AES-256-GCM', key, nonce, aad, ciphertext }),
    );
    if (secret !== undefined) return secret;
    throw new AdapterError('STORE_FAILED', 'a secret under the root KEK does not open');
  }

  #token(): RootToken {
    const { token } = this.#options;
    if (token !== undefined) return token;
    throw new AdapterError(
      'SYSTEM_UNREACHABLE',
      `${rootSlot} is in a token, and none is configured`,
    );
  }

  #there(): StoredVersion[] {
    const { store } = this.#options.keys;
    return store.versions(rootSlot).filter(({ state }) => state !== 'destroyed');
  }

  #primary(): StoredVersion {
    const primary = this.#options.keys.store.primary(rootSlot);
    if (primary !== undefined) return primary;
    throw new AdapterError('STATE_CONFLICT', `${rootSlot} has no primary key`);
  }

  async #timed<Result>(
    { slot, version }: StoredVersion,
    operation: string,
    use: () => Promise<Result>,
  ): Promise<Result> {
    const { keys, clock } = this.#options;
    const beganMs = clock.monotonicMs();
    let failed = true;
    try {
      const result = await use();
      failed = false;
      return result;
    } finally {
      const durationMs = clock.monotonicMs() - beganMs;
      keys.usage.record({ slot, version, operation, durationMs, failed });
    }
  }
}

function aadOf({ keyId }: StoredVersion, context: Uint8Array): Uint8Array {
  return lengthPrefixed(utf8('gyre/v1/root-kek'), utf8(keyId), context);
}
