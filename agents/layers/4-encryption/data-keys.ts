/**
 * Data keys (DEKs): AES-256 keys for one object each, bound to the object and its context, and kept
 * wrapped under the KEK. A data key is encapsulated to the primary KEK (X25519MLKEM1024); what comes of
 * it and the KEK's share, which is under the root KEK, give the key that wraps it (HKDF-SHA256, then
 * AES-256-GCM; both are fresh for every wrap). Turning the KEK wraps data keys anew, in bounded
 * batches of one transaction each: at every moment each of them is under exactly one KEK that is there.
 */

import { equalConstantTime, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { decapsulateWith, encapsulateTo } from '../embedded/key-kinds.ts';
import type { StoredVersion } from '../embedded/key-store.ts';
import type { BatchOutcome } from '../service/background-work.ts';
import { Refused } from '../service/http-app.ts';
import type { DataKeyStore, ObjectName, StoredDataKey, WrappedDataKey } from './data-key-store.ts';
import { kekSlot, type KekShares } from './kek-shares.ts';

export const dataKeyBits = 256;
const dataKeyBytes = dataKeyBits / 8;
/** Data keys that are tried before a KEK counts as one that opens none. */
const triedMax = 8;
/** Data keys that one batch wraps anew. */
export const batchKeys = 32;
/** The primary KEK may change while its share is opened; it does not do so again and again. */
const attemptsMax = 8;

/** 404: nothing; 409: something else; 423: not while it is frozen; 507: no room. */
export const dataKeyStatus = {
  OBJECT_UNKNOWN: 404,
  CONTEXT_MISMATCH: 409,
  DATA_KEY_USED: 409,
  DATA_KEY_DAMAGED: 409,
  SLOT_FROZEN: 423,
  STORE_FULL: 507,
} as const;
export type DataKeyCode = keyof typeof dataKeyStatus;

export interface DataKey {
  /** 32 bytes, to be wiped by the caller. */
  readonly key: Uint8Array;
  readonly kekVersion: number;
}

export interface BoundObject extends ObjectName {
  /** What the object is for; who opens it has to know. */
  readonly context: string;
}

export interface DataKeysOptions {
  readonly keys: EmbeddedAdapter;
  readonly store: DataKeyStore;
  readonly shares: KekShares;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

export class DataKeys {
  readonly #options: DataKeysOptions;
  /** Wrapped anew since the start. */
  rewrapped = 0;

  constructor(options: DataKeysOptions) {
    this.#options = options;
  }

  /** The object's data key; made, unless there is one. @throws Refused, AdapterError */
  async make(object: BoundObject): Promise<DataKey> {
    const { store, shares, clock } = this.#options;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      if (store.find(object) !== undefined) return await this.open(object);
      const primary = this.#primary();
      const share = await shares.open(primary.version);
      // From here on nothing else runs: the KEK is primary still, and the object is still without.
      if (this.#primary().version !== primary.version || store.find(object) !== undefined) continue;
      if (!store.hasRoomFor(object)) {
        throw new Refused<DataKeyCode>('STORE_FULL', 'there is no room for another object');
      }
      const key = this.#options.crypto.randomBytes(dataKeyBytes);
      const place = this.#placeOf(object);
      const wrapped = this.#wrap(key, { kek: primary, share: share.reveal(), place });
      const { owner, objectId } = object;
      store.add({ owner, objectId, place, salt: undefined, ...wrapped }, clock.nowMs());
      return { key, kekVersion: primary.version };
    }
    throw new Refused('OVERLOADED', 'the key changes again and again', { retryable: true });
  }

  /** The object's data key. @throws Refused OBJECT_UNKNOWN, CONTEXT_MISMATCH, DATA_KEY_DAMAGED */
  async open(object: BoundObject): Promise<DataKey> {
    const { shares } = this.#options;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const { kekVersion } = this.#require(object);
      const share = await shares.open(kekVersion);
      // It may have been wrapped anew, or destroyed, meanwhile.
      const stored = this.#require(object);
      if (stored.kekVersion !== kekVersion) continue;
      const key = this.#unwrap(stored, share.reveal());
      if (key !== undefined) return { key, kekVersion };
      throw new Refused<DataKeyCode>('DATA_KEY_DAMAGED', 'the data key does not open');
    }
    throw new Refused('OVERLOADED', 'the key changes again and again', { retryable: true });
  }

  /** Wraps some of what is not under the primary KEK anew, in one transaction. */
  async rewrapBatch(): Promise<BatchOutcome> {
    const { keys, store, shares } = this.#options;
    if (keys.store.slot(kekSlot).frozen) return 'idle';
    const old = keys.store
      .versions(kekSlot)
      .find(({ version, state }) => isOld(state) && store.under(version, 1).length > 0);
    if (old === undefined) return 'idle';
    const primary = this.#primary();
    const from = await shares.open(old.version);
    const to = await shares.open(primary.version);
    // Turned again meanwhile: the next batch sees what there is then.
    if (this.#primary().version !== primary.version || from.wiped) return 'more';
    store.transact('data keys were not wrapped anew', () => {
      for (const stored of store.under(old.version, batchKeys)) {
        const key = this.#unwrap(stored, from.reveal());
        if (key === undefined) {
          store.markDamaged(stored);
          continue;
        }
        const { place } = stored;
        store.replace(stored, this.#wrap(key, { kek: primary, share: to.reveal(), place }));
        key.fill(0);
        this.rewrapped += 1;
      }
    });
    return 'more';
  }

  /** Data keys that are not under the primary KEK. */
  waiting(): number {
    const { keys, store } = this.#options;
    const versions = keys.store.versions(kekSlot).filter(({ state }) => state !== 'primary');
    return versions.reduce((sum, { version }) => sum + store.countUnder(version), 0);
  }

  /** Whether a data key that is wrapped by this version opens again; keeps nothing. */
  async probe(version: number): Promise<boolean> {
    const { keys, crypto, shares } = this.#options;
    const kek = keys.store.version(kekSlot, version);
    if (kek === undefined) return false;
    const share = (await shares.open(version)).reveal();
    const key = crypto.randomBytes(dataKeyBytes);
    const place = crypto.randomBytes(32);
    const wrapped = this.#wrap(key, { kek, share, place });
    const name = { owner: '', objectId: 'probe', salt: undefined, place };
    const opened = this.#unwrap({ ...name, ...wrapped }, share);
    return opened !== undefined && equalConstantTime(opened, key);
  }

  /** Whether some data key that is kept under this version opens, or a new one where none is. */
  async serves(version: number): Promise<boolean> {
    const { store, shares } = this.#options;
    const share = await shares.open(version);
    const kept = store.under(version, triedMax);
    if (kept.length === 0) return await this.probe(version);
    return kept.some((stored) => {
      const key = this.#unwrap(stored, share.reveal());
      key?.fill(0);
      return key !== undefined;
    });
  }

  #primary(): StoredVersion {
    const { store } = this.#options.keys;
    const primary = store.primary(kekSlot);
    if (primary === undefined || store.slot(kekSlot).frozen) {
      throw new Refused<DataKeyCode>('SLOT_FROZEN', 'no new data keys now', { retryable: true });
    }
    return primary;
  }

  #require(object: BoundObject): StoredDataKey {
    const stored = this.#options.store.find(object);
    if (stored === undefined) {
      throw new Refused<DataKeyCode>('OBJECT_UNKNOWN', 'there is no such object');
    }
    if (equalConstantTime(stored.place, this.#placeOf(object))) return stored;
    throw new Refused<DataKeyCode>('CONTEXT_MISMATCH', 'the object has another context');
  }

  #placeOf({ owner, objectId, context }: BoundObject): Uint8Array {
    const parts = ['gyre/v1/data-key', owner, objectId, context].map(utf8);
    return this.#options.crypto.sha3_256(lengthPrefixed(...parts));
  }

  #wrap(
    key: Uint8Array,
    under: { readonly kek: StoredVersion; readonly share: Uint8Array; readonly place: Uint8Array },
  ): WrappedDataKey {
    const { crypto, clock, keys } = this.#options;
    const { kek, share, place } = under;
    const beganMs = clock.monotonicMs();
    const { version, keyId, publicKey } = kek;
    const made = encapsulateTo(crypto, 'hybrid-kem', publicKey ?? new Uint8Array());
    const parts = wrapParts(crypto, { secret: made.sharedSecret, share, keyId, place });
    try {
      const wrapped = crypto.aeadSeal({ ...parts, plaintext: key });
      return { kekVersion: version, capsule: made.ciphertext, wrapped };
    } finally {
      made.sharedSecret.fill(0);
      parts.key.fill(0);
      const durationMs = clock.monotonicMs() - beganMs;
      keys.usage.record({ slot: kekSlot, version, operation: 'wrap', durationMs, failed: false });
    }
  }

  /** Undefined where the row was changed. @throws AdapterError where the KEK is gone */
  #unwrap(stored: StoredDataKey, share: Uint8Array): Uint8Array | undefined {
    const { crypto, clock, keys } = this.#options;
    const { kekVersion: version, capsule, wrapped, place } = stored;
    const beganMs = clock.monotonicMs();
    const kek = keys.store.version(kekSlot, version);
    if (kek === undefined) return undefined;
    const key = keys.store.withKey(kek, (open) => {
      const secret = taken(() => decapsulateWith(crypto, open, capsule));
      if (secret === undefined) return undefined;
      const parts = wrapParts(crypto, { secret, share, keyId: kek.keyId, place });
      secret.fill(0);
      const opened = crypto.aeadOpen({ ...parts, ciphertext: wrapped });
      parts.key.fill(0);
      return opened;
    });
    const durationMs = clock.monotonicMs() - beganMs;
    const failed = key === undefined;
    keys.usage.record({ slot: kekSlot, version, operation: 'unwrap', durationMs, failed });
    return key;
  }
}

