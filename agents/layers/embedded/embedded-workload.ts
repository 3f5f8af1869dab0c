/**
 * Ordinary use of the embedded keys. The key of a request is read once, from the store, at its
 * beginning: a rotation before or after it makes no difference, and there is no moment without a
 * primary key. Every use is counted per version, which is what retirement waits for.
 */

import type { KeyKind } from '#schemas/layers.ts';
import { equalConstantTime } from '#shared/crypto/bytes.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type {
  Workload,
  WorkloadInput,
  WorkloadOperation,
  WorkloadOutcome,
  WorkloadRefusal,
  WorkloadResult,
  WorkloadSlot,
} from '../workload.ts';
import { openEnvelope, sealEnvelope } from './dek-envelope.ts';
import {
  decapsulateWith,
  encapsulateTo,
  publicKeyOf,
  signWith,
  slotContext,
  verifyWith,
  type OpenKey,
} from './key-kinds.ts';
import type { KeyStore, StoredVersion } from './key-store.ts';
import type { KeyUsage } from './key-usage.ts';

interface Operation {
  readonly kinds: readonly KeyKind[];
  /** Makes something new: primary key only, and not while the slot is frozen. */
  readonly makes: boolean;
  /** The result, or `INPUT_INVALID`. */
  readonly run: (
    crypto: CryptoProvider,
    key: OpenKey,
    input: WorkloadInput,
  ) => WorkloadResult | 'INPUT_INVALID';
}

const none = new Uint8Array();

const operations: Readonly<Record<WorkloadOperation, Operation>> = {
  sign: {
    kinds: ['signature'],
    makes: true,
    run: (crypto, key, { message }) =>
      message === undefined
        ? 'INPUT_INVALID'
        : { signature: signWith(crypto, key, { message, context: slotContext(key.slot) }) },
  },
  verify: {
    kinds: ['signature'],
    makes: false,
    run: (crypto, key, { message, signature }) => {
      if (message === undefined || signature === undefined) return 'INPUT_INVALID';
      const context = slotContext(key.slot);
      return { valid: verifyWith(crypto, publicKeyOf(key), { message, context, signature }) };
    },
  },
  mac: {
    kinds: ['mac'],
    makes: true,
    run: (crypto, key, { message }) =>
      message === undefined ? 'INPUT_INVALID' : { tag: tagOf(crypto, key, message) },
  },
  'verify-mac': {
    kinds: ['mac'],
    makes: false,
    run: (crypto, key, { message, tag }) =>
      message === undefined || tag === undefined
        ? 'INPUT_INVALID'
        : { valid: equalConstantTime(tagOf(crypto, key, message), tag) },
  },
  encrypt: {
    kinds: ['aead'],
    makes: true,
    run: (crypto, key, { plaintext, aad = none }) =>
      plaintext === undefined
        ? 'INPUT_INVALID'
        : { ciphertext: sealEnvelope(crypto, key, { plaintext, aad }) },
  },
  decrypt: {
    kinds: ['aead'],
    makes: false,
    run: (crypto, key, { ciphertext, aad = none }) => {
      if (ciphertext === undefined) return 'INPUT_INVALID';
      const plaintext = openEnvelope(crypto, key, { ciphertext, aad });
      return plaintext === undefined ? 'INPUT_INVALID' : { plaintext };
    },
  },
  encapsulate: {
    kinds: ['kem', 'hybrid-kem'],
    makes: true,
    run: (crypto, key) =>
      encapsulateTo(crypto, key.kind === 'kem' ? 'kem' : 'hybrid-kem', publicKeyOf(key)),
  },
  decapsulate: {
    kinds: ['kem', 'hybrid-kem'],
    makes: false,
    run: (crypto, key, { ciphertext }) =>
      ciphertext === undefined
        ? 'INPUT_INVALID'
        : { sharedSecret: decapsulateWith(crypto, key, ciphertext) },
  },
};

export interface EmbeddedWorkloadOptions {
  readonly layer: number;
  readonly store: KeyStore;
  readonly usage: KeyUsage;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

export class EmbeddedWorkload implements Workload {
  readonly #options: EmbeddedWorkloadOptions;

  constructor(options: EmbeddedWorkloadOptions) {
    this.#options = options;
  }

  slots(): WorkloadSlot[] {
    const { store } = this.#options;
    return store.slots().flatMap(({ slot, keyKind, algorithm, frozen }) => {
      const versions = store.versions(slot);
      const primary = versions.find(({ state }) => state === 'primary');
      if (primary === undefined) return [];
      const { version, keyId, publicKey } = primary;
      const keyType = slot.slice(slot.indexOf('/') + 1);
      const accepted = versions
        .filter(isTaken)
        .map((stored) => ({ version: stored.version, keyId: stored.keyId }));
      const common = { slot, keyType, keyKind, algorithm, version, keyId, frozen, accepted };
      return [publicKey === undefined ? common : { ...common, publicKey }];
    });
  }

  use(keyType: string, operation: WorkloadOperation, input: WorkloadInput): WorkloadOutcome {
    const { store, layer } = this.#options;
    const name = `${layer}/${keyType}`;
    const slot = store.slots().find((stored) => stored.slot === name);
    if (slot === undefined) return refused('SLOT_UNKNOWN');
    const { kinds, makes } = operations[operation];
    if (!kinds.includes(slot.keyKind)) return refused('OPERATION_UNSUPPORTED');
    if (makes && slot.frozen) return refused('SLOT_FROZEN');
    const stored = makes ? store.primary(name) : this.#named(name, input.keyId);
    if (stored === undefined) return refused(makes ? 'SLOT_FROZEN' : 'KEY_UNKNOWN');
    return this.#run(stored, operation, input);
  }

  #named(slot: string, keyId: string | undefined): StoredVersion | undefined {
    if (keyId === undefined) return undefined;
    const stored = this.#options.store.byKeyId(slot, keyId);
    return stored !== undefined && isTaken(stored) ? stored : undefined;
  }

  #run(stored: StoredVersion, operation: WorkloadOperation, input: WorkloadInput): WorkloadOutcome {
    const { crypto, store, usage, clock } = this.#options;
    const { slot, version, keyId } = stored;
    const startedMs = clock.monotonicMs();
    const record = (failed: boolean): void => {
      const durationMs = clock.monotonicMs() - startedMs;
      usage.record({ slot, version, operation, durationMs, failed });
    };
    try {
      const result = store.withKey(stored, (key) => operations[operation].run(crypto, key, input));
      if (result === 'INPUT_INVALID') return refused('INPUT_INVALID');
      record(false);
      return { status: 'done', version, keyId, result };
    } catch (error) {
      // What a caller sends wrong says nothing about the key: it neither counts nor fails it.
      if (error instanceof CryptoError && inputFaults.has(error.code))
        return refused('INPUT_INVALID');
      if (error instanceof AdapterError && error.code === 'VERSION_UNKNOWN') {
        return refused('KEY_UNKNOWN');
      }
      record(true);
      throw error;
    }
  }
}

const inputFaults = new Set(['CIPHERTEXT_INVALID', 'KEY_AGREEMENT_FAILED', 'KEY_INVALID']);

function tagOf(crypto: CryptoProvider, key: OpenKey, message: Uint8Array): Uint8Array {
  return crypto.hmacSha3_384(key.secret, message);
}

function isTaken({ state }: StoredVersion): boolean {
  return state === 'primary' || state === 'accepted' || state === 'withdrawn';
}

function refused(code: WorkloadRefusal): WorkloadOutcome {
  return { status: 'refused', code };
}
