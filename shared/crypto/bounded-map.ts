/** A map with a fixed number of entries; the oldest goes first where there is no room. */

import { invariant } from './errors.ts';

export class BoundedMap<Value> {
  readonly #entries = new Map<string, Value>();
  readonly #entriesMax: number;

  constructor(entriesMax: number) {
    invariant(Number.isInteger(entriesMax) && entriesMax >= 1, 'a map of at least one entry');
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): Value | undefined {
    return this.#entries.get(name);
  }

  set(name: string, value: Value): void {
    this.#entries.set(name, value);
    if (this.#entries.size <= this.#entriesMax) return;
    const oldest = this.#entries.keys().next();
    if (oldest.done === false) this.#entries.delete(oldest.value);
  }
}
