/**
 * The adapter of the embedded key system: the agent itself holds the layer's keys (key-store.ts). It
 * serves every kind of key, so each of the seven layers can be turned for real before a system of
 * somebody else is attached. Layer 4's root KEK lives here too; a token can take its place behind
 * the same interface.
 */

import { slotDefinitions, type LayerNumber, type SlotDefinition } from '#schemas/layers.ts';
import type { Samples } from '#schemas/saga.ts';
import { lengthPrefixed, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import {
  AdapterError,
  type ActivationProof,
  type KeyVersion,
  type LayerAdapter,
  type SlotInspection,
  type VerificationResult,
} from '../adapter.ts';
import { signActivation } from '../public-keys.ts';
import { checkArtefact, generateKey, makeArtefact, probe } from './key-kinds.ts';
import { KeyStore, type StoredVersion } from './key-store.ts';
import { KeyUsage } from './key-usage.ts';

export interface EmbeddedOptions {
  readonly layer: LayerNumber;
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  /** How far back a use of an old key still holds it, in milliseconds. */
  readonly usageWindowMs: number;
}

const format = 'embedded-1';

export class EmbeddedAdapter implements LayerAdapter {
  readonly name = 'embedded';
  readonly store: KeyStore;
  readonly usage: KeyUsage;
  readonly #crypto: CryptoProvider;
  readonly #clock: Clock;
  readonly #definitions: readonly SlotDefinition[];

  private constructor(options: EmbeddedOptions, store: KeyStore) {
    this.store = store;
    this.usage = new KeyUsage(options.clock, options.usageWindowMs);
    this.#crypto = options.crypto;
    this.#clock = options.clock;
    this.#definitions = definitionsOf(options.layer);
  }

  /** Opens the key store; at the first start every slot gets its first key. @throws AdapterError */
  static open(options: EmbeddedOptions): EmbeddedAdapter {
    const { disk, crypto } = options;
    const definitions = definitionsOf(options.layer);
    const store = KeyStore.open({ disk, crypto, definitions });
    try {
      const adapter = new EmbeddedAdapter(options, store);
      for (const { slot } of definitions) adapter.#addFirstKey(slot);
      return adapter;
    } catch (error) {
      store.close();
      throw error;
    }
  }

  fingerprint(): string {
    const parts = this.#definitions.flatMap(({ slot, keyKind, algorithm }) => [
      slot,
      keyKind,
      algorithm,
    ]);
    return toHex(this.#crypto.sha3_256(lengthPrefixed(...[format, ...parts].map(utf8))));
  }

  async inspect(): Promise<readonly SlotInspection[]> {
    return this.store.slots().map((stored) => {
      const versions = this.store.versions(stored.slot);
      return {
        ...stored,
        highestVersion: versions[0]?.version ?? 0,
        versions: versions.flatMap((version) => keyVersionOf(version) ?? []),
      };
    });
  }

  async prepare(slot: string, version: number): Promise<KeyVersion> {
    const { keyKind } = this.store.slot(slot);
    if (this.store.version(slot, version) === undefined) {
      const key = generateKey(this.#crypto, keyKind, slot);
      try {
        this.store.addPrepared(version, key, this.#clock.nowMs());
      } finally {
        key.secret.fill(0);
      }
    }
    const stored = this.#require(slot, version);
    const prepared = keyVersionOf(stored);
    if (prepared !== undefined && ['prepared', 'primary'].includes(stored.state)) return prepared;
    throw new AdapterError('STATE_CONFLICT', `version ${version} of ${slot} is ${stored.state}`);
  }

  async activate(slot: string, version: number, challenge: Uint8Array): Promise<ActivationProof> {
    const stored = this.#require(slot, version);
    const { canary, proof } = this.store.withKey(stored, (key) => ({
      canary: makeArtefact(this.#crypto, key),
      proof:
        key.kind === 'signature' ? signActivation(this.#crypto, key.secret, challenge) : undefined,
    }));
    if (stored.state !== 'primary') {
      this.store.promote(slot, version, canary, this.#clock.nowMs());
      this.usage.begin(slot, version);
    }
    return proof === undefined ? {} : { proof };
  }

  async verify(slot: string, version: number): Promise<VerificationResult> {
    const primary = this.#require(slot, version);
    if (primary.state !== 'primary') {
      return {
        ok: false,
        reason: `version ${version} of ${slot} is ${primary.state}, not primary`,
      };
    }
    if (!this.store.withKey(primary, (key) => probe(this.#crypto, key))) {
      return { ok: false, reason: `version ${version} of ${slot} does not take back what it made` };
    }
    for (const stored of this.store.versions(slot)) {
      if (this.#takesCanary(stored)) continue;
      const reason = `version ${stored.version} of ${slot} no longer takes what it made earlier`;
      return { ok: false, reason };
    }
    return { ok: true };
  }

  async rollback(slot: string, version: number): Promise<void> {
    const before = this.store.primary(slot)?.version;
    this.store.restore(slot, version);
    if (before !== version) this.usage.begin(slot, version);
  }

  async retire(slot: string, version: number): Promise<void> {
    this.store.destroy(slot, version);
    this.usage.forget(slot, version);
  }

  async usesLately(slot: string, version: number): Promise<number> {
    const stored = this.#require(slot, version);
    return stored.state === 'destroyed' ? 0 : this.usage.usesLately(slot, version);
  }

  async samples(slot: string): Promise<Samples> {
    this.store.slot(slot);
    const versions = this.store.versions(slot);
    const primary = versions.find(({ state }) => state === 'primary');
    if (primary === undefined) return { operations: 0, failures: 0, latencyPercent: 100 };
    const before = versions.find(({ state }) => state === 'accepted' || state === 'withdrawn');
    return this.usage.samples(slot, primary.version, before?.version);
  }

  async freeze(slot: string, frozen: boolean): Promise<void> {
    this.store.setFrozen(slot, frozen);
  }

  close(): void {
    this.store.close();
  }

  #addFirstKey(slot: string): void {
    if (this.store.versions(slot).length > 0) return;
    const { keyKind } = this.store.slot(slot);
    const key = generateKey(this.#crypto, keyKind, slot);
    try {
      this.store.addFirst(key, makeArtefact(this.#crypto, key), this.#clock.nowMs());
    } finally {
      key.secret.fill(0);
    }
  }

  /** Keys that are gone or were never primary have nothing to take back. */
  #takesCanary(stored: StoredVersion): boolean {
    const { canary, state } = stored;
    if (canary === undefined || state === 'destroyed') return true;
    return this.store.withKey(stored, (key) => checkArtefact(this.#crypto, key, canary));
  }

  #require(slot: string, version: number): StoredVersion {
    this.store.slot(slot);
    const stored = this.store.version(slot, version);
    if (stored !== undefined) return stored;
    throw new AdapterError('VERSION_UNKNOWN', `no version ${version} of ${slot}`);
  }
}

/** The slots of a layer: data, the same for every agent (`schemas/layers.ts`). */
export function definitionsOf(layer: LayerNumber): readonly SlotDefinition[] {
  return slotDefinitions.filter((definition) => definition.layer === layer);
}

function keyVersionOf(stored: StoredVersion): KeyVersion | undefined {
  const { version, keyId, publicKey, state, createdAtMs, activatedAtMs } = stored;
  if (state === 'destroyed') return undefined;
  return {
    version,
    keyId,
    publicDigest: keyId,
    state,
    createdAtMs,
    ...(publicKey === undefined ? {} : { publicKey }),
    ...(activatedAtMs === undefined ? {} : { activatedAtMs }),
  };
}
