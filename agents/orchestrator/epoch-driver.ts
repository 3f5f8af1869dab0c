/**
 * Drives the epochs of all channels: follows their logs, the members' prekeys and acceptances, and carries
 * out what `epochCommand` says, by optimistic appends, so that of two orchestrators one succeeds. One of
 * them goes first; when it is silent the other does the same thing. What a dead one began goes on without
 * it: the members hold the secret that it drew, and this orchestrator is one of them.
 */

import { BusError, type BusMessage, type Subscription } from '#shared/bus/bus.ts';
import { channels, channelsOf } from '#shared/core/channels.ts';
import { activeEpoch } from '#shared/core/epoch.ts';
import { epochCommand, keptForAudit, type EpochCommand } from '#shared/core/epoch-command.ts';
import type { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import { entryFault, keepersOf } from '#shared/runtime/epoch-announcements.ts';
import type { EpochMember } from '#shared/runtime/epoch-member.ts';
import type { AnyReceivedEvent, ReceivedEvent } from '#shared/runtime/exchange.ts';
import type { Timer } from '#shared/runtime/ports.ts';
import { Entitled } from './entitled.ts';
import { EpochAudit } from './epoch-audit.ts';
import { openedOrHistory } from './epoch-history.ts';
import { EpochLog } from './epoch-log.ts';
import { EpochOffice, type EpochOutcome, type EpochWish } from './epoch-office.ts';
import { retryDelayMs, type OrchestratorPorts } from './ports.ts';
import { PrekeyShelf } from './prekey-shelf.ts';

export interface EpochPorts extends Pick<
  OrchestratorPorts,
  'agentId' | 'exchange' | 'bus' | 'trust' | 'crypto' | 'clock' | 'log' | 'subjects' | 'takeoverMs'
> {
  readonly keyring: EpochKeyring;
  readonly epochs: EpochMember;
}

/** A saga that is not at rest, as far as the channels' secrets go. */
export interface LiveSaga {
  readonly beganAtMs: number;
  readonly layers: readonly number[];
}

/** Membership, expiry and what is lost show without an event. */
const lookMs = 1_000;
/** The longest rest after the signer refused an announcement, unless something happens. */
const refusedPauseMsMax = 30_000;
/** A request that nobody could meet for so long is not met any more. */
const wishMs = 10 * 60_000;

interface Channel {
  readonly log: EpochLog;
  /** The command that is due, and since when: whoever does not go first waits. */
  due: { readonly key: string; readonly sinceMs: number } | undefined;
  isBusy: boolean;
  timer: Timer | undefined;
  wish: EpochWish | undefined;
  /** Since when the secret of the epoch in use is missing. */
  lostSinceMs: number | undefined;
  /** Announcements that the signer refused, one after another; and what ends the rest after one. */
  refusals: number;
  wake: (() => void) | undefined;
}

export class EpochDriver {
  readonly #ports: EpochPorts;
  readonly #office: EpochOffice;
  readonly #audit: EpochAudit;
  readonly #entitled: Entitled;
  readonly #shelf = new PrekeyShelf();
  readonly #channels: ReadonlyMap<string, Channel>;
  readonly #subscriptions: Subscription[] = [];
  readonly #lookingSinceMs: number;
  /** Undefined while the sagas are not read: nothing is given up before. */
  #sagas: (() => readonly LiveSaga[]) | undefined;
  #ticking: Timer | undefined;
  #isLive = false;
  #stopped = false;

  constructor(ports: EpochPorts) {
    this.#ports = ports;
    this.#office = new EpochOffice(ports, this.#shelf);
    this.#audit = new EpochAudit(ports);
    this.#entitled = new Entitled(ports);
    this.#lookingSinceMs = ports.clock.nowMs();
    this.#channels = new Map(
      channels.map((channel) => [
        channel,
        {
          log: new EpochLog(channel),
          due: undefined,
          isBusy: false,
          timer: undefined,
          wish: undefined,
          lostSinceMs: undefined,
          refusals: 0,
          wake: undefined,
        },
      ]),
    );
  }

  /** Reads the logs, then drives. Resolves without waiting for secrets. */
  async start(): Promise<void> {
    const { bus, subjects } = this.#ports;
    const { epoch, prekey, epochReport } = subjects.patterns;
    const { lastSequence } = await bus.streamState('GYRE_CONTROL');
    const last = await Promise.all(
      channels.map((channel) => bus.lastMessage('GYRE_CONTROL', subjects.sagaEpoch(channel))),
    );
    const readTo = Math.max(0, ...last.map((message) => message?.sequence ?? 0));
    const read = Promise.withResolvers<void>();
    if (readTo === 0) read.resolve();
    const followed = { stream: 'GYRE_CONTROL', subjects: [epoch], fromSequence: 1 } as const;
    this.#subscriptions.push(
      await bus.follow(followed, async (message) => {
        await this.#onEntry(message);
        if (message.sequence >= readTo) read.resolve();
      }),
    );
    await read.promise;
    await this.#readPrekeys();
    const pending = [...this.#channels.values()].flatMap(({ log }) => log.pendingSequence ?? []);
    const reports = {
      stream: 'GYRE_CONTROL',
      subjects: [prekey, epochReport],
      fromSequence: Math.min(lastSequence + 1, ...pending),
    } as const;
    this.#subscriptions.push(await bus.follow(reports, (message) => this.#onReport(message)));
    this.#isLive = true;
    this.#tick();
  }

  /** Sagas are read: from here on epochs may be closed, and messages count. */
  sagasAreRead(sagas: () => readonly LiveSaga[]): void {
    this.#sagas = sagas;
    this.#advanceAll();
  }

  /** A message of the channels that this orchestrator follows went by. */
  count({ channel, epoch }: { readonly channel: string; readonly epoch: number }): void {
    this.#channels.get(channel)?.log.count(epoch);
  }

  /** An operator wants one channel, or all, rekeyed. */
  request(event: ReceivedEvent<'epoch-rotation-requested'>): void {
    const { header, body, disclosure, sequence } = event;
    const { cause, channel } = body;
    const wish: EpochWish = { cause, atMs: header.timeMs, sequence, evidence: disclosure };
    for (const [name, each] of this.#channels) {
      if (channel !== undefined && channel !== name) continue;
      each.wish = wish;
      each.wake?.();
      this.#advance(each);
    }
  }

  logs(): readonly EpochLog[] {
    return [...this.#channels.values()].map(({ log }) => log);
  }

  /** Epochs of a channel that are kept only until an auditor has read what was sealed under them. */
  unauditedOf({ channel, state }: EpochLog): number[] {
    const kept = this.#keptForAudit({ channel, state });
    const read = this.#audit.read(channel, kept);
    return kept.filter((epoch) => !read.has(epoch));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ticking?.cancel();
    for (const { timer, wake } of this.#channels.values()) {
      timer?.cancel();
      wake?.();
    }
    await Promise.all(this.#subscriptions.map((subscription) => subscription.stop()));
  }

  async #onEntry(message: BusMessage): Promise<void> {
    const address = this.#ports.subjects.parse(message.subject);
    const channel =
      address?.kind === 'saga-epoch' ? this.#channels.get(address.channel) : undefined;
    if (channel === undefined) return;
    channel.log.lastSequence = Math.max(channel.log.lastSequence, message.sequence);
    const event = openedOrHistory(this.#ports, message);
    if (event?.type === 'epoch-entry') await this.#take(channel, event);
    const isDirect = event !== undefined && event.restoredBy === undefined;
    const entry = isDirect ? event : this.#ports.exchange.openRecord(message.data);
    this.#countNumber(channel.log, message.subject, entry);
  }

  async #take(channel: Channel, event: ReceivedEvent<'epoch-entry'>): Promise<void> {
    const { trust, crypto, epochs, log } = this.#ports;
    const { epoch, event: what } = event.body;
    if (event.body.channel !== channel.log.channel) return;
    let announcementDigest: string | undefined;
    if (what.type === 'epoch-announced') {
      if (entryFault(this.#ports, event.body, what) !== undefined) return;
      announcementDigest = documentDigest(crypto, what.announcement.body);
      this.#shelf.use(what.capsules);
    }
    const { header, sender, body: entry, sequence } = event;
    const [author, atMs] = [sender.agentId, header.timeMs];
    const keepers = keepersOf(trust);
    const facts = { entry, announcementDigest, author, atMs, sequence, keepers };
    const rejected = channel.log.apply(facts, trust.policy);
    if (rejected !== undefined) {
      const fields = { channel: channel.log.channel, epoch, type: what.type, code: rejected };
      log.debug(fields, 'an entry that does not follow');
      if (what.type === 'epoch-announced') epochs.spend(what.capsules);
      return;
    }
    await epochs.onEntry(event);
    channel.wake?.();
    this.#advance(channel);
  }

  /**
   * A number that the signer stated and somebody appended is used up, whether or not the entry took
   * effect here: the signer goes by that, and states none that is not above it.
   */
  #countNumber(log: EpochLog, subject: string, event: AnyReceivedEvent | undefined): void {
    if (event?.type !== 'epoch-entry' || event.header.subject !== subject) return;
    const { channel, epoch, event: said } = event.body;
    if (said.type !== 'epoch-announced' || channel !== log.channel || epoch <= log.state.highest)
      return;
    if (entryFault(this.#ports, event.body, said) === undefined) log.numberUsed(epoch);
  }

  #onReport(message: BusMessage): void {
    const event = openedOrHistory(this.#ports, message);
    if (event?.type === 'prekeys-published') {
      this.#shelf.keep(event);
      this.#advanceAll();
    }
    if (event?.type !== 'epoch-accepted') return;
    const { channel: name, epoch, announcementDigest } = event.body;
    const channel = this.#channels.get(name);
    const { agentId } = event.sender;
    const acceptance = { epoch, agentId, announcementDigest, hash: event.hash };
    channel?.log.accepted(acceptance, this.#ports.trust.policy);
    if (channel !== undefined) this.#advance(channel);
  }

  async #readPrekeys(): Promise<void> {
    const { bus, trust, subjects } = this.#ports;
    for (const { agentId, kind } of trust.agents()) {
      if (kind === 'operator') continue;
      const message = await bus.lastMessage('GYRE_CONTROL', subjects.prekey(agentId));
      const event = message === null ? undefined : openedOrHistory(this.#ports, message);
      if (event?.type === 'prekeys-published') this.#shelf.keep(event);
    }
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#advanceAll();
    const waiting = this.logs().map((log) => [log.channel, this.#keptForAudit(log)] as const);
    void this.#audit.look(new Map(waiting)).then((hasLooked) => {
      if (hasLooked) this.#advanceAll();
    });
    this.#ticking = this.#ports.clock.after(lookMs, () => this.#tick());
  }

  #advanceAll(): void {
    for (const channel of this.#channels.values()) this.#advance(channel);
  }

  #advance(channel: Channel): void {
    if (!this.#isLive || this.#stopped || channel.isBusy) return;
    const { clock, takeoverMs } = this.#ports;
    channel.timer?.cancel();
    const command = this.#command(channel);
    if (command.type === 'wait') {
      channel.due = undefined;
      if (command.untilMs !== null) this.#look(channel, command.untilMs - clock.nowMs());
      return;
    }
    const key = `${command.type} ${command.epoch}`;
    const nowMs = clock.monotonicMs();
    if (channel.due?.key !== key) channel.due = { key, sinceMs: nowMs };
    const waitMs = this.#goesFirst(channel, command) ? 0 : channel.due.sinceMs + takeoverMs - nowMs;
    if (waitMs > 0) this.#look(channel, waitMs);
    else void this.#carryOut(channel, command);
  }

  #look(channel: Channel, delayMs: number): void {
    const bounded = Math.min(Math.max(1, delayMs), 2 ** 31 - 1);
    channel.timer = this.#ports.clock.after(bounded, () => this.#advance(channel));
  }

  async #carryOut(channel: Channel, command: Exclude<EpochCommand, { type: 'wait' }>) {
    const { clock, log } = this.#ports;
    channel.isBusy = true;
    let outcome: EpochOutcome = 'again';
    try {
      outcome = await this.#office.carryOut(channel.log, command, {
        wish: channel.wish,
        entitledDigest: this.#entitled.digest(channel.log.channel, clock.nowMs()),
      });
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      const fields = { channel: channel.log.channel, code: error.code, command: command.type };
      log.warn(fields, `the epoch waits: ${error.message}`);
    }
    channel.refusals = outcome === 'refused' ? channel.refusals + 1 : 0;
    // What the signer refuses it will most likely refuse again: it is asked less and less often.
    const delayMs = Math.min(
      retryDelayMs * 2 ** Math.min(Math.max(0, channel.refusals - 1), 16),
      refusedPauseMsMax,
    );
    if (outcome !== 'done') {
      await new Promise<void>((resolve) => {
        channel.wake = resolve;
        clock.after(delayMs, resolve);
      });
    }
    channel.wake = undefined;
    channel.isBusy = false;
    this.#advance(channel);
  }

  /** Who announced goes on; who announces is agreed by the channel's name. */
  #goesFirst({ log }: Channel, { type }: EpochCommand): boolean {
    const { agentId, clock } = this.#ports;
    if (type !== 'announce' && log.author !== undefined) return log.author === agentId;
    const ids = this.#entitled
      .to(log.channel, clock.nowMs())
      .filter(({ kind }) => kind === 'orchestrator')
      .map((agent) => agent.agentId)
      .toSorted();
    const turn = channels.indexOf(log.channel) % Math.max(1, ids.length);
    return ids[turn] === agentId;
  }

  #command(channel: Channel): EpochCommand {
    const { trust, clock } = this.#ports;
    const { log, wish } = channel;
    const nowMs = clock.nowMs();
    const entitled = this.#entitled.to(log.channel, nowMs);
    const running = entitled.filter(({ kind }) => kind !== 'operator');
    const candidates = running.map(({ agentId }) => agentId);
    const keepers = running.filter(({ kind }) => kind === 'signer').map(({ agentId }) => agentId);
    return epochCommand(log.state, {
      nowMs,
      rules: trust.policy.policies.channels,
      entitledDigest: this.#entitled.digest(log.channel, nowMs),
      candidates,
      prekeyed: new Set(
        candidates.filter((agentId) => this.#shelf.find(agentId, log.channel) !== undefined),
      ),
      keepers,
      lookingSinceMs: this.#lookingSinceMs,
      isLost: this.#isLost(channel),
      messages: log.messages,
      wish: wish !== undefined && nowMs - wish.atMs < wishMs ? wish : null,
      skewMs: trust.policy.policies.rotation.clock_skew_ms,
      sagaSinceMs: this.#sagaSinceMs(log.channel),
      audited: this.#audit.read(log.channel, this.#keptForAudit(log)),
      isStale: trust.staleness(nowMs).length > 0,
    });
  }

  /** Nobody had it when all were asked, or it is missing for longer than an acceptance may take. */
  #isLost(channel: Channel): boolean {
    const { keyring, clock, trust } = this.#ports;
    const { log } = channel;
    const active = activeEpoch(log.state);
    const isHeld =
      active === undefined ||
      keyring.knows({ channel: log.channel, epoch: active.epoch }) === 'held';
    if (isHeld) {
      channel.lostSinceMs = undefined;
      return false;
    }
    if (this.#ports.epochs.isWithout(log.channel)) return true;
    channel.lostSinceMs ??= clock.monotonicMs();
    const patienceMs = trust.policy.policies.channels.epoch_accept_ms;
    return clock.monotonicMs() - channel.lostSinceMs >= patienceMs;
  }

  #keptForAudit({ channel, state }: Pick<EpochLog, 'channel' | 'state'>): number[] {
    const { trust, clock } = this.#ports;
    const rules = trust.policy.policies.channels;
    const [nowMs, sagaSinceMs] = [clock.nowMs(), this.#sagaSinceMs(channel)];
    return keptForAudit(state, { nowMs, rules, sagaSinceMs });
  }

  #sagaSinceMs(channel: string): number | null {
    const layer = /^layer-(\d)$/.exec(channel)?.[1];
    if (channel !== 'saga' && layer === undefined) return null;
    if (this.#sagas === undefined) return 0;
    const began = this.#sagas()
      .filter(({ layers }) => layer === undefined || layers.includes(Number(layer)))
      .map(({ beganAtMs }) => beganAtMs);
    return began.length === 0 ? null : Math.min(...began);
  }
}

/** The channels of an orchestrator: all that have epochs. */
export const orchestratorChannels: readonly string[] = channelsOf({ kind: 'orchestrator' });
