/** The announcements of epochs that are not over, as a member saw or was given them; bounded. */

import {
  channelsMax,
  epochsHeldMax,
  type EpochAnnouncement,
  type EpochEntry,
} from '#schemas/epoch.ts';
import { announcementFault, type AnnouncementFault } from '#shared/crypto/epoch-capsule.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { AnnouncementsKnown } from './epoch-questions.ts';

type EpochAnnounced = Extract<EpochEntry['event'], { type: 'epoch-announced' }>;

/**
 * Why the entry announces nothing, or undefined: its announcement is of this very channel and epoch,
 * names these very capsules, and the signer stated it. Signer, orchestrators and members ask the same
 * question, so that a number and a prekey are used up for all of them or for none.
 */
export function entryFault(
  { crypto, trust }: { readonly crypto: CryptoProvider; readonly trust: TrustView },
  { channel, epoch }: Pick<EpochEntry, 'channel' | 'epoch'>,
  { announcement, capsules }: EpochAnnounced,
): AnnouncementFault | 'UNSIGNED' | undefined {
  const name = { mesh: trust.mesh, channel, epoch };
  const fault = announcementFault(crypto, name, { body: announcement.body, capsules });
  if (fault !== undefined) return fault;
  return trust.verifyStatement(announcement, 'orchestration') === 'ok' ? undefined : 'UNSIGNED';
}

/** Agents that keep secrets at rest: without them no epoch comes into use. */
export function keepersOf(trust: TrustView): string[] {
  return trust.agents().flatMap(({ kind, agentId }) => (kind === 'signer' ? [agentId] : []));
}

const knownMax = channelsMax * epochsHeldMax;

export class Announcements implements AnnouncementsKnown {
  readonly #known = new Map<string, EpochAnnouncement>();
  readonly #highest = new Map<string, number>();

  /** False where another one is known for this channel and epoch: the first one stands. */
  note(announcement: EpochAnnouncement): boolean {
    const { channel, epoch, secret_commitment: commitment } = announcement.body;
    const name = `${channel}/${epoch}`;
    const known = this.#known.get(name);
    if (known !== undefined) return known.body.secret_commitment === commitment;
    this.#known.set(name, announcement);
    this.#highest.set(channel, Math.max(epoch, this.highest(channel)));
    const [oldest] = this.#known.keys();
    if (this.#known.size > knownMax && oldest !== undefined) this.#known.delete(oldest);
    return true;
  }

  announcementOf(channel: string, epoch: number): EpochAnnouncement | undefined {
    return this.#known.get(`${channel}/${epoch}`);
  }

  /** The highest epoch of a channel that was ever announced to this member; 0 before the first. */
  highest(channel: string): number {
    return this.#highest.get(channel) ?? 0;
  }

  drop({ channel, epoch }: { readonly channel: string; readonly epoch: number }): void {
    this.#known.delete(`${channel}/${epoch}`);
  }
}
