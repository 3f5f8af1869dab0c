/** A clock that moves when it is told to: timers run in order, with time for promises between. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock, Timer } from '#shared/runtime/ports.ts';

interface Waiting {
  readonly atMs: number;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #waiting = new Set<Waiting>();

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const waiting = { atMs: this.#nowMs + Math.max(0, delayMs), run };
    this.#waiting.add(waiting);
    return { cancel: () => this.#waiting.delete(waiting) };
  }

  async advance(byMs: number): Promise<void> {
    const untilMs = this.#nowMs + byMs;
    await turn();
    for (let next = this.#next(untilMs); next !== null; next = this.#next(untilMs)) {
      this.#waiting.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
      await turn();
    }
    this.#nowMs = untilMs;
    await turn();
  }

  #next(untilMs: number): Waiting | null {
    let next: Waiting | null = null;
    for (const waiting of this.#waiting) {
      if (waiting.atMs <= untilMs && (next === null || waiting.atMs < next.atMs)) next = waiting;
    }
    return next;
  }
}
