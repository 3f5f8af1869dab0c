/**
 * The embedded adapter, with what turning a key means beyond the key itself: a certificate to fetch
 * before the new key is reported, data to re-wrap after it became primary, objects that still need an
 * old one. A hook is called after the key store has changed, may be called again with the same
 * arguments, and must then end in the same state; where it fails, so does the step, and is repeated.
 */

import type { Samples } from '#schemas/saga.ts';
import type {
  ActivationProof,
  KeyVersion,
  LayerAdapter,
  SlotInspection,
  VerificationResult,
} from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';

/** What happens beside one slot's keys. @throws AdapterError from any of them */
export interface SlotHooks {
  /** The key is made and not used for anything yet. */
  prepared?(version: number): Promise<void>;
  /** Before the prepared key becomes primary: what it needs for that is there. */
  activating?(version: number): Promise<void>;
  /** The key is primary; the ones before are accepted. Long work is begun here, not done. */
  activated?(version: number): Promise<void>;
  /** The key was tried alone; here it is tried in its place. */
  verify?(version: number): Promise<VerificationResult>;
  /** `version` is primary again; newer ones are withdrawn. */
  rolledBack?(version: number): Promise<void>;
  /** What still needs this key, beside its recent uses: tokens not expired, objects not re-wrapped. */
  users?(version: number): Promise<number>;
  /** Before the key is destroyed. */
  retiring?(version: number): Promise<void>;
}

export class HookedAdapter implements LayerAdapter {
  readonly name: string;
  readonly #keys: EmbeddedAdapter;
  readonly #hooks: ReadonlyMap<string, SlotHooks>;

  constructor(
    name: string,
    keys: EmbeddedAdapter,
    hooks: Readonly<Partial<Record<string, SlotHooks>>>,
  ) {
    this.name = name;
    this.#keys = keys;
    this.#hooks = new Map(
      Object.entries(hooks).flatMap(([slot, each]) => (each === undefined ? [] : [[slot, each]])),
    );
  }

  fingerprint(): string {
    return this.#keys.fingerprint();
  }

  inspect(): Promise<readonly SlotInspection[]> {
    return this.#keys.inspect();
  }

  async prepare(slot: string, version: number): Promise<KeyVersion> {
    const prepared = await this.#keys.prepare(slot, version);
    await this.#hooks.get(slot)?.prepared?.(version);
    return prepared;
  }

  async activate(slot: string, version: number, challenge: Uint8Array): Promise<ActivationProof> {
    await this.#hooks.get(slot)?.activating?.(version);
    const proof = await this.#keys.activate(slot, version, challenge);
    await this.#hooks.get(slot)?.activated?.(version);
    return proof;
  }

  async verify(slot: string, version: number): Promise<VerificationResult> {
    const alone = await this.#keys.verify(slot, version);
    return alone.ok ? ((await this.#hooks.get(slot)?.verify?.(version)) ?? alone) : alone;
  }

  async rollback(slot: string, version: number): Promise<void> {
    await this.#keys.rollback(slot, version);
    await this.#hooks.get(slot)?.rolledBack?.(version);
  }

  async retire(slot: string, version: number): Promise<void> {
    // Refused before anything is taken away beside the key.
    if (this.#keys.store.primary(slot)?.version !== version) {
      await this.#hooks.get(slot)?.retiring?.(version);
    }
    await this.#keys.retire(slot, version);
  }

  async usesLately(slot: string, version: number): Promise<number> {
    const lately = await this.#keys.usesLately(slot, version);
    return lately + ((await this.#hooks.get(slot)?.users?.(version)) ?? 0);
  }

  samples(slot: string): Promise<Samples> {
    return this.#keys.samples(slot);
  }

  freeze(slot: string, frozen: boolean): Promise<void> {
    return this.#keys.freeze(slot, frozen);
  }

  close(): void {
    this.#keys.close();
  }
}
