/** One-time passwords by the vectors of RFC 6238, and what guessing them leads to. */
import { expect, test } from 'vitest';
import { totpCode, totpStep, totpStepOf } from '#agents/layers/1-identity/totp.ts';
import { failuresPerLock, freshFactor, judgeFactor } from '#shared/core/second-factor.ts';
import { utf8 } from '#shared/crypto/bytes.ts';

const secret = utf8('1234567890123456789012345678901234567890123456789012345678901234');

// RFC 6238 appendix B, SHA-512.
test.each([
  [59, '90693936'],
  [1_111_111_109, '25091201'],
  [1_111_111_111, '99943326'],
  [1_234_567_890, '93441116'],
  [2_000_000_000, '38618901'],
  [20_000_000_000, '47863826'],
])('the code of second %i', (second, code) => {
  expect(totpCode(secret, totpStep(second * 1_000))).toBe(code);
});

test('a code is good in its step and in the ones beside it', () => {
  const step = 1_000;
  const code = totpCode(secret, step);
  const found = [-2, -1, 0, 1, 2].map((skew) => totpStepOf(secret, code, (step + skew) * 30_000));
  expect(found).toEqual([undefined, step, step, step, undefined]);
  expect(totpStepOf(secret, '00000000', step * 30_000)).toBe(undefined);
  expect(totpStepOf(secret, code.slice(1), step * 30_000)).toBe(undefined);
});

test('a code is taken once, and none of an earlier step after it', () => {
  const first = judgeFactor(freshFactor, { nowMs: 0, step: 7 });
  expect(first).toEqual({
    outcome: 'accepted',
    state: { lastStep: 7, failures: 0, lockedUntilMs: 0 },
  });
  for (const step of [7, 6]) {
    expect(judgeFactor(first.state, { nowMs: 0, step }).outcome).toBe('wrong');
  }
  expect(judgeFactor(first.state, { nowMs: 0, step: 8 }).outcome).toBe('accepted');
});

test('guessing is stopped, each time for longer, and a right code ends it', () => {
  let state = freshFactor;
  let nowMs = 0;
  const locks: number[] = [];
  for (let tries = 0; tries < 10 * failuresPerLock; tries += 1) {
    nowMs = Math.max(nowMs, state.lockedUntilMs);
    ({ state } = judgeFactor(state, { nowMs, step: undefined }));
    if (state.lockedUntilMs > nowMs) locks.push((state.lockedUntilMs - nowMs) / 60_000);
  }
  expect(locks).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
  const locked = judgeFactor(state, { nowMs: state.lockedUntilMs - 1, step: 99 });
  expect(locked).toEqual({ outcome: 'locked', state });
  const after = judgeFactor(state, { nowMs: state.lockedUntilMs, step: 99 });
  expect(after).toEqual({
    outcome: 'accepted',
    state: { lastStep: 99, failures: 0, lockedUntilMs: 0 },
  });
});
