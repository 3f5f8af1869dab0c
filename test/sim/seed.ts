/**
 * Every choice of a simulated world, drawn from one seed: which fault comes when, how long a message
 * takes, which bytes a key is made of. The generator is sfc32 (Doty-Humphrey's PractRand), its 128 bits
 * of state taken from SHA-256 of the seed and of the names of the forks that led here.
 *
 * Invariant: a fork depends on the seed and on its name alone, never on what was drawn before or beside
 * it. So a new draw in one part of a world leaves all the other parts as they were. Two forks of one name
 * of one parent give the same numbers.
 */

import { hash } from 'node:crypto';
import type { Draws } from './model.ts';

const forksDeepMax = 64;

/** Draws of the seed, a whole number of at most 53 bits. */
export function drawsFrom(seed: number): Draws {
  assertWhole(seed, 'a seed');
  return new Sfc32(['seed', String(seed)]);
}

class Sfc32 implements Draws {
  readonly #path: readonly string[];
  #a: number;
  #b: number;
  #c: number;
  #counter: number;

  constructor(path: readonly string[]) {
    if (path.length > forksDeepMax) throw new RangeError(`forks are at most ${forksDeepMax} deep`);
    this.#path = path;
    const state = hash('sha256', JSON.stringify(path), 'buffer');
    this.#a = state.readInt32LE(0);
    this.#b = state.readInt32LE(4);
    this.#c = state.readInt32LE(8);
    this.#counter = state.readInt32LE(12);
  }

  fraction(): number {
    const high = this.#next() >>> 5;
    const low = this.#next() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  between(least: number, most: number): number {
    assertWhole(Math.abs(least), 'the least');
    assertWhole(Math.abs(most), 'the most');
    const count = most - least + 1;
    if (count < 1 || count > 2 ** 53) throw new RangeError(`no number from ${least} to ${most}`);
    return least + Math.floor(this.fraction() * count);
  }

  /** Draws whatever the probability is, so that a changed one changes no other draw. */
  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  /** @throws RangeError where there are none */
  pick<Item>(items: readonly Item[]): Item {
    if (items.length === 0) throw new RangeError('there is nothing to pick from');
    // Within the bounds; an item may well be undefined itself.
    return items[this.between(0, items.length - 1)] as Item;
  }

  /** A new array (Fisher and Yates). */
  shuffled<Item>(items: readonly Item[]): Item[] {
    const mixed = [...items];
    for (let last = mixed.length - 1; last > 0; last -= 1) {
      const at = this.between(0, last);
      const moved = mixed[last] as Item;
      mixed[last] = mixed[at] as Item;
      mixed[at] = moved;
    }
    return mixed;
  }

  bytes(count: number): Uint8Array {
    assertWhole(count, 'a count of bytes');
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count;) {
      for (let word = this.#next(), end = Math.min(at + 4, count); at < end; at += 1, word >>>= 8) {
        bytes[at] = word;
      }
    }
    return bytes;
  }

  fork(name: string): Draws {
    return new Sfc32([...this.#path, name]);
  }

  /** 32 bits, signed. */
  #next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum;
  }
}

function assertWhole(value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${what} is a whole number below 2^53, not ${value}`);
  }
}
