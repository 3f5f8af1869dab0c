/**
 * The adapter of the embedded key system: the agent itself holds the layer's keys (key-store.ts). It
 * serves every kind of key, so each of the seven layers can be turned for real before a system of
 * somebody else is attached. Keys of a slot can be held elsewhere (keys-elsewhere.ts), as layer 4's
 * root KEK is in a token: they are turned here all the same.
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
import {
  checkArtefact,
  generateKey,
  makeArtefact,
  probe,
  type Artefact,
  type OpenKey,
} from './key-kinds.ts';
import { KeyStore, type StoredSlot, type StoredVersion } from './key-store.ts';
import { KeyUsage } from './key-usage.ts';
import {
  heldKeyOf,
  markOfElsewhere,
  nameElsewhere,
  type HeldKey,
  type KeysElsewhere,
} from './keys-elsewhere.ts';

export interface EmbeddedOptions {
  readonly layer: LayerNumber;
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  /** How far back a use of an old key still holds it, in milliseconds. */
  readonly usageWindowMs: number;
  /** By slot: who holds its new keys in place of the store. */
  readonly elsewhere?: Readonly<Partial<Record<string, KeysElsewhere>>>;
}

/** A key that is held elsewhere, and by whom. */
interface Elsewhere {
  readonly holder: KeysElsewhere;
  readonly key: HeldKey;
}

const format = 'embedded-1';
/** Destroyed keys that are looked for where they were held, at each start. */
const sweptMax = 64;

export class EmbeddedAdapter implements LayerAdapter {
  readonly name = 'embedded';
  readonly store: KeyStore;
  readonly usage: KeyUsage;
  readonly #crypto: CryptoProvider;
  readonly #clock: Clock;
  readonly #definitions: readonly SlotDefinition[];
  readonly #elsewhere: NonNullable<EmbeddedOptions['elsewhere']>;
  /** Names of destroyed keys that are known to be gone where they were held. */
  readonly #swept = new Set<string>();

  private constructor(options: EmbeddedOptions, store: KeyStore) {
    this.store = store;
    this.usage = new KeyUsage(options.clock, options.usageWindowMs);
    this.#crypto = options.crypto;
    this.#clock = options.clock;
    this.#definitions = definitionsOf(options.layer);
    this.#elsewhere = options.elsewhere ?? {};
  }

