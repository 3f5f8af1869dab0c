/**
 * What the parts of the simulated world owe each other: lives of processes, places where a life may end,
 * the trace. Only ports are simulated; everything behind them is the production code.
 */

import type { BusClock } from '#shared/bus/timers.ts';
import type { Clock } from '#shared/runtime/ports.ts';

/** One life of one process, from its start to its crash or its orderly end. */
export interface Life {
  readonly agentId: string;
  /** 1 for the first life. */
  readonly number: number;
  /** False for good after a crash: its timers, deliveries and answers never come. */
  readonly isAlive: boolean;
  /** Stopped by a signal: everything that is due for it waits until it goes on. */
  readonly isPaused: boolean;
  /** Runs now, or when the process goes on; never, once it is dead. */
  whenRunning(run: () => void): void;
  /** Called once, when it crashes. */
  onDeath(run: () => void): void;
}

/** A place where a process may die. */
export interface CrashPoint {
  readonly kind: 'write' | 'send';
  /** `database store.db`, `file trust.json`, `log audit.log`, `publish step-reported`, … */
  readonly what: string;
  readonly when: 'before' | 'after';
}

/** Thrown out of the production code when its process dies in a synchronous call. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';
}

export interface CrashPoints {
  /**
   * Passes, or ends the life and throws. Every port calls it before and after each durable write and each
   * send. @throws SimulatedCrash, also at every later call of a life that is over
   */
  pass(life: Life, point: CrashPoint): void;
}

/** What happened, in order. Its hash is what two runs of one seed are compared by. */
export interface Trace {
  note(what: string, fields: Readonly<Record<string, string | number | boolean>>): void;
}

/** Numbers drawn from the seed. A fork does not disturb the sequence that it is forked from. */
export interface Draws {
  /** 0 (inclusive) to 1 (exclusive). */
  fraction(): number;
  /** A whole number from `least` to `most`, both inclusive. */
  between(least: number, most: number): number;
  chance(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
  shuffled<Item>(items: readonly Item[]): Item[];
  bytes(count: number): Uint8Array;
  fork(name: string): Draws;
}

/** True time of the world. What is due runs in the order of its time, then of its scheduling. */
export interface WorldTime extends BusClock {
  /** Runs what is due until `isOver`, or until `untilMs` (monotonic); resolves whether `isOver`. */
  run(untilMs: number, isOver?: () => boolean): Promise<boolean>;
}

/** A process's own clock: true time with an error that faults change; its timers die with it. */
export interface LifeClock extends Clock, BusClock {}
