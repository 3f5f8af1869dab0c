/**
 * The ports through which an agent meets the outside: time, entropy, and the log that people read.
 * Agents take them as arguments, so that a simulated world can stand in for every one of them.
 */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  nowMs(): number;
  /** Milliseconds that never go back, for spans. */
  monotonicMs(): number;
  /** Calls `run` once, `delayMs` from now. A timer does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
}

export interface Entropy {
  bytes(count: number): Uint8Array;
}

/** Structured log; fields never hold secrets or bodies of events. */
export interface Log {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}