  /**
   * Opens the key store; at the first start every slot gets its first key. Those that are held elsewhere
   * get it by `makeFirstKeys`. @throws AdapterError
   */
  static open(options: EmbeddedOptions): EmbeddedAdapter {
    const { disk, crypto } = options;
    const definitions = definitionsOf(options.layer);
    const store = KeyStore.open({ disk, crypto, definitions });
    try {
      const adapter = new EmbeddedAdapter(options, store);
      const own = definitions.filter(({ slot }) => adapter.#elsewhere[slot] === undefined);
      const empty = own.filter(({ slot }) => store.versions(slot).length === 0);
      for (const stored of empty.map(({ slot }) => store.slot(slot))) adapter.#addFirstKey(stored);
      return adapter;
    } catch (error) {
      store.close();
      throw error;
    }
  }

  /** The first keys of slots whose keys are held elsewhere; again after any fault. @throws AdapterError */
  async makeFirstKeys(): Promise<void> {
    for (const [slot, holder] of Object.entries(this.#elsewhere)) {
      if (holder === undefined || this.store.versions(slot).length > 0) continue;
      const { keyKind } = this.store.slot(slot);
      const name = nameElsewhere(this.store, slot, 1);
      const keyId = await holder.make(name);
      const canary = await holder.makeArtefact({ name, keyId });
      const marked = { kind: keyKind, slot, keyId, secret: markOfElsewhere() };
      this.store.addFirst(marked, canary, this.#clock.nowMs());
    }
  }

  /** Name and id of a key that is held elsewhere; undefined for one in the store. */
  heldElsewhere(stored: StoredVersion): HeldKey | undefined {
    return heldKeyOf(this.store, stored);
  }

  /**
   * Destroys, where they were held, the keys that are destroyed here: again where that could not be
   * done at the time. @throws AdapterError
   */
  async sweep(): Promise<void> {
    for (const [slot, holder] of Object.entries(this.#elsewhere)) {
      if (holder === undefined) continue;
      const gone = this.store.versions(slot).filter(({ state }) => state === 'destroyed');
      for (const { version } of gone.slice(0, sweptMax)) {
        const name = nameElsewhere(this.store, slot, version);
        if (this.#swept.has(name)) continue;
        await holder.destroy(name);
        this.#swept.add(name);
      }
    }
  }

  fingerprint(): string {
    const parts = this.#definitions.flatMap(({ slot, keyKind, algorithm }) => [
      slot,
      keyKind,
      algorithm,
      ...custodyOf(this.#elsewhere[slot]),
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
    if (this.store.version(slot, version) === undefined) {
      const key = await this.#newKey(slot, version);
      try {
        // Somebody else may have waited for the same key meanwhile.
        if (this.store.version(slot, version) === undefined) {
          this.store.addPrepared(version, key, this.#clock.nowMs());
        }
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
    const elsewhere = this.#whereElse(stored);
    const { canary, proof } =
      elsewhere === undefined
        ? this.#firstUse(stored, challenge)
        : { canary: await elsewhere.holder.makeArtefact(elsewhere.key), proof: undefined };
    if (stored.state !== 'primary') {
      this.store.promote(slot, version, canary, this.#clock.nowMs());
      this.usage.begin(slot, version);
    }
    return proof === undefined ? {} : { proof };
  }

  /**
   * Of a key that went back, what its holder cannot be asked because he is away is left out: he was
   * asked before the key was first primary, and whoever attaches him tries what it protects.
   */
  async verify(slot: string, version: number): Promise<VerificationResult> {
    const primary = this.#require(slot, version);
    if (primary.state !== 'primary') {
      return {
        ok: false,
        reason: `version ${version} of ${slot} is ${primary.state}, not primary`,
      };
    }
    const mayBeAway = this.wentBack(slot);
    if (!(await this.#works(primary, mayBeAway))) {
      return { ok: false, reason: `version ${version} of ${slot} does not take back what it made` };
    }
    for (const stored of this.store.versions(slot)) {
      if (await this.#takesCanary(stored, mayBeAway)) continue;
      const reason = `version ${stored.version} of ${slot} no longer takes what it made earlier`;
      return { ok: false, reason };
    }
    return { ok: true };
  }

  /** Whether a newer key of the slot was given up, so that the primary one is one from before. */
  wentBack(slot: string): boolean {
    const primary = this.store.primary(slot)?.version ?? 0;
    return this.store
      .versions(slot)
      .some(
        ({ version, state }) =>
          version > primary && (state === 'withdrawn' || state === 'destroyed'),
      );
  }

  async rollback(slot: string, version: number): Promise<void> {
    const before = this.store.primary(slot)?.version;
    this.store.restore(slot, version);
    if (before !== version) this.usage.begin(slot, version);
  }

  async retire(slot: string, version: number): Promise<void> {
    const held = this.store.version(slot, version)?.state !== 'destroyed';
    const elsewhere = held ? this.#whereElse(this.#require(slot, version)) : undefined;
    this.store.destroy(slot, version);
    this.usage.forget(slot, version);
    // Destroyed here first: a key that is lost where it was held would otherwise be missed for ever.
    if (!held) await this.sweep();
    else if (elsewhere !== undefined) await elsewhere.holder.destroy(elsewhere.key.name);
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

  #addFirstKey({ slot, keyKind }: StoredSlot): void {
    const key = generateKey(this.#crypto, keyKind, slot);
    try {
      this.store.addFirst(key, makeArtefact(this.#crypto, key), this.#clock.nowMs());
    } finally {
      key.secret.fill(0);
    }
  }

  async #works(stored: StoredVersion, mayBeAway: boolean): Promise<boolean> {
    const elsewhere = this.#whereElse(stored);
    if (elsewhere === undefined) {
      return this.store.withKey(stored, (key) => probe(this.#crypto, key));
    }
    const { holder, key } = elsewhere;
    return await answered(() => holder.probe(key), mayBeAway);
  }

  /** Keys that are gone or were never primary have nothing to take back. */
  async #takesCanary(stored: StoredVersion, mayBeAway: boolean): Promise<boolean> {
    const { canary } = stored;
    // It may have been destroyed since it was listed.
    const state = this.store.version(stored.slot, stored.version)?.state;
    if (canary === undefined || state === 'destroyed') return true;
    const elsewhere = this.#whereElse(stored);
    if (elsewhere !== undefined) {
      const { holder, key } = elsewhere;
      return await answered(() => holder.checkArtefact(key, canary), mayBeAway);
    }
    return this.store.withKey(stored, (key) => checkArtefact(this.#crypto, key, canary));
  }

  /** A key to be stored; the caller wipes `secret`. */
  async #newKey(slot: string, version: number): Promise<OpenKey> {
    const { keyKind } = this.store.slot(slot);
    const holder = this.#elsewhere[slot];
    if (holder === undefined) return generateKey(this.#crypto, keyKind, slot);
    this.store.requireUnused(slot, version);
    const keyId = await holder.make(nameElsewhere(this.store, slot, version));
    return { kind: keyKind, slot, keyId, secret: markOfElsewhere() };
  }

  #firstUse(
    stored: StoredVersion,
    challenge: Uint8Array,
  ): { readonly canary: Artefact; readonly proof: Uint8Array | undefined } {
    return this.store.withKey(stored, (key) => ({
      canary: makeArtefact(this.#crypto, key),
      proof:
        key.kind === 'signature' ? signActivation(this.#crypto, key.secret, challenge) : undefined,
    }));
  }

  /** Undefined for a key in the store. @throws AdapterError where its holder is not configured */
  #whereElse(stored: StoredVersion): Elsewhere | undefined {
    const key = heldKeyOf(this.store, stored);
    if (key === undefined) return undefined;
    const holder = this.#elsewhere[stored.slot];
    if (holder !== undefined) return { holder, key };
    const what = `version ${stored.version} of ${stored.slot} is held elsewhere`;
    throw new AdapterError('SYSTEM_UNREACHABLE', what);
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

/** What the holder says; yes where he cannot be asked and may be away. */
async function answered(ask: () => Promise<boolean>, mayBeAway: boolean): Promise<boolean> {
  try {
    return await ask();
  } catch (error) {
    const isAway = error instanceof AdapterError && error.code === 'SYSTEM_UNREACHABLE';
    if (isAway && mayBeAway) return true;
    throw error;
  }
}

function custodyOf(holder: KeysElsewhere | undefined): string[] {
  return holder === undefined ? [] : [holder.custody];
}
