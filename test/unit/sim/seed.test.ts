/** What a simulated world draws: the same from the same seed, forks that do not disturb each other. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '#shared/crypto/bytes.ts';
import type { Draws } from '../../sim/model.ts';
import { drawsFrom } from '../../sim/seed.ts';

const numbers = (draws: Draws, count = 20) =>
  Array.from({ length: count }, () => draws.between(0, 2 ** 53 - 1));

const seeds = fc.maxSafeNat();

describe('draws', () => {
  test('of one seed are the same, of two are not', () => {
    fc.assert(
      fc.property(seeds, seeds, (left, right) => {
        const drawn = numbers(drawsFrom(left));
        expect(numbers(drawsFrom(left))).toEqual(drawn);
        if (left !== right) expect(numbers(drawsFrom(right))).not.toEqual(drawn);
      }),
      { numRuns: 50 },
    );
  });

  test('stay within their ranges, both ends included', () => {
    const draws = drawsFrom(1);
    const met = new Set(Array.from({ length: 1000 }, () => draws.between(-2, 3)));
    expect([...met].toSorted((left, right) => left - right)).toEqual([-2, -1, 0, 1, 2, 3]);
    expect(draws.between(7, 7)).toBe(7);
    for (let count = 0; count < 1000; count += 1) {
      const fraction = draws.fraction();
      expect(fraction >= 0 && fraction < 1).toBe(true);
    }
    expect(() => draws.between(2, 1)).toThrow(RangeError);
    expect(() => draws.between(0.5, 1)).toThrow(RangeError);
    expect(() => drawsFrom(2 ** 53)).toThrow(RangeError);
    expect(() => drawsFrom(-1)).toThrow(RangeError);
  });

  test('are spread evenly', () => {
    const draws = drawsFrom(2);
    const counts = Array.from({ length: 16 }, () => 0);
    for (let count = 0; count < 16_000; count += 1) {
      const at = draws.between(0, 15);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    // Four standard deviations are 122.
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  test('chance is never at 0, always at 1, and draws once whatever it is', () => {
    const [left, right] = [drawsFrom(3), drawsFrom(3)];
    for (let count = 0; count < 100; count += 1) {
      expect([left.chance(0), right.chance(1)]).toEqual([false, true]);
    }
    expect(left.fraction()).toBe(right.fraction());
  });

  test('pick takes one of them, shuffled all of them', () => {
    fc.assert(
      fc.property(seeds, fc.array(fc.nat(9), { minLength: 1 }), (seed, items) => {
        const draws = drawsFrom(seed);
        const before = [...items];
        expect(items).toContain(draws.pick(items));
        const sorted = (list: readonly number[]) => list.toSorted((left, right) => left - right);
        expect(sorted(draws.shuffled(items))).toEqual(sorted(items));
        expect(items).toEqual(before);
      }),
      { numRuns: 50 },
    );
    expect(() => drawsFrom(1).pick([])).toThrow(RangeError);
    const orders = new Set(
      Array.from({ length: 200 }, (_, seed) => drawsFrom(seed).shuffled([1, 2, 3]).join('')),
    );
    expect(orders.size).toBe(6);
  });

  test('bytes have the length that was asked for and take every value', () => {
    const draws = drawsFrom(4);
    for (const count of [0, 1, 3, 4, 5, 32]) expect(draws.bytes(count)).toHaveLength(count);
    expect(new Set(draws.bytes(10_000)).size).toBe(256);
    expect(toHex(draws.bytes(32))).not.toBe(toHex(draws.bytes(32)));
  });
});

describe('a fork', () => {
  test('depends on the seed and its name, not on what was drawn', () => {
    fc.assert(
      fc.property(seeds, fc.string(), fc.nat(20), (seed, name, count) => {
        const [fresh, used] = [drawsFrom(seed), drawsFrom(seed)];
        numbers(used, count);
        expect(numbers(used.fork(name))).toEqual(numbers(fresh.fork(name)));
      }),
      { numRuns: 50 },
    );
  });

  test('does not disturb its parent, nor one fork another', () => {
    const [parent, other] = [drawsFrom(5), drawsFrom(5)];
    const [left, right] = [parent.fork('left'), parent.fork('right')];
    numbers(left);
    expect(numbers(parent)).toEqual(numbers(other));
    expect(numbers(right)).toEqual(numbers(other.fork('right')));
    expect(numbers(parent.fork('left'))).not.toEqual(numbers(parent.fork('right')));
  });

  test('of a fork is not the fork of a longer name', () => {
    const draws = drawsFrom(6);
    const nested = numbers(draws.fork('a').fork('b'));
    for (const name of ['ab', 'a/b', 'a,b', 'a","b']) {
      expect(numbers(draws.fork(name))).not.toEqual(nested);
    }
  });
});
