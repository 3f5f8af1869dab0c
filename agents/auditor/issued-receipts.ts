/**
 * Which receipts were issued, and where in the stream they stand: what it takes to issue again those that
 * the bus lost (invariant 15). Verdicts are remembered as long as their sagas are unfinished, all others
 * as long as a producer's republication would be swallowed by the bus as a duplicate; whoever publishes
 * after that is given a new receipt anyhow. In memory only: a start issues what may be missing once more.
 */

import { duplicateWindowMs } from '#shared/bus/streams.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { LeafNote } from './leaf-note.ts';

export interface IssuedPorts {
  readonly clock: Clock;
  /** Whether somebody may be waiting for the verdict on this leaf. */
  readonly isOpen: (note: LeafNote) => boolean;
}

interface Issued {
  readonly note: LeafNote;
  readonly sequence: number;
  readonly atMs: number;
}

/** Receipts remembered at most; the oldest go first. */
export const issuedMax = 8_192;
const keptMs = 2 * duplicateWindowMs;
const tidyMs = 60_000;

export class IssuedReceipts {
  readonly #ports: IssuedPorts;
  /** By leaf, the one issued last behind. */
  readonly #issued = new Map<string, Issued>();
  /** How many of them stand at each place. */
  readonly #places = new Map<number, number>();
  #lastSequence = 0;
  #tidiedAtMs = 0;

  constructor(ports: IssuedPorts) {
    this.#ports = ports;
  }

  /** Where the receipt stands that was issued last, as far as the stream has not lost it. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  get size(): number {
    return this.#issued.size;
  }

  note(sequence: number, notes: readonly LeafNote[]): void {
    const atMs = this.#ports.clock.monotonicMs();
    this.#lastSequence = Math.max(sequence, this.#lastSequence);
    for (const note of notes) {
      this.#drop(note.hash);
      this.#issued.set(note.hash, { note, sequence, atMs });
      this.#places.set(sequence, (this.#places.get(sequence) ?? 0) + 1);
    }
    if (atMs - this.#tidiedAtMs >= tidyMs) this.#tidy(atMs);
    for (const hash of this.#issued.keys()) {
      if (this.#issued.size <= issuedMax) break;
      this.#drop(hash);
    }
  }

  /** Whether a receipt stands there, as far as is known. */
  isTaken(sequence: number): boolean {
    return this.#places.has(sequence);
  }

  /** The stream has none of these places any more, or others in them; what stood there is forgotten here. */
  takeFrom(first: number, last = Infinity): LeafNote[] {
    const taken = this.#take(({ sequence }) => sequence >= first && sequence <= last);
    if (last >= this.#lastSequence) this.#lastSequence = Math.min(this.#lastSequence, first - 1);
    return taken;
  }

  /** Places of the receipts that are remembered, in rising order. */
  places(): number[] {
    return [...this.#places.keys()].toSorted((one, other) => one - other);
  }

  #tidy(nowMs: number): void {
    this.#tidiedAtMs = nowMs;
    this.#take(({ note, atMs }) => nowMs - atMs > keptMs && !this.#ports.isOpen(note));
  }

  #take(isTaken: (issued: Issued) => boolean): LeafNote[] {
    const taken: LeafNote[] = [];
    for (const [hash, issued] of this.#issued) {
      if (!isTaken(issued)) continue;
      this.#drop(hash);
      taken.push(issued.note);
    }
    return taken;
  }

  #drop(hash: string): void {
    const issued = this.#issued.get(hash);
    if (issued === undefined) return;
    this.#issued.delete(hash);
    const others = (this.#places.get(issued.sequence) ?? 0) - 1;
    if (others > 0) this.#places.set(issued.sequence, others);
    else this.#places.delete(issued.sequence);
  }
}
