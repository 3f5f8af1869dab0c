/**
 * What turning the root KEK means beside its own key: the shares of the KEKs are wrapped anew, all of
 * them or none. Going on needs the token that holds the new root; going back does not, so that a token
 * that goes away in the midst of a turn does not lock the rotation out: what it cannot answer is shown
 * by the shares in memory, under which data keys are served on, and is asked of it when it is there again.
 */

import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError, type VerificationResult } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { BatchOutcome } from '../service/background-work.ts';
import type { SlotHooks } from '../service/hooked-adapter.ts';
import type { DataKeys } from './data-keys.ts';
import { kekSlot, type KekShares } from './kek-shares.ts';
import { rootSlot } from './root-key.ts';

export interface RootTurnsOptions {
  readonly keys: EmbeddedAdapter;
  readonly shares: KekShares;
  readonly dataKeys: DataKeys;
  readonly log: Log;
}

/** All of it fails with AdapterError. */
export class RootTurns {
  readonly #options: RootTurnsOptions;
  /** Something went back without the token having been asked for every share. */
  #isUntried = false;

  constructor(options: RootTurnsOptions) {
    this.#options = options;
  }

  /** `wake`: there is work in the background. */
  hooks(wake: () => Promise<void>): SlotHooks {
    const { shares } = this.#options;
    return {
      // A handful, in one transaction; where it fails, the step does.
      activated: () => shares.rewrap(),
      verify: () => this.#verify(),
      rolledBack: async () => {
        await this.#wrapBack();
        await wake();
      },
      users: async (version) => shares.under(version),
      retiring: async (version) =>
        refuseUsed(rootSlot, version, { users: shares.under(version), are: 'KEKs' }),
    };
  }

  /** What was broken off, or could not be had while the token was away. */
  async bringToRest(): Promise<BatchOutcome> {
    const { keys, shares, log } = this.#options;
    await shares.rewrap();
    await keys.sweep();
    if (!this.#isUntried) return 'idle';
    const found = await shares.tryAll();
    this.#isUntried = false;
    if (found === 'whole') log.info({ slot: rootSlot }, 'every share opens by the token again');
    else log.error({ slot: rootSlot }, 'a share that is in memory does not open by the token');
    return 'idle';
  }

  async #verify(): Promise<VerificationResult> {
    const { keys, shares } = this.#options;
    const isBack = keys.wentBack(rootSlot);
    const found = await shares.tryAll({ mayBeUntried: isBack });
    if (found === 'damaged') return { ok: false, reason: `not every share of ${kekSlot} opens` };
    if (found === 'whole') return { ok: true };
    this.#isUntried = true;
    return await this.#serves();
  }

  /** Data keys open with what is in memory. */
  async #serves(): Promise<VerificationResult> {
    const { keys, dataKeys } = this.#options;
    for (const { version, state } of keys.store.versions(kekSlot)) {
      if (state === 'destroyed' || (await dataKeys.serves(version))) continue;
      return { ok: false, reason: `no data key under version ${version} of ${kekSlot} opens` };
    }
    return { ok: true };
  }

  async #wrapBack(): Promise<void> {
    const { shares, log } = this.#options;
    try {
      await shares.rewrap();
    } catch (error) {
      // The token is away: the shares open under the withdrawn key until it is there again.
      if (!(error instanceof AdapterError) || error.code !== 'SYSTEM_UNREACHABLE') throw error;
      log.warn({ slot: rootSlot, reason: error.message }, 'shares are wrapped back later');
    }
  }
}

/** A key that something is under is never destroyed, whoever asks. @throws AdapterError */
export function refuseUsed(
  slot: string,
  version: number,
  { users, are }: { readonly users: number; readonly are: string },
): void {
  if (users === 0) return;
  const what = `${users} ${are} are still under version ${version} of ${slot}`;
  throw new AdapterError('STATE_CONFLICT', what, { retryable: true });
}
