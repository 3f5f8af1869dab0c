/**
 * Asks for secrets that a member lacks: those of channels without an epoch in use for as long as it takes,
 * those of single epochs for a bounded time, one round of questions at a time. What nobody has is not
 * asked for at every event that names it, so that a sender who invents epochs costs next to nothing.
 */

import type { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { Announcements } from './epoch-announcements.ts';
import {
  askEpochSecrets,
  giversOf,
  type EpochName,
  type QuestionPorts,
  type SecretGiven,
} from './epoch-questions.ts';
import type { Clock } from './ports.ts';

export interface FetcherPorts extends QuestionPorts {
  readonly channels: readonly string[];
  readonly keyring: EpochKeyring;
  readonly clock: Clock;
  /** Whether the member hears the epoch logs; an operator asks and is told, and hears nothing else. */
  readonly hearsLogs: boolean;
  readonly known: Announcements;
  /** `open`: everything that is not over, as far as the giver tells; undefined where it may not know. */
  readonly take: (
    given: readonly SecretGiven[],
    open: readonly EpochName[] | undefined,
  ) => Promise<void>;
}

const pauseMsMin = 50;
const pauseMsMax = 1_000;
/** How long an epoch that the log names is asked for, and how long an event waits for one. */
const wantedMs = 60_000;
const readableMs = 1_500;
/** How long an epoch that nobody had is not waited for again, and how many are remembered. */
const hopelessMs = 30_000;
const hopelessMax = 1_024;
const wantedMax = 1_024;

export class EpochFetcher {
  readonly #ports: FetcherPorts;
  /** Until when an epoch is asked for. */
  readonly #wanted = new Map<string, EpochName & { readonly untilMs: number }>();
  readonly #hopelessUntilMs = new Map<string, number>();
  /** Who named an epoch that nobody announced and nobody had, and until when that is held against him. */
  readonly #doubted = new Map<string, EpochName & { readonly untilMs: number }>();
  #change = Promise.withResolvers<void>();
  /** Channels that everyone was asked for, and nobody had a secret of. */
  readonly #without = new Set<string>();
  /** Channels of which an epoch came to be known since a round of questions began. */
  readonly #renewed = new Set<string>();
  /** Whether the last round of questions brought anything: where not, another one will hardly. */
  #isFruitful = true;
  #asksAll = false;
  #isAsking = false;
  #stopped = false;

  constructor(ports: FetcherPorts) {
    this.#ports = ports;
  }

  /** `asksAll`: everyone once, because one of them may have missed what the others know. */
  start({ asksAll }: { readonly asksAll: boolean }): void {
    this.#asksAll = asksAll;
    this.#ask();
  }

  /** Asks everyone once more for what is open, unless that is being asked already. */
  refresh(): void {
    if (!this.#isAsking && !this.#stopped) this.start({ asksAll: true });
  }

  stop(): void {
    this.#stopped = true;
    this.announce();
  }

  /** Something changed in what is held. */
  announce(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers<void>();
    resolve();
  }

  changed(): Promise<void> {
    return this.#change.promise;
  }

  want(name: EpochName, forMs = wantedMs): void {
    if (this.#wanted.size >= wantedMax) return;
    const untilMs = this.#ports.clock.monotonicMs() + forMs;
    this.#wanted.set(textOf(name), { ...name, untilMs });
    // Whoever was asked before there was such an epoch said nothing of it.
    this.#without.delete(name.channel);
    this.#renewed.add(name.channel);
    this.#isFruitful = true;
    this.#ask();
  }

  /** Whether everyone who could give the channel's secret answered, and had none. */
  isWithout(channel: string): boolean {
    return this.#without.has(channel) && this.#missing().includes(channel);
  }

  /**
   * Resolves once every channel has an epoch in use, or at the end. `withOlder`: and once everything that
   * is not over was given too, as far as it is to be had.
   */
  async complete({ withOlder }: { readonly withOlder: boolean }): Promise<void> {
    const isComing = (): boolean =>
      this.#missing().length > 0 || (withOlder && this.#wanted.size > 0 && this.#isFruitful);
    while (isComing() && !this.#stopped) await this.changed();
  }

  /**
   * One sender holds up who listens once in 30 seconds at the most, for 1.5 seconds, whatever epochs of
   * whatever channels it names, but for those that were announced.
   */
  async whenReadable(name: EpochName, sender: string): Promise<boolean> {
    const { keyring, channels, known, clock, hearsLogs } = this.#ports;
    const { channel, epoch } = name;
    const knowledge = keyring.knows(name);
    if (knowledge !== 'unknown') return knowledge === 'held';
    // An event may run ahead of the announcement by one; whoever knows no epoch yet believes it.
    const ahead = Math.max(known.highest(channel), keyring.currentEpoch(channel) ?? epoch);
    if (!channels.includes(channel) || (hearsLogs && epoch > ahead + 1)) return false;
    const nowMs = clock.monotonicMs();
    if ((this.#hopelessUntilMs.get(textOf(name)) ?? 0) > nowMs) return false;
    if (!this.#isAnnounced(name) && this.#isDoubted(sender, nowMs)) return false;
    this.want(name, readableMs);
    const timeUp = new Promise<void>((resolve) => clock.after(readableMs, resolve));
    while (keyring.knows(name) === 'unknown' && !this.#stopped) {
      if (clock.monotonicMs() >= nowMs + readableMs) break;
      await Promise.race([this.changed(), timeUp]);
    }
    if (keyring.knows(name) === 'held') return true;
    const untilMs = clock.monotonicMs() + hopelessMs;
    remember(this.#hopelessUntilMs, textOf(name), untilMs);
    if (!this.#isAnnounced(name)) remember(this.#doubted, sender, { ...name, untilMs });
    return false;
  }

  #isAnnounced({ channel, epoch }: EpochName): boolean {
    return this.#ports.known.announcementOf(channel, epoch) !== undefined;
  }

  /** Whether it named an epoch in vain lately, and not only ahead of the announcement. */
  #isDoubted(sender: string, nowMs: number): boolean {
    const doubt = this.#doubted.get(sender);
    return doubt !== undefined && doubt.untilMs > nowMs && !this.#isAnnounced(doubt);
  }

  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    void this.#askUntilThere().finally(() => {
      this.#isAsking = false;
      // What was wanted while the last answer was taken in.
      if (this.#lacks()) this.#ask();
      this.announce();
    });
  }

  async #askUntilThere(): Promise<void> {
    const { agentId, trust, clock, keyring, known, take } = this.#ports;
    let pauseMs = pauseMsMin;
    while (this.#lacks()) {
      const asksAll = this.#asksAll;
      this.#asksAll = false;
      this.#renewed.clear();
      let haveAnswered = true;
      let isFruitful = false;
      for (const giver of giversOf(trust, agentId)) {
        if (this.#stopped || (!asksAll && !this.#lacks())) return;
        const question = { giver, wanted: [...this.#wanted.values()] };
        const answer = await askEpochSecrets(this.#ports, known, question);
        if (answer === undefined) {
          haveAnswered = false;
          continue;
        }
        const { given, unvouched } = answer;
        const isWhole = trust.agent(giver)?.kind === 'signer';
        isFruitful ||= given.some((name) => keyring.knows(name) === 'unknown');
        // Who keeps all of them has the announcements too; a few rounds more bring them.
        for (const name of isWhole ? unvouched : []) {
          if (!this.#wanted.has(textOf(name))) this.want(name);
        }
        await take(given, isWhole ? [...given, ...unvouched] : undefined);
      }
      this.#without.clear();
      for (const channel of haveAnswered ? this.#missing() : []) {
        if (!this.#renewed.has(channel)) this.#without.add(channel);
      }
      this.#isFruitful = isFruitful;
      if (!this.#lacks()) return;
      this.announce();
      const delayMs = isFruitful ? pauseMsMin : pauseMs;
      await new Promise<void>((resolve) => clock.after(delayMs, resolve));
      pauseMs = Math.min(2 * delayMs, pauseMsMax);
    }
  }

  #lacks(): boolean {
    if (this.#stopped) return false;
    const { keyring, clock } = this.#ports;
    const nowMs = clock.monotonicMs();
    for (const [name, wanted] of this.#wanted) {
      const isThere = keyring.knows(wanted) !== 'unknown';
      if (isThere || wanted.untilMs <= nowMs) this.#wanted.delete(name);
    }
    return this.#asksAll || this.#wanted.size > 0 || this.#missing().length > 0;
  }

  #missing(): string[] {
    const { channels, keyring } = this.#ports;
    return channels.filter((channel) => keyring.currentEpoch(channel) === undefined);
  }
}

/** Bounded: the oldest one is forgotten. */
function remember<Value>(known: Map<string, Value>, name: string, value: Value): void {
  known.delete(name);
  known.set(name, value);
  const [oldest] = known.keys();
  if (known.size > hopelessMax && oldest !== undefined) known.delete(oldest);
}

function textOf({ channel, epoch }: EpochName): string {
  return `${channel}/${epoch}`;
}
