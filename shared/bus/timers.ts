/**
 * Time as the bus needs it: a port, so that the in-memory bus can run under a simulated clock, and
 * the two waits that both implementations share.
 */

export interface BusTimer {
  cancel(): void;
}

export interface BusClock {
  nowMs(): number;
  /** Milliseconds that never go back. */
  monotonicMs(): number;
  after(delayMs: number, run: () => void): BusTimer;
}

/** Real time. A timer keeps the process alive: someone waits for it. */
export const systemClock: BusClock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, Math.max(0, delayMs));
    return { cancel: () => clearTimeout(timer) };
  },
};

export function sleep(clock: BusClock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}

/** A connection that comes and goes, as something to wait for. */
export class Gate {
  #open = false;
  readonly #listeners = new Set<(open: boolean) => void>();

  get open(): boolean {
    return this.#open;
  }

  set(open: boolean): void {
    if (this.#open === open) return;
    this.#open = open;
    for (const listener of this.#listeners) listener(open);
  }

  /** Called at every change; the returned function ends that. */
  onChange(listener: (open: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves to true once open, to false when `timeoutMs` have passed first. */
  waitOpen(clock: BusClock, timeoutMs: number): Promise<boolean> {
    if (this.#open) return Promise.resolve(true);
    if (timeoutMs <= 0) return Promise.resolve(false);
    return new Promise((resolve) => {
      const finish = (open: boolean): void => {
        timer.cancel();
        stopListening();
        resolve(open);
      };
      const stopListening = this.onChange((open) => {
        if (open) finish(true);
      });
      const timer = clock.after(timeoutMs, () => finish(false));
    });
  }
}
