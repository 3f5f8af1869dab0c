/**
 * How many events of one sender wait for documents that this agent has yet to learn of, and how long.
 * A durable consumer has so many places for what is not settled: a sender who names versions that
 * nobody has would else fill them all, and keep from this agent what everyone else says.
 */

import type { Clock } from './ports.ts';

export const heldMax = 8;
/** Less than all deliveries of one message take. */
const patienceMs = 4_000;
/** How long a sender is not waited for again whose documents nobody had. */
const hopelessMs = 30_000;

interface Waiting {
  /** By their places in the stream. */
  readonly held: Set<number>;
  readonly sinceMs: number;
  readonly isHopeless: boolean;
}

export class BehindAllowance {
  readonly #clock: Clock;
  /** No more than are enrolled: whoever is held was verified. */
  readonly #senders = new Map<string, Waiting>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the event may wait, for the first time or once more. */
  mayWait(sender: string, sequence: number): boolean {
    const waiting = this.#of(sender);
    if (waiting.isHopeless) return false;
    if (this.#clock.monotonicMs() - waiting.sinceMs >= patienceMs) {
      const sinceMs = this.#clock.monotonicMs();
      this.#senders.set(sender, { held: new Set(), sinceMs, isHopeless: true });
      return false;
    }
    if (!waiting.held.has(sequence) && waiting.held.size >= heldMax) return false;
    waiting.held.add(sequence);
    return true;
  }

  /** The event was opened, or is given up. */
  settled(sender: string, sequence: number): void {
    const waiting = this.#senders.get(sender);
    if (waiting?.held.delete(sequence) === true && waiting.held.size === 0) {
      this.#senders.delete(sender);
    }
  }

  #of(sender: string): Waiting {
    const known = this.#senders.get(sender);
    const nowMs = this.#clock.monotonicMs();
    if (known !== undefined && !(known.isHopeless && nowMs - known.sinceMs >= hopelessMs)) {
      return known;
    }
    const fresh = { held: new Set<number>(), sinceMs: nowMs, isHopeless: false };
    this.#senders.set(sender, fresh);
    return fresh;
  }
}
