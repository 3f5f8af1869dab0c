/** The announcements of epochs that are not over, as a member saw or was given them; bounded. */

import { channelsMax, epochsHeldMax, type EpochAnnouncement } from '#schemas/epoch.ts';
import type { AnnouncementsKnown } from './epoch-questions.ts';

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
