/** How results are written, and how the parts of a rotation's steps add up. */
import { expect, test } from 'vitest';
import { summarise } from '../../../bench/measure.ts';
import { ticksOf } from '../../../bench/processor-time.ts';
import { ratioNote, rowsText } from '../../../bench/report.ts';
import { partSummaries } from '../../../bench/timeline-parts.ts';

test('rows stand under each other, figures to the right', () => {
  const rows = [
    { group: 'g', name: 'short', summary: summarise([1, 2, 3]) },
    { group: 'g', name: 'a longer name', summary: summarise([1500]), note: 'noted' },
  ];
  expect(rowsText(rows).split('\n')).toEqual([
    '               runs      min   median      p99      max',
    'short             3  1.00 ms  2.00 ms  3.00 ms  3.00 ms',
    'a longer name     1   1.50 s   1.50 s   1.50 s   1.50 s  noted',
  ]);
});

test('a ratio compares medians', () => {
  expect(ratioNote(summarise([3, 3, 90]), summarise([2]), 'sign')).toBe('1.50 × sign');
});

test('parts of steps are summed up for the operations asked for', () => {
  const step = (operation: 'activate' | 'prepare', effectMs: number) => ({
    operation,
    heldMs: 1,
    deliveryMs: 2,
    effectMs,
    returnMs: 4,
  });
  const steps = [step('activate', 10), step('activate', 30), step('prepare', 500)];
  const parts = partSummaries(steps, ['activate', 'verify']);
  expect(parts?.effectMs).toMatchObject({ runs: 2, medianMs: 10, maxMs: 30 });
  expect(parts?.returnMs).toMatchObject({ runs: 2, medianMs: 4 });
  expect(partSummaries(steps, ['retire'])).toBeUndefined();
});

test('processor time is read behind the name, which may hold anything', () => {
  const stat = '4711 (odd) name 1 2) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20';
  expect(ticksOf(stat)).toBe(154);
  expect(() => ticksOf('4711 (gone')).toThrow(RangeError);
});
