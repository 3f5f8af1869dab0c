import { expect, test } from 'vitest';
import { checksText, findingText, noTotals, totalsText } from '../../sim/results.ts';

test('checks are by number, and those without any are named', () => {
  const all = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [index + 1, index + 2]));
  expect(checksText(all)).toMatch(/^1: 2, 2: 3, .*9: 10, 10: 11, .*15: 16$/);
  expect(checksText({ ...all, 7: 0, 14: 0 })).toMatch(/6: 7, 8: 9, .*; none of 7, 14$/);
});

test('a finding names its agent where it has one', () => {
  expect(findingText({ invariant: 5, agent: 'a', what: 'b' })).toBe('invariant 5, a: b');
  expect(findingText({ invariant: 5, agent: '', what: 'b' })).toBe('invariant 5: b');
});

test('nothing that happened is named as such', () => {
  expect(totalsText(noTotals())).toMatch(/\nfaults +none\nrotations +none\n/);
});
