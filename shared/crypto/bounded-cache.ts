/** A cache with a fixed number of entries; the one that was not asked for the longest goes first. */
import { invariant } from './errors.ts';

export class BoundedCache<Value> {
  readonly #entries = new Map<string, Value>();
  readonly #entriesMax: number;

  constructor(entriesMax: number) {
    invariant(Number.isInteger(entriesMax) && entriesMax >= 1, 'a cache of at least one entry');
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of `key`, made by `make` where it is missing. What `make` throws is not kept. */
  get(key: string, make: () => Value): Value {
    const found = this.#entries.get(key);
    const value = found ?? make();
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size > this.#entriesMax) {
      const oldest = this.#entries.keys().next();
      if (oldest.done === false) this.#entries.delete(oldest.value);
    }
    return value;
  }
}
