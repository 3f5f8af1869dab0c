/**
 * A member's one-time prekeys, one per channel: drawn, published, used once and overwritten. They live
 * in memory only, so that nothing on a disk ever opens a capsule (forward secrecy); a restart draws
 * others, and what was sealed for the old ones is asked for.
 */

import { BusError } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { newHybridKey, type HybridKeyPair } from '#shared/crypto/epoch-capsule.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Exchange } from './exchange.ts';
import type { Clock, Log, Timer } from './ports.ts';

export interface PrekeysPorts {
  readonly agentId: string;
  readonly crypto: CryptoProvider;
  readonly exchange: Exchange;
  readonly subjects: Subjects;
  readonly clock: Clock;
  readonly log: Log;
}

/** Uses that come together are answered by one publication. */
const gatherMs = 20;
const retryMs = 500;
/** What was published just now is published again so much later, however often it is asked for. */
const offerAgainMs = 5_000;
/** What is published is valid for a day. */
const againMs = 12 * 3_600_000;

export class Prekeys {
  readonly #ports: PrekeysPorts;
  readonly #keys = new Map<string, HybridKeyPair>();
  #timer: Timer | undefined;
  #publishedAtMs = -Infinity;
  /** A publication is under way or soon to come. */
  #isDue = false;
  #publishing: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(ports: PrekeysPorts) {
    this.#ports = ports;
  }

  /** Draws one prekey per channel and publishes them. Resolves when they are, or the bus is away. */
  async start(channels: readonly string[]): Promise<void> {
    for (const channel of channels) this.#keys.set(channel, newHybridKey(this.#ports.crypto));
    await this.#publish();
  }

  /** The prekey of this id, for its one use; the next one takes its place. The caller wipes it. */
  take(channel: string, prekeyId: string): HybridKeyPair | undefined {
    const key = this.#keys.get(channel);
    if (key?.keyId !== prekeyId || this.#stopped) return undefined;
    this.#keys.set(channel, newHybridKey(this.#ports.crypto));
    this.#publishIn(gatherMs);
    return key;
  }

  /**
   * Overwrites and replaces each prekey that a capsule names, whatever channel and member it was for: to
   * the signer it is used up, and to keep on offering it would keep this member from being rekeyed.
   */
  spend(prekeyIds: ReadonlySet<string>): void {
    for (const [channel, { keyId }] of this.#keys) {
      if (prekeyIds.has(keyId)) this.take(channel, keyId)?.secret.fill(0);
    }
  }

  /** Whether one of the capsules is for a prekey that is on offer. */
  isNamedBy(capsules: readonly { readonly prekeyId: string }[]): boolean {
    const offered = new Set(Array.from(this.#keys.values(), ({ keyId }) => keyId));
    return capsules.some(({ prekeyId }) => offered.has(prekeyId));
  }

  /** Publishes what is on offer once more: somebody does not seem to know of it. */
  offerAgain(): void {
    if (this.#isDue || this.#keys.size === 0 || this.#stopped) return;
    const sinceMs = this.#ports.clock.monotonicMs() - this.#publishedAtMs;
    this.#publishIn(Math.max(gatherMs, offerAgainMs - sinceMs));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#publishing;
    for (const { secret } of this.#keys.values()) secret.fill(0);
    this.#keys.clear();
  }

  #publishIn(delayMs: number): void {
    this.#timer?.cancel();
    this.#isDue = true;
    this.#timer = this.#ports.clock.after(delayMs, () => {
      this.#isDue = false;
      this.#publishing = this.#publish();
    });
  }

  /** Others than those on offer: what was used up without this member's hearing of it is given up. */
  #renewIn(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#ports.clock.after(delayMs, () => {
      this.spend(new Set(Array.from(this.#keys.values(), ({ keyId }) => keyId)));
    });
  }

  async #publish(): Promise<void> {
    const { agentId, exchange, subjects, log, clock } = this.#ports;
    if (this.#stopped) return;
    this.#publishedAtMs = clock.monotonicMs();
    const prekeys = Array.from(this.#keys, ([channel, { keyId: prekeyId, publicKey }]) => ({
      channel,
      prekeyId,
      publicKey,
    }));
    const subject = subjects.prekey(agentId);
    try {
      const body = { prekeys };
      await exchange.publish({ type: 'prekeys-published', subject, channel: noticesChannel, body });
      if (!this.#stopped) this.#renewIn(againMs);
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code }, 'prekeys did not reach the bus');
      if (!this.#stopped) this.#publishIn(retryMs);
    }
  }
}
