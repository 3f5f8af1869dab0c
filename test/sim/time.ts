/**
 * True time of a simulated world. Nothing here waits: what is due is done, everything that follows from it
 * without a timer is let happen, and then it is the time of the next thing. A minute of the world passes
 * in as long as its events take.
 *
 * Invariants: what is due at one instant runs in the order in which it was asked for; between two events
 * every promise is settled and every `setImmediate` of the production code has come; an endless loop at
 * one instant ends with an error that says what was due.
 */

import type { BusTimer } from '#shared/bus/timers.ts';
import { EventQueue, type Due } from './event-queue.ts';
import { SimulatedCrash, type WorldTime } from './model.ts';
import { Turns } from './turns.ts';

/** Every world begins at the same date: 2026-01-01T00:00:00Z. */
export const worldBeginsMs = Date.UTC(2026, 0, 1);

export interface TimeBounds {
  /** Events at one instant; more are a loop. */
  readonly eventsAtOnceMax?: number;
  /** Events of the whole world. */
  readonly eventsMax?: number;
}

/** The world does not come to an end. */
export class EndlessWorld extends Error {
  override readonly name = 'EndlessWorld';
}

export class SimulatedTime implements WorldTime {
  readonly #queue = new EventQueue();
  readonly #turns = new Turns();
  readonly #eventsAtOnceMax: number;
  readonly #eventsMax: number;
  #monotonicMs = 0;
  #order = 0;
  #events = 0;
  #eventsAtOnce = 0;
  #isRunning = false;

  constructor({ eventsAtOnceMax = 20_000, eventsMax = 2_000_000 }: TimeBounds = {}) {
    this.#eventsAtOnceMax = eventsAtOnceMax;
    this.#eventsMax = eventsMax;
  }

  /** Milliseconds since 1970, maybe with a fraction. */
  nowMs(): number {
    return worldBeginsMs + this.#monotonicMs;
  }

  /** Since the world began. */
  monotonicMs(): number {
    return this.#monotonicMs;
  }

  /** How many events ran until now. */
  get events(): number {
    return this.#events;
  }

  /** `what` names it where it is in a loop; its own text does, unless told. */
  after(delayMs: number, run: () => void, what?: () => string): BusTimer {
    if (!Number.isFinite(delayMs)) throw new RangeError(`a delay of ${delayMs} ms`);
    const atMs = this.#monotonicMs + Math.max(0, delayMs);
    this.#order += 1;
    const due: Due = { atMs, order: this.#order, run, what, isCancelled: false };
    this.#queue.push(due);
    return { cancel: () => this.#queue.cancel(due) };
  }

  /**
   * One run at a time. Asks `isOver` before the first event and after each. Rejects with what an event
   * throws, except for the crash of a process.
   */
  async run(untilMs: number, isOver: () => boolean = () => false): Promise<boolean> {
    if (this.#isRunning) throw new Error('the world is running already');
    this.#isRunning = true;
    let isDone = false;
    try {
      await this.#turns.each(() => {
        isDone = isOver();
        return !isDone && this.#runNext(untilMs);
      });
    } finally {
      this.#isRunning = false;
    }
    if (!isDone) this.#passTo(untilMs);
    return isDone;
  }

  /** Resolves when everything that needs no timer has happened. Not while the world is running. */
  async settle(): Promise<void> {
    if (this.#isRunning) throw new Error('the world is running already');
    await this.#turns.each(() => false);
  }

  /** Whether there was one. */
  #runNext(untilMs: number): boolean {
    const due = this.#queue.pop(untilMs);
    if (due === undefined) return false;
    this.#passTo(due.atMs);
    this.#events += 1;
    this.#eventsAtOnce += 1;
    if (this.#eventsAtOnce > this.#eventsAtOnceMax || this.#events > this.#eventsMax) {
      throw new EndlessWorld(this.#endless(due));
    }
    try {
      due.run();
    } catch (fault) {
      // Its process is dead, and nobody is there to hear of it.
      if (!(fault instanceof SimulatedCrash)) throw fault;
    }
    return true;
  }

  #passTo(atMs: number): void {
    if (atMs <= this.#monotonicMs) return;
    this.#monotonicMs = atMs;
    this.#eventsAtOnce = 0;
  }

  #endless(due: Due): string {
    const isLoop = this.#eventsAtOnce > this.#eventsAtOnceMax;
    const bound = isLoop ? `${this.#eventsAtOnceMax} events at one instant` : 'too many events';
    const names = new Map<string, number>();
    for (const each of [due, ...this.#queue.dueAt(due.atMs)]) {
      const name = (each.what?.() ?? each.run.toString()).replaceAll(/\s+/g, ' ').slice(0, 160);
      names.set(name, (names.get(name) ?? 0) + 1);
    }
    const list = Array.from(names, ([name, count]) => `${count} × ${name}`).slice(0, 10);
    return `${bound}, at ${this.#monotonicMs} ms; due are ${list.join('; ')}`;
  }
}
