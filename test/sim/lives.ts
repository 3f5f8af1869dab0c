/**
 * One life of one process. It may stand still and go on (SIGSTOP and SIGCONT), and it may end at any
 * instant (SIGKILL, power), after which nothing of it ever runs again.
 *
 * Invariant: what was due for a process that stood still happens in the order in which it was due, and
 * before anything that comes due later.
 */

import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { SimulatedCrash, type Life } from './model.ts';
import type { SimulatedTime } from './time.ts';

/**
 * Whose code runs now, and on whose behalf a promise was made: so that a rejection that nobody catches
 * ends the process that it belongs to.
 */
export const running = new AsyncLocalStorage<Life>();

export interface LifeOptions {
  readonly agentId: string;
  /** 1 for the first life. */
  readonly number: number;
  readonly time: Pick<SimulatedTime, 'after'>;
  /** Gets what its callbacks throw, which ends a real process; the world ends by it, unless given. */
  readonly onFault?: (fault: unknown) => void;
}

export class SimulatedLife implements Life {
  readonly agentId: string;
  readonly number: number;
  readonly #time: Pick<SimulatedTime, 'after'>;
  readonly #onFault: ((fault: unknown) => void) | undefined;
  readonly #waiting: (() => void)[] = [];
  readonly #mourners: (() => void)[] = [];
  /** In which `running` is this life: entered for every call, it is made once. */
  readonly #context = running.run(this, () => new AsyncResource('SimulatedLife'));
  #isAlive = true;
  #isPaused = false;
  #isCatchingUp = false;

  constructor({ agentId, number, time, onFault }: LifeOptions) {
    this.agentId = agentId;
    this.number = number;
    this.#time = time;
    this.#onFault = onFault;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  whenRunning(run: () => void): void {
    if (!this.#isAlive) return;
    if (this.#isPaused || this.#waiting.length > 0) this.#waiting.push(run);
    else this.#call(run);
  }

  /** At once, where it is dead already. */
  onDeath(run: () => void): void {
    if (this.#isAlive) this.#mourners.push(run);
    else run();
  }

  /** Ends it, once. The one who calls it goes on; a port that is in the middle of a call throws. */
  crash(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    this.#waiting.length = 0;
    for (const run of this.#mourners.splice(0)) run();
  }

  /** @throws SimulatedCrash where it is dead: for ports that are called synchronously */
  assertAlive(): void {
    if (!this.#isAlive) throw new SimulatedCrash(`${this.agentId} is dead`);
  }

  pause(): void {
    if (this.#isAlive) this.#isPaused = true;
  }

  /** What waited happens in events of their own, at the same instant. */
  resume(): void {
    this.#isPaused = false;
    this.#catchUp();
  }

  #catchUp(): void {
    if (this.#isCatchingUp || this.#waiting.length === 0) return;
    this.#isCatchingUp = true;
    const what = (): string => `what ${this.agentId} missed while it stood still`;
    this.#time.after(0, () => this.#runOne(), what);
  }

  #runOne(): void {
    this.#isCatchingUp = false;
    if (!this.#isAlive || this.#isPaused) return;
    const run = this.#waiting[0];
    try {
      if (run !== undefined) this.#call(run);
    } finally {
      // Only now, so that what it leads to gets behind those that still wait.
      this.#waiting.shift();
      this.#catchUp();
    }
  }

  #call(run: () => void): void {
    try {
      this.#context.runInAsyncScope(run);
    } catch (fault) {
      if (fault instanceof SimulatedCrash && !this.#isAlive) return;
      if (this.#onFault === undefined) throw fault;
      this.#onFault(fault);
    }
  }
}
