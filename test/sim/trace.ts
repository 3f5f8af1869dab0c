/**
 * What happened in a world, line by line, and one hash over all of it: two runs of one seed are the same
 * when their hashes are. The hash is SHA-256 of the lines, taken in batches. The last lines are kept for
 * the report of a failure; all of them can be printed.
 */

import { createHash } from 'node:crypto';
import type { Trace, WorldTime } from './model.ts';

export interface TraceOptions {
  readonly time: Pick<WorldTime, 'monotonicMs'>;
  /** Gets every line, without its end. */
  readonly print?: (line: string) => void;
  /** Lines kept for a report; 400 unless told. */
  readonly linesKeptMax?: number;
}

const batchCharacters = 1 << 16;
/** What needs no quotes to be told from its neighbours. */
const plain = /^[^\s="]+$/;

export class WorldTrace implements Trace {
  readonly #time: Pick<WorldTime, 'monotonicMs'>;
  readonly #print: ((line: string) => void) | undefined;
  readonly #linesKeptMax: number;
  readonly #hash = createHash('sha256');
  readonly #kept: string[] = [];
  #batch = '';
  #lines = 0;

  constructor({ time, print, linesKeptMax = 400 }: TraceOptions) {
    this.#time = time;
    this.#print = print;
    this.#linesKeptMax = linesKeptMax;
  }

  /** How many were noted. */
  get lines(): number {
    return this.#lines;
  }

  note(what: string, fields: Readonly<Record<string, string | number | boolean>>): void {
    let line = `${timeOf(this.#time.monotonicMs())} ${what}`;
    for (const name in fields) {
      const value = fields[name];
      if (value === undefined) continue;
      const text = typeof value === 'string' && !plain.test(value) ? JSON.stringify(value) : value;
      line += ` ${name}=${text}`;
    }
    if (this.#linesKeptMax > 0) this.#kept[this.#lines % this.#linesKeptMax] = line;
    this.#lines += 1;
    this.#print?.(line);
    this.#batch += `${line}\n`;
    if (this.#batch.length >= batchCharacters) this.#take();
  }

  /** Of everything until now: 64 hexadecimal digits. */
  digest(): string {
    this.#take();
    return this.#hash.copy().digest('hex');
  }

  /** The last lines, oldest first. */
  last(count = this.#linesKeptMax): string[] {
    const from = this.#lines % this.#linesKeptMax;
    const isFull = this.#lines > this.#linesKeptMax;
    const lines = isFull ? [...this.#kept.slice(from), ...this.#kept.slice(0, from)] : this.#kept;
    return lines.slice(Math.max(0, lines.length - count));
  }

  #take(): void {
    if (this.#batch === '') return;
    this.#hash.update(this.#batch);
    this.#batch = '';
  }
}

/** Milliseconds, to a thousandth. */
function timeOf(monotonicMs: number): string {
  return String(Math.round(monotonicMs * 1000) / 1000).padStart(9);
}
