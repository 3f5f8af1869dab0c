/**
 * Keeps one token child running and brings every request to it in turn. A child that dies or hangs
 * is replaced, with a growing pause between replacements, and a request that may be repeated is
 * repeated once in the new child. A PIN that the token refused is final: nothing logs in again for
 * as long as this object lives, since a wrong PIN tried often enough locks the token.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import type { Operation, Outcome } from './child-messages.ts';
import type { ChildLoss, TokenProcess } from './child-process.ts';
import { TokenError } from './token.ts';

export type TokenEvent =
  | { kind: 'child-started'; pid: number; startMs: number; restarts: number }
  | ({ kind: 'child-lost' } & ChildLoss);

export interface SupervisorOptions {
  /** Starts a child and logs it in; `onLost` is for the child's end. */
  start: (onLost: (loss: ChildLoss) => void) => Promise<TokenProcess>;
  requestTimeoutMs: number;
  /** Requests that may wait besides the one under way. */
  queueMax: number;
  onEvent: (event: TokenEvent) => void;
}

interface Job {
  operation: Operation;
  repeatable: boolean;
  resolve: (outcome: Outcome) => void;
  reject: (error: unknown) => void;
}

const restartDelayFirstMs = 100;
const restartDelayMaxMs = 2000;

/** The pause before a restart: none after the first loss, then 100 ms doubling up to 2 s. */
export function restartDelayMs(lossesInARow: number): number {
  if (lossesInARow <= 1) return 0;
  return Math.min(restartDelayMaxMs, restartDelayFirstMs * 2 ** Math.min(lossesInARow - 2, 16));
}

export class ChildSupervisor {
  readonly #options: SupervisorOptions;
  readonly #queue: Job[] = [];
  #child: TokenProcess | null = null;
  #working: Promise<void> | null = null;
  #fatal: TokenError | null = null;
  #closing = false;
  #starts = 0;
  #lossesInARow = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** The first start: one attempt, so that what is wrong is said at once. */
  async open(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      throw this.#note(error);
    }
  }

  get childPid(): number | null {
    return this.#child?.alive === true ? this.#child.pid : null;
  }

  /**
   * TOKEN_FAILED at once if the queue is full; else the outcome, or what the token or its loss gave.
   * `repeatable` says that doing it twice does no harm.
   */
  call(operation: Operation, options: { repeatable: boolean }): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== null) {
        reject(refusal);
        return;
      }
      this.#queue.push({ operation, repeatable: options.repeatable, resolve, reject });
      this.#working ??= this.#work();
    });
  }

  /** Refuses what waits, lets the request under way finish or time out, and ends the child. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#rejectWaiting(new TokenError('TOKEN_UNREACHABLE', 'the token is closed'));
    await this.#working;
    await this.#child?.close(this.#options.requestTimeoutMs);
    this.#child = null;
  }

  #refusal(): TokenError | null {
    if (this.#closing) return new TokenError('TOKEN_UNREACHABLE', 'the token is closed');
    if (this.#fatal !== null) return this.#fatal;
    if (this.#queue.length < this.#options.queueMax) return null;
    return new TokenError('TOKEN_FAILED', `${this.#options.queueMax} requests wait already`);
  }

  async #work(): Promise<void> {
    // `call` has not returned yet: let it store this promise first.
    await Promise.resolve();
    for (let job = this.#queue.shift(); job !== undefined; job = this.#queue.shift()) {
      try {
        job.resolve(await this.#perform(job));
      } catch (error) {
        job.reject(error);
      }
    }
    this.#working = null;
  }

  async #perform(job: Job): Promise<Outcome> {
    for (let attemptsLeft = job.repeatable ? 2 : 1; ;) {
      const child = await this.#runningChild();
      attemptsLeft -= 1;
      try {
        const outcome = await child.request(job.operation, this.#options.requestTimeoutMs);
        this.#lossesInARow = 0;
        return outcome;
      } catch (error) {
        // A child that lives has given the token's own answer.
        if (child.alive || attemptsLeft === 0 || this.#closing) throw error;
      }
    }
  }

  async #runningChild(): Promise<TokenProcess> {
    if (this.#child?.alive === true) return this.#child;
    await this.#child?.gone();
    this.#lossesInARow += 1;
    await sleep(restartDelayMs(this.#lossesInARow));
    try {
      return await this.#start();
    } catch (error) {
      const known = this.#note(error);
      // Those who wait would meet the same wall one after the other.
      this.#rejectWaiting(known);
      throw known;
    }
  }

  async #start(): Promise<TokenProcess> {
    const startedMs = performance.now();
    this.#child = await this.#options.start((loss) => {
      this.#options.onEvent({ kind: 'child-lost', ...loss });
    });
    this.#options.onEvent({
      kind: 'child-started',
      pid: this.#child.pid,
      startMs: performance.now() - startedMs,
      restarts: this.#starts,
    });
    this.#starts += 1;
    return this.#child;
  }

  #note(error: unknown): unknown {
    if (!(error instanceof TokenError)) return error;
    if (error.code === 'TOKEN_PIN_WRONG' || error.code === 'TOKEN_PIN_LOCKED') this.#fatal = error;
    return error;
  }

  #rejectWaiting(error: unknown): void {
    for (const job of this.#queue.splice(0)) job.reject(error);
  }
}
