/**
 * Where the one agent that keeps secrets of epochs at rest keeps them: the signer's vault, under a key
 * of its token. Every other member has none, and asks for them at each start.
 */

import type { EpochAnnouncement, EpochStanding } from '#schemas/epoch.ts';

/** The secret of one channel and epoch, and where the epoch stands. */
export interface HeldEpoch {
  readonly channel: string;
  readonly epoch: number;
  /** 32 bytes. */
  readonly secret: Uint8Array;
  readonly standing: EpochStanding;
  /** Absent for what no announcement stands behind: the archive key. */
  readonly announcement?: EpochAnnouncement;
}

export interface EpochStore {
  /** All that is kept; the caller owns the secrets. */
  load(): Promise<readonly HeldEpoch[]>;
  /** Durable once it resolves; the latest word on a channel and epoch counts. Takes a copy. */
  keep(held: HeldEpoch): Promise<void>;
  /** Gone for good once it resolves. */
  drop(name: { readonly channel: string; readonly epoch: number }): Promise<void>;
}
