/** The accumulated test of ML-DSA-87 over 10,000 keys: minutes, so `make vectors-long` runs it. */
import { expect, test } from 'vitest';
import { accumulate, accumulatedDigests } from './accumulated-ml-dsa.ts';

test('accumulated ML-DSA-87, 10,000 iterations: noble makes, native verifies', () => {
  expect(accumulate(10_000)).toEqual({ digest: accumulatedDigests[10_000], verified: 10_000 });
});
