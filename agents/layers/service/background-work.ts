/**
 * Long work of a service beside its requests: one bounded batch after the other, with a pause between
 * them, so that requests go on. Every batch leaves a state from which the next one goes on, so the
 * work is taken up again after a crash by simply beginning it. What is left over is looked for
 * again and again, since a request that began under an old key may end after the work did.
 */

import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';

/** `more`: there is more to do at once. `idle`: nothing is left that this work can do now. */
export type BatchOutcome = 'more' | 'idle';

export interface BackgroundWorkOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Bounded; may be called again after it failed. */
  readonly batch: () => Promise<BatchOutcome>;
  /** Between batches; 2 unless told. */
  readonly pauseMs?: number;
}

const pauseMsDefault = 2;
const retryMs = 1_000;
const idleMs = 5_000;

export class BackgroundWork {
  readonly #options: BackgroundWorkOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #isWoken = false;
  #isStopped = true;

  constructor(options: BackgroundWorkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#isStopped = false;
    this.wake();
  }

  /** There may be something to do: looks at once, or right after the batch that runs. */
  wake(): void {
    if (this.#isStopped) return;
    this.#isWoken = true;
    if (this.#running === undefined) this.#after(0);
  }

  /** Resolves when the batch that runs is over. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #after(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#running = this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isWoken = false;
    const delayMs = await this.#batch();
    this.#running = undefined;
    if (!this.#isStopped) this.#after(this.#isWoken ? this.#pauseMs : delayMs);
  }

  get #pauseMs(): number {
    return this.#options.pauseMs ?? pauseMsDefault;
  }

  /** How long to wait for the next one. */
  async #batch(): Promise<number> {
    const { name, log, batch } = this.#options;
    try {
      return (await batch()) === 'more' ? this.#pauseMs : idleMs;
    } catch (error) {
      // Whatever it was, it is tried again: a batch has no caller who could.
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      const what = error instanceof Error ? error.name : 'unknown';
      log.warn({ work: name, error: what, code }, 'a batch failed: once more');
      return retryMs;
    }
  }
}
