/**
 * The root of the hierarchy as a port: whoever holds the root KEK wraps and unwraps the few secrets
 * right below it, and never gives it away. The embedded key store holds it here (`EmbeddedRootKey`); a
 * token can take its place, which is why everything is asynchronous.
 */

import { concat, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { StoredVersion } from '../embedded/key-store.ts';

export const rootSlot = '4/root-kek';

export interface WrappedSecret {
  /** Version of the root KEK that it is wrapped by. */
  readonly rootVersion: number;
  readonly sealed: Uint8Array;
}

/** All of them fail with AdapterError. */
export interface RootKeyPort {
  /** The version that wraps. */
  primaryVersion(): Promise<number>;
  /** Wraps 32 bytes by the primary version, bound to `context`. STATE_CONFLICT while frozen. */
  wrap(secret: Uint8Array, context: Uint8Array): Promise<WrappedSecret>;
  /** The secret, to be wiped by the caller. STORE_FAILED where it does not open. */
  unwrap(wrapped: WrappedSecret, context: Uint8Array): Promise<Uint8Array>;
}

const nonceBytes = sizes.aead.nonce;

/** The root KEK in the embedded key store, AES-256-GCM under a random nonce. */
export class EmbeddedRootKey implements RootKeyPort {
  readonly #keys: EmbeddedAdapter;
  readonly #crypto: CryptoProvider;
  readonly #clock: Clock;

  constructor(keys: EmbeddedAdapter, crypto: CryptoProvider, clock: Clock) {
    this.#keys = keys;
    this.#crypto = crypto;
    this.#clock = clock;
  }

  async primaryVersion(): Promise<number> {
    return this.#primary().version;
  }

  async wrap(secret: Uint8Array, context: Uint8Array): Promise<WrappedSecret> {
    if (this.#keys.store.slot(rootSlot).frozen) {
      throw new AdapterError('STATE_CONFLICT', `${rootSlot} is frozen`);
    }
    const stored = this.#primary();
    const nonce = this.#crypto.randomBytes(nonceBytes);
    const sealed = this.#use(stored, 'wrap', (key) =>
      this.#crypto.aeadSeal({
        algorithm: 'AES-256-GCM',
        key,
        nonce,
        aad: aadOf(stored, context),
        plaintext: secret,
      }),
    );
    return { rootVersion: stored.version, sealed: concat(nonce, sealed) };
  }

  async unwrap({ rootVersion, sealed }: WrappedSecret, context: Uint8Array): Promise<Uint8Array> {
    const stored = this.#keys.store.version(rootSlot, rootVersion);
    if (stored === undefined) {
      throw new AdapterError('VERSION_UNKNOWN', `no version ${rootVersion} of ${rootSlot}`);
    }
    const secret = this.#use(stored, 'unwrap', (key) =>
      this.#crypto.aeadOpen({
        algorithm: 'AES-256-GCM',
        key,
        nonce: sealed.subarray(0, nonceBytes),
        aad: aadOf(stored, context),
        ciphertext: sealed.subarray(nonceBytes),
      }),
    );
    if (secret !== undefined) return secret;
    throw new AdapterError('STORE_FAILED', 'a secret under the root KEK does not open');
  }

  #primary(): StoredVersion {
    const primary = this.#keys.store.primary(rootSlot);
    if (primary !== undefined) return primary;
    throw new AdapterError('STATE_CONFLICT', `${rootSlot} has no primary key`);
  }

  #use<Result>(stored: StoredVersion, operation: string, use: (key: Uint8Array) => Result): Result {
    const beganMs = this.#clock.monotonicMs();
    const result = this.#keys.store.withKey(stored, ({ secret }) => use(secret));
    const { slot, version } = stored;
    const durationMs = this.#clock.monotonicMs() - beganMs;
    this.#keys.usage.record({
      slot,
      version,
      operation,
      durationMs,
      failed: result === undefined,
    });
    return result;
  }
}

function aadOf({ keyId }: StoredVersion, context: Uint8Array): Uint8Array {
  return lengthPrefixed(utf8('gyre/v1/root-kek'), utf8(keyId), context);
}
