/** Virtual time: order, settling of promises and immediates, bounds; lives, their clocks, the trace. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SimulatedCrash } from '../../sim/model.ts';
import { EndlessWorld, SimulatedTime, worldBeginsMs } from '../../sim/time.ts';

describe('time', () => {
  test('passes from event to event, in order of time and then of asking', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ delayMs: fc.nat(20), isCancelled: fc.boolean() }), { maxLength: 600 }),
        async (asked) => {
          const time = new SimulatedTime();
          const met: [number, number][] = [];
          const timers = asked.map(({ delayMs }, index) =>
            time.after(delayMs, () => met.push([time.monotonicMs(), index])),
          );
          asked.forEach(({ isCancelled }, index) => {
            if (isCancelled) timers[index]?.cancel();
          });
          expect(await time.run(50)).toBe(false);
          const expected = asked
            .map(({ delayMs, isCancelled }, index) => ({ delayMs, isCancelled, index }))
            .filter(({ isCancelled }) => !isCancelled)
            .toSorted((left, right) => left.delayMs - right.delayMs || left.index - right.index);
          expect(met).toEqual(expected.map(({ delayMs, index }) => [delayMs, index]));
          expect([time.monotonicMs(), time.nowMs()]).toEqual([50, worldBeginsMs + 50]);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('begins on one date, and stops at what it is told to', async () => {
    const time = new SimulatedTime();
    expect(new Date(time.nowMs()).toISOString()).toBe('2026-01-01T00:00:00.000Z');
    const met: number[] = [];
    for (const delayMs of [10, 20, 30]) time.after(delayMs, () => met.push(delayMs));
    expect(await time.run(15)).toBe(false);
    expect([met, time.monotonicMs()]).toEqual([[10], 15]);
    expect(await time.run(100, () => met.includes(20))).toBe(true);
    expect([met, time.monotonicMs()]).toEqual([[10, 20], 20]);
    expect(await time.run(100, () => true)).toBe(true);
    expect([met, time.monotonicMs()]).toEqual([[10, 20], 20]);
  });

  test('waits for every promise and every immediate before it goes on', async () => {
    const time = new SimulatedTime();
    const met: string[] = [];
    const slow = async (name: string): Promise<void> => {
      for (let count = 0; count < 100; count += 1) await Promise.resolve();
      for (let turn = 0; turn < 50; turn += 1) await nextTurn();
      await new Promise<void>((resolve) => setImmediate(resolve));
      for (let count = 0; count < 100; count += 1) await Promise.resolve();
      met.push(`${name} at ${time.monotonicMs()}`);
    };
    void slow('before');
    for (const delayMs of [0, 0, 1, 2]) time.after(delayMs, () => void slow(`${delayMs}`));
    await time.run(10);
    expect(met).toEqual(['before at 0', '0 at 0', '0 at 0', '1 at 1', '2 at 2']);
    void slow('after');
    await time.settle();
    expect(met.at(-1)).toBe('after at 10');
  });

  test('what an event asks for at the same instant comes behind what is due already', async () => {
    const time = new SimulatedTime();
    const met: string[] = [];
    time.after(1, () => {
      met.push('first');
      time.after(0, () => met.push('third'));
      time.after(-5, () => met.push('fourth'));
    });
    time.after(1, () => met.push('second'));
    await time.run(1);
    expect(met).toEqual(['first', 'second', 'third', 'fourth']);
  });

  test('cancelling late, twice, or by the thousand does no harm', async () => {
    const time = new SimulatedTime();
    let met = 0;
    const timer = time.after(1, () => (met += 1));
    await time.run(2);
    timer.cancel();
    for (let count = 0; count < 2000; count += 1) {
      const cancelled = time.after(count, () => (met += 1000));
      if (count % 10 === 0) time.after(count, () => (met += 1));
      cancelled.cancel();
      cancelled.cancel();
    }
    await time.run(5000);
    expect(met).toBe(201);
  });

  test('a loop at one instant ends with an error that says what was due', async () => {
    const time = new SimulatedTime({ eventsAtOnceMax: 100 });
    const again = (): void => void time.after(0, again, () => 'the ever returning one');
    time.after(5, again);
    const run = time.run(10);
    await expect(run).rejects.toBeInstanceOf(EndlessWorld);
    await expect(run).rejects.toThrow('at 5 ms; due are 1 × the ever returning one');
  });

  test('a world that never comes to rest ends too', async () => {
    const time = new SimulatedTime({ eventsMax: 1000 });
    const again = (): void => void time.after(1, again);
    again();
    await expect(time.run(1e9)).rejects.toThrow(EndlessWorld);
  });

  test('what an event throws comes out, but for the end of a process', async () => {
    const time = new SimulatedTime();
    let isReached = false;
    time.after(1, () => {
      throw new SimulatedCrash('dead');
    });
    time.after(2, () => (isReached = true));
    time.after(3, () => {
      throw new RangeError('a fault');
    });
    await expect(time.run(10)).rejects.toThrow(new RangeError('a fault'));
    expect(isReached).toBe(true);
    expect(await time.run(10)).toBe(false);
  });

  test('runs once at a time', async () => {
    const time = new SimulatedTime();
    const first = time.run(10);
    await expect(time.run(10)).rejects.toThrow('running');
    await expect(time.settle()).rejects.toThrow('running');
    await first;
  });
});
