/** The measuring core: ranks, bounds and formats, with a clock that the test turns by hand. */
import { expect, test } from 'vitest';
import { formatMs, measure, measureInTurn, summarise } from '../../../bench/measure.ts';

/** A clock that each call of `work` moves on by the next of `stepsMs`. */
function handClock(stepsMs: readonly number[]) {
  let nowMs = 0;
  let calls = 0;
  return {
    now: () => nowMs,
    work: () => {
      nowMs += stepsMs[calls % stepsMs.length] ?? 0;
      calls += 1;
    },
    calls: () => calls,
  };
}

test('percentiles are samples at the nearest rank', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect(summarise(hundred)).toEqual({ runs: 100, minMs: 1, medianMs: 50, p99Ms: 99, maxMs: 100 });
  expect(summarise([3, 1, 2])).toEqual({ runs: 3, minMs: 1, medianMs: 2, p99Ms: 3, maxMs: 3 });
  expect(summarise([7])).toEqual({ runs: 1, minMs: 7, medianMs: 7, p99Ms: 7, maxMs: 7 });
});

test('numbers are ordered as numbers', () => {
  expect(summarise([10, 9, 100]).medianMs).toBe(10);
});

test('nothing cannot be summarised', () => {
  expect(() => summarise([])).toThrow(RangeError);
});

test('takes as many samples as asked, and none of the warm-up counts', async () => {
  const clock = handClock([50, 50, 1, 2, 3]);
  const summary = await measure(clock.work, { runs: 3, warmupRuns: 2, now: clock.now });
  expect(summary).toEqual({ runs: 3, minMs: 1, medianMs: 2, p99Ms: 3, maxMs: 3 });
  expect(clock.calls()).toBe(5);
});

test('a sample of several calls is their mean', async () => {
  const clock = handClock([1, 3]);
  const summary = await measure(clock.work, { runs: 2, callsPerRun: 2, now: clock.now });
  expect(summary).toMatchObject({ runs: 2, minMs: 2, maxMs: 2 });
});

test('stops at its budget, after at least one sample', async () => {
  const clock = handClock([40]);
  const bounded = await measure(clock.work, { runs: 1000, budgetMs: 100, now: clock.now });
  expect(bounded.runs).toBe(3);
  const slow = handClock([500]);
  const once = await measure(slow.work, { runs: 1000, budgetMs: 100, now: slow.now });
  expect(once).toMatchObject({ runs: 1, maxMs: 500 });
});

test('several calls take turns, and stop at the budget together', async () => {
  const order: string[] = [];
  let nowMs = 0;
  const call = (name: string, stepMs: number) => () => {
    order.push(name);
    nowMs += stepMs;
  };
  const calls = { fast: call('fast', 1), slow: call('slow', 9) };
  const summaries = await measureInTurn(calls, {
    runs: 5,
    warmupRuns: 1,
    budgetMs: 25,
    now: () => nowMs,
  });
  expect(order.slice(0, 4)).toEqual(['fast', 'slow', 'fast', 'slow']);
  expect(summaries.fast).toMatchObject({ runs: 3, medianMs: 1 });
  expect(summaries.slow).toMatchObject({ runs: 3, medianMs: 9 });
});

test('waits for what is asynchronous, and passes on what fails', async () => {
  const clock = handClock([5]);
  const later = async () => {
    await Promise.resolve();
    clock.work();
  };
  expect(await measure(later, { runs: 2, now: clock.now })).toMatchObject({ runs: 2, minMs: 5 });
  const failing = async () => await Promise.reject(new RangeError('broken'));
  await expect(measure(failing, { runs: 2 })).rejects.toThrow(RangeError);
});

test.each([
  [0, '0 ns'],
  [0.00087, '870 ns'],
  [0.0123, '12.3 µs'],
  [0.25, '250 µs'],
  [4.567, '4.57 ms'],
  [45.67, '45.7 ms'],
  [456.7, '457 ms'],
  [1024, '1.02 s'],
  [90_000, '90.0 s'],
])('%s ms is written as %s', (ms, text) => {
  expect(formatMs(ms)).toBe(text);
});