function isOld(state: StoredVersion['state']): boolean {
  return state === 'accepted' || state === 'withdrawn';
}

/** Key and nonce of one wrap: both are derived from a secret that is encapsulated for it alone. */
function wrapParts(
  crypto: CryptoProvider,
  from: {
    readonly secret: Uint8Array;
    readonly share: Uint8Array;
    readonly keyId: string;
    readonly place: Uint8Array;
  },
) {
  const ikm = lengthPrefixed(from.secret, from.share);
  const aad = lengthPrefixed(utf8('gyre/v1/data-key-wrap'), utf8(from.keyId), from.place);
  const { key: keyBytes, nonce: nonceBytes } = sizes.aead;
  const salt = utf8('gyre/v1/data-key-wrap');
  const bytes = crypto.hkdfSha256({ ikm, salt, info: aad, outputBytes: keyBytes + nonceBytes });
  ikm.fill(0);
  const parts = { key: bytes.slice(0, keyBytes), nonce: bytes.slice(keyBytes), aad };
  bytes.fill(0);
  return { algorithm: 'AES-256-GCM', ...parts } as const;
}

/** What a damaged capsule makes of it is nothing. */
function taken(decapsulate: () => Uint8Array): Uint8Array | undefined {
  try {
    return decapsulate();
  } catch (error) {
    if (error instanceof CryptoError) return undefined;
    throw error;
  }
}
