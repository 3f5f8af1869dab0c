/**
 * A member's life with epochs. At its start it publishes one-time prekeys and asks for the secrets of
 * its channels; an announcement gives it the next secret, which it checks against what the signer stated
 * before it says that it accepts; an activation switches its senders; a closing overwrites the secret.
 * What it missed it asks for. Nothing of this is kept on a disk, but by the signer, which has a store.
 */

import type { EpochAnnouncement, EpochCapsule, EpochStanding } from '#schemas/epoch.ts';
import { epochsHeldMax } from '#schemas/epoch.ts';
import { BusError } from '#shared/bus/bus.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { activationFault } from '#shared/core/epoch.ts';
import { openCapsule, secretCommitment } from '#shared/crypto/epoch-capsule.ts';
import type { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import { Announcements, entryFault, keepersOf } from './epoch-announcements.ts';
import { EpochFetcher } from './epoch-fetcher.ts';
import { Prekeys, type PrekeysPorts } from './epoch-prekeys.ts';
import type { EpochName, SecretGiven } from './epoch-questions.ts';
import type { EpochStore } from './epoch-store.ts';
import type { ReceivedEvent } from './exchange.ts';
import { Turns } from './turns.ts';
import type { TrustView } from '#shared/crypto/trust.ts';

export interface EpochMemberPorts extends PrekeysPorts {
  readonly trust: TrustView;
  readonly keyring: EpochKeyring;
  /** Channels whose secrets this member is given. */
  readonly channels: readonly string[];
  /** What it begins with: the same unless told, and the archive key of an auditor. */
  readonly needed?: readonly string[];
  /** Operators have none: what they need they ask for at each run. */
  readonly hasPrekeys: boolean;
}

type Entry = ReceivedEvent<'epoch-entry'>;
type Activated = Extract<Entry['body']['event'], { type: 'epoch-activated' }>;
type Announced = Extract<Entry['body']['event'], { type: 'epoch-announced' }>;

const acceptRetryMs = 250;

export class EpochMember {
  readonly announcements = new Announcements();
  readonly #ports: EpochMemberPorts;
  readonly #prekeys: Prekeys;
  readonly #fetcher: EpochFetcher;
  readonly #mine: ReadonlySet<string>;
  /** When an epoch ceased to be the one in use, as far as this member heard. */
  readonly #supersededAtMs = new Map<string, number>();
  /** The epoch that the log put into use last, whether its secret is held or not. */
  readonly #activated = new Map<string, number>();
  #store: EpochStore | undefined;
  readonly #turns = new Turns();
  #stopped = false;

  constructor(ports: EpochMemberPorts) {
    this.#ports = ports;
    this.#mine = new Set(ports.channels);
    this.#prekeys = new Prekeys(ports);
    this.#fetcher = new EpochFetcher({
      ...ports,
      channels: ports.needed ?? ports.channels,
      known: this.announcements,
      hearsLogs: ports.hasPrekeys,
      take: (given, open) => this.#inTurn(() => this.#take(given, open)),
    });
  }

  /**
   * Once notices are heard, so that no announcement falls between. Does not wait for secrets.
   * `store`: the signer's vault; nobody else has one.
   */
  async start(store?: EpochStore): Promise<void> {
    const { channels, hasPrekeys } = this.#ports;
    await this.#inTurn(() => this.#load(store));
    if (hasPrekeys) await this.#prekeys.start(channels);
    this.#fetcher.start({ asksAll: hasPrekeys });
  }

  /**
   * Resolves once every channel of this member has an epoch in use. `withOlder`: and once it holds what is
   * not over, too: for who reads on where it left off.
   */
  ready({ withOlder }: { readonly withOlder: boolean } = { withOlder: false }): Promise<void> {
    return this.#fetcher.complete({ withOlder });
  }

  /** Whether everyone who could give the channel's secret answered, and had none. */
  isWithout(channel: string): boolean {
    return this.#fetcher.isWithout(channel);
  }

  /** Resolves at the next change of what is held. */
  changed(): Promise<void> {
    return this.#fetcher.changed();
  }

  /**
   * Whether an event of this channel and epoch can be opened now, or within a bounded time: an epoch
   * that this member lacks is asked for, and one that is over is not waited for. `sender`: who signed
   * the event; whoever names epochs that are none is not waited for again in a while.
   */
  whenReadable(
    name: { readonly channel: string; readonly epoch: number },
    sender: string,
  ): Promise<boolean> {
    return this.#fetcher.whenReadable(name, sender);
  }

  /**
   * Nobody answered: it may be that this member still speaks under an epoch that is over. Who hears the
   * epoch logs knows better and does nothing.
   */
  unanswered(): void {
    if (!this.#ports.hasPrekeys) this.#fetcher.refresh();
  }

  /** An entry of an epoch log. Resolves when it is dealt with, and what is to be kept is kept. */
  onEntry(entry: Entry): Promise<void> {
    return this.#inTurn(() => this.#onEntry(entry));
  }

  /** Publishes this member's prekeys once more: the bus may have lost them. */
  offerAgain(): void {
    this.#prekeys.offerAgain();
  }

  /** Prekeys of this member that an announcement names are used up, whatever came of it. */
  spend(capsules: readonly EpochCapsule[]): void {
    this.#prekeys.spend(new Set(capsules.map(({ prekeyId }) => prekeyId)));
  }

  /** The secrets are overwritten: nothing can be sealed or opened any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#fetcher.stop();
    await this.#prekeys.stop();
    await this.#turns.ended('entry');
    this.#ports.keyring.wipe();
  }

  async #load(store: EpochStore | undefined): Promise<void> {
    this.#store = store;
    const kept = (await store?.load()) ?? [];
    for (const held of kept) {
      if (held.announcement !== undefined) this.announcements.note(held.announcement);
      this.#ports.keyring.hold(held);
      held.secret.fill(0);
    }
    this.#beginAt(kept);
    this.#fetcher.announce();
  }

  /** Who keeps all that is not over has nothing below its oldest. */
  #beginAt(kept: readonly { readonly channel: string; readonly epoch: number }[]): void {
    const lowest = new Map<string, number>();
    for (const { channel, epoch } of kept) {
      lowest.set(channel, Math.min(epoch, lowest.get(channel) ?? epoch));
    }
    for (const [channel, epoch] of lowest) this.#ports.keyring.beginAt(channel, epoch);
  }

  async #onEntry(entry: Entry): Promise<void> {
    const { channel, epoch, event } = entry.body;
    if (this.#stopped) return;
    switch (event.type) {
      case 'epoch-announced':
        await this.#announced(entry, event);
        break;
      case 'epoch-activated':
        if (this.#mine.has(channel) && this.#isWhole(entry, event)) {
          await this.#activate(channel, epoch, entry.header.timeMs);
        }
        break;
      case 'epoch-closed':
        await this.#closed(channel, epoch, entry.header.timeMs);
        break;
      case 'epoch-abandoned':
        await this.#abandoned(channel, epoch);
        break;
    }
    this.#fetcher.announce();
  }

  async #announced(entry: Entry, said: Announced): Promise<void> {
    const { channel, epoch } = entry.body;
    // Of others' channels nothing counts but what it uses up of this member's.
    if (!this.#mine.has(channel) && !this.#prekeys.isNamedBy(said.capsules)) return;
    const fault = entryFault(this.#ports, entry.body, said);
    if (fault !== undefined) {
      const fields = { channel, epoch, sender: entry.sender.agentId, code: fault };
      this.#ports.log.warn(fields, 'no announcement');
      return;
    }
    await this.#stated(said);
    this.spend(said.capsules);
  }

  async #stated({ announcement, capsules }: Announced): Promise<void> {
    const { agentId, keyring } = this.#ports;
    const { channel, epoch } = announcement.body;
    const isRising = epoch > this.announcements.highest(channel);
    if (!this.announcements.note(announcement) || !this.#mine.has(channel)) return;
    // What is read again (another follow, a restart) is known, and what was given on asking before the
    // log came by: its prekey is used up all the same. Below it only ancient ones stand.
    if (!isRising || keyring.knows({ channel, epoch }) !== 'unknown') return;
    const capsule = capsules.find((each) => each.agentId === agentId);
    if (capsule === undefined) this.offerAgain();
    const secret = capsule === undefined ? undefined : this.#opened(announcement, capsule);
    if (secret === undefined) {
      this.#fetcher.want({ channel, epoch });
      return;
    }
    await this.#hold({ channel, epoch, secret, standing: 'announced', announcement });
    void this.#accept(announcement);
  }

  /** The secret that the announcement commits to, for the one prekey that is used up by this. */
  #opened(announcement: EpochAnnouncement, capsule: EpochCapsule): Uint8Array | undefined {
    const { crypto, trust, log } = this.#ports;
    const { channel, epoch, secret_commitment: commitment } = announcement.body;
    const name = { mesh: trust.mesh, channel, epoch };
    const prekey = this.#prekeys.take(channel, capsule.prekeyId);
    if (prekey === undefined) return undefined;
    const secret = openCapsule(crypto, { ...name, capsule, prekey });
    prekey.secret.fill(0);
    if (secret !== undefined && secretCommitment(crypto, name, secret) === commitment) {
      return secret;
    }
    secret?.fill(0);
    log.warn({ channel, epoch }, 'the capsule holds not what the announcement commits to');
    return undefined;
  }

  /** Whether all members are accounted for, as far as they are known, and the signer has the secret. */
  #isWhole({ body: { channel, epoch }, sender }: Entry, said: Activated): boolean {
    const { trust, log } = this.#ports;
    const announcement = this.announcements.announcementOf(channel, epoch);
    const members = announcement?.body.members.map((each) => each.agent_id);
    const named = members ?? [...said.accepted, ...said.absent];
    const code = activationFault(said, named, keepersOf(trust));
    if (code === undefined) return true;
    log.warn({ channel, epoch, sender: sender.agentId, code }, 'an epoch is not put into use');
    return false;
  }

  async #activate(channel: string, epoch: number, atMs: number): Promise<void> {
    const { keyring } = this.#ports;
    this.#activated.set(channel, Math.max(epoch, this.#activated.get(channel) ?? 0));
    const isBehind = (keyring.currentEpoch(channel) ?? 0) > epoch;
    if (isBehind || keyring.knows({ channel, epoch }) !== 'held') {
      keyring.activate(channel, epoch);
      if (keyring.knows({ channel, epoch }) === 'unknown') this.#fetcher.want({ channel, epoch });
      return;
    }
    // Kept before anything is sealed under it: whoever starts again does not go back (invariant 6).
    for (const held of keyring.held()) {
      if (held.channel !== channel || held.epoch > epoch) continue;
      if (held.epoch < epoch && held.standing === 'active' && atMs > 0) {
        this.#supersededAtMs.set(nameOf(held), atMs);
      }
      await this.#store?.keep({
        ...held,
        standing: held.epoch === epoch ? 'active' : 'superseded',
        ...this.#announcementFor(channel, held.epoch),
      });
    }
    keyring.activate(channel, epoch);
  }

  /** An epoch in use, or one within its grace, is not given up, whoever says so. */
  async #closed(channel: string, epoch: number, atMs: number): Promise<void> {
    const { keyring, trust, log } = this.#ports;
    const { rotation, channels } = trust.policy.policies;
    const current = keyring.currentEpoch(channel);
    const held = keyring.held().filter((each) => each.channel === channel);
    const sinceMs = this.#supersededAtMs.get(nameOf({ channel, epoch }));
    const isEarly =
      sinceMs !== undefined &&
      atMs + rotation.clock_skew_ms < sinceMs + channels.epoch_grace_ms &&
      held.length < epochsHeldMax;
    if ((current !== undefined && epoch >= current) || isEarly) {
      log.warn({ channel, epoch }, 'an epoch is closed too early: its secret is kept');
      return;
    }
    keyring.close(channel, epoch);
    for (const each of held) {
      const name = { channel, epoch: each.epoch };
      if (keyring.knows(name) === 'held') continue;
      this.#supersededAtMs.delete(nameOf(name));
      this.announcements.drop(name);
      await this.#store?.drop(name);
    }
  }

  async #abandoned(channel: string, epoch: number): Promise<void> {
    const { keyring } = this.#ports;
    const held = keyring.held().find((each) => each.channel === channel && each.epoch === epoch);
    if (held !== undefined && held.standing !== 'announced') return;
    keyring.abandon(channel, epoch);
    this.announcements.drop({ channel, epoch });
    if (held !== undefined) await this.#store?.drop({ channel, epoch });
  }

  /** What was asked for. What is only announced is accepted like a capsule. */
  async #take(
    given: readonly SecretGiven[],
    open: readonly EpochName[] | undefined,
  ): Promise<void> {
    const { agentId, keyring } = this.#ports;
    if (open !== undefined) this.#beginAt(open);
    for (const { channel, epoch, secret, standing, announcement } of given) {
      if (this.#stopped) secret.fill(0);
      else if (keyring.knows({ channel, epoch }) === 'unknown') {
        if (announcement !== undefined) this.announcements.note(announcement);
        await this.#hold({ channel, epoch, secret, standing, announcement });
        const isMember = announcement?.body.members.some((each) => each.agent_id === agentId);
        if (standing === 'announced' && announcement !== undefined && isMember === true) {
          void this.#accept(announcement);
        }
      } else {
        secret.fill(0);
        if (standing === 'active') await this.#activate(channel, epoch, 0);
      }
    }
    this.#fetcher.announce();
  }

  /** Takes the secret over. Held and, by who has a store, kept before anyone hears of it. */
  async #hold(taken: {
    readonly channel: string;
    readonly epoch: number;
    readonly secret: Uint8Array;
    readonly standing: EpochStanding;
    readonly announcement: EpochAnnouncement | undefined;
  }): Promise<void> {
    const { keyring } = this.#ports;
    const { announcement, ...rest } = taken;
    const held = { ...rest, standing: this.#standingOf(taken) };
    await this.#store?.keep({ ...held, ...(announcement === undefined ? {} : { announcement }) });
    keyring.hold(held);
    taken.secret.fill(0);
  }

  /** What the log says of an epoch goes before what is said of it in an answer. */
  #standingOf(name: { channel: string; epoch: number; standing: EpochStanding }): EpochStanding {
    const activated = this.#activated.get(name.channel) ?? 0;
    if (name.epoch > activated) return name.standing;
    return name.epoch === activated ? 'active' : 'superseded';
  }

  /** Said until the bus has it, or nobody waits for it any more. */
  async #accept({ body }: EpochAnnouncement): Promise<void> {
    const { agentId, crypto, exchange, subjects, keyring, clock, log } = this.#ports;
    const { channel, epoch } = body;
    const accepted = { channel, epoch, announcementDigest: documentDigest(crypto, body) };
    while (!this.#stopped && keyring.knows({ channel, epoch }) === 'held') {
      try {
        await exchange.publish({
          type: 'epoch-accepted',
          subject: subjects.epochReport(agentId),
          channel: noticesChannel,
          body: accepted,
        });
        return;
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        log.warn({ channel, epoch, code: error.code }, 'an acceptance did not reach the bus');
        await new Promise<void>((resolve) => clock.after(acceptRetryMs, resolve));
      }
    }
  }

  #announcementFor(channel: string, epoch: number) {
    const announcement = this.announcements.announcementOf(channel, epoch);
    return announcement === undefined ? {} : { announcement };
  }

  #inTurn(run: () => Promise<void>): Promise<void> {
    return this.#turns.take('entry', run);
  }
}

function nameOf({ channel, epoch }: { channel: string; epoch: number }): string {
  return `${channel}/${epoch}`;
}
