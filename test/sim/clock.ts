/**
 * The clock of one process: true time with an error that faults change. The wall clock may jump both ways
 * and run fast or slow; the monotonic one counts from the process's start, never jumps, and runs as fast
 * as the wall clock does. Timers are those of Node: whole milliseconds, one at the least.
 *
 * Invariant: a timer never fires after the process's death, and waits while the process stands still.
 */

import type { BusTimer } from '#shared/bus/timers.ts';
import type { Life, LifeClock } from './model.ts';
import type { SimulatedTime } from './time.ts';

/** Node fires a longer timer at once. */
const timerMsMax = 2 ** 31 - 1;

export interface LifeClockOptions {
  readonly life: Life;
  readonly time: SimulatedTime;
  /** How far the wall clock is ahead of true time; negative where it is behind. */
  readonly skewMs?: number;
  /** Millionths by which the clock runs fast; negative where it runs slow. */
  readonly driftPpm?: number;
}

export class SimulatedClock implements LifeClock {
  readonly #life: Life;
  readonly #time: SimulatedTime;
  readonly #bornMs: number;
  readonly #rate: number;
  #skewMs: number;

  constructor({ life, time, skewMs = 0, driftPpm = 0 }: LifeClockOptions) {
    this.#life = life;
    this.#time = time;
    this.#bornMs = time.monotonicMs();
    this.#skewMs = skewMs;
    this.#rate = 1 + driftPpm / 1e6;
  }

  /** Error of the wall clock now, for the process's next life. */
  get skewMs(): number {
    const livedMs = this.#time.monotonicMs() - this.#bornMs;
    return this.#skewMs + livedMs * (this.#rate - 1);
  }

  /** The wall clock jumps, timers and the monotonic one do not. */
  jump(byMs: number): void {
    this.#skewMs += byMs;
  }

  nowMs(): number {
    return Math.floor(this.#time.nowMs() + this.skewMs);
  }

  monotonicMs(): number {
    return (this.#time.monotonicMs() - this.#bornMs) * this.#rate;
  }

  /** @throws RangeError for a delay that Node would make one millisecond of: nobody means that */
  after(delayMs: number, run: () => void): BusTimer {
    if (!(delayMs <= timerMsMax)) throw new RangeError(`a timer of ${delayMs} ms fires at once`);
    const wholeMs = Math.max(1, Math.trunc(delayMs));
    let isCancelled = false;
    const fire = (): void => {
      if (!isCancelled) run();
    };
    const due = (): void => this.#life.whenRunning(fire);
    const what = (): string => `a timer of ${this.#life.agentId}: ${run.toString()}`;
    const timer = this.#time.after(wholeMs / this.#rate, due, what);
    return {
      cancel: () => {
        isCancelled = true;
        timer.cancel();
      },
    };
  }
}
