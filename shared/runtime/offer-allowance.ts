/**
 * How many documents one sender may offer at a time. Opening an event costs a signature check; who
 * repeats what is known is not locked out for it, but is not listened to without end either. What was
 * on the bus before the start is an agent's backlog and has an allowance of its own.
 */

import type { Clock } from './ports.ts';

export const offersAtOnce = 64;
export const offersOfBacklog = 1024;
const refillMs = 1_000;
const sendersMax = 4096;

interface Purse {
  left: number;
  filledMs: number;
  backlogLeft: number;
}

export class OfferAllowance {
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #purses = new Map<string, Purse>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();
  }

  /** Whether one more is listened to. */
  take(agentId: string, storedAtMs: number): boolean {
    const nowMs = this.#clock.monotonicMs();
    const purse = this.#purseOf(agentId, nowMs);
    if (storedAtMs < this.#startedAtMs) {
      purse.backlogLeft -= 1;
      return purse.backlogLeft >= 0;
    }
    const refilled = Math.floor((nowMs - purse.filledMs) / refillMs);
    purse.left = Math.min(offersAtOnce, purse.left + refilled);
    purse.filledMs += refilled * refillMs;
    if (purse.left === 0) return false;
    purse.left -= 1;
    return true;
  }

  #purseOf(agentId: string, nowMs: number): Purse {
    const known = this.#purses.get(agentId);
    if (known !== undefined) return known;
    if (this.#purses.size >= sendersMax) this.#purses.clear();
    const purse = { left: offersAtOnce, filledMs: nowMs, backlogLeft: offersOfBacklog };
    this.#purses.set(agentId, purse);
    return purse;
  }
}
