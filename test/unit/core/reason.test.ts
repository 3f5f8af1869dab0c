import { expect, test } from 'vitest';
import { Reason } from '#schemas/saga.ts';
import { compile } from '#schemas/primitives.ts';
import { reasonOf } from '#shared/core/reason.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';

const check = compile(Reason);

test.each([
  ['plain', 'the layer is busy', 'the layer is busy'],
  ['lines', 'one\ntwo', 'one\ntwo'],
  ['control characters', 'one\ttwo\u0000three\u0085', 'one two three '],
  ['half a character', 'x\ud83d', 'x\ufffd'],
  ['too long', 'x'.repeat(600), 'x'.repeat(500)],
  ['cut inside a character', `x${'\u{1F511}'.repeat(400)}`, `x${'\u{1F511}'.repeat(249)}`],
])('%s', (_, text, expected) => {
  const reason = reasonOf(text);
  expect(reason).toBe(expected);
  expect(check.check(reason)).toBe(true);
  expect(encodeCanonical(reason).length).toBeGreaterThan(0);
});
