/** What signer and token child accept from each other: exact fields, bounded sizes, nothing else. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { isReply, isRequest } from '#shared/runtime/token/child-messages.ts';
import type { Reply, Request } from '#shared/runtime/token/child-messages.ts';

const names = { libraryPath: '/lib/p11.so', label: 'gyre', pin: Buffer.from('1234') };
const key = { name: 'kek-1', id: new Uint8Array(32) };
const requests: Request[] = [
  { id: 1, op: 'open', directory: '/keys', ...names },
  { id: 1, op: 'open-keys', ...names },
  { id: 1, op: 'initialise', soPin: Buffer.from('5678'), wrappingKey: true, ...names },
  { id: 1, op: 'prepare', ...names },
  { id: 1, op: 'generate', keyName: 'audit' },
  { id: 1, op: 'public-key', keyName: 'audit' },
  { id: 1, op: 'sign', keyName: 'audit', message: new Uint8Array(9), context: new Uint8Array(3) },
  { id: 1, op: 'wrap', bytes: new Uint8Array(32), purpose: new Uint8Array(9) },
  { id: 1, op: 'unwrap', wrapped: new Uint8Array(72), purpose: new Uint8Array(9) },
  { id: 1, op: 'make-key', keyName: 'kek-1' },
  { id: 1, op: 'key-wrap', key, bytes: new Uint8Array(32), purpose: new Uint8Array(9) },
  { id: 1, op: 'key-unwrap', key, wrapped: new Uint8Array(72), purpose: new Uint8Array(9) },
  { id: 1, op: 'destroy-key', keyName: 'kek-1' },
  { id: 1, op: 'close' },
];
const replies: Reply[] = [
  { id: 1, outcome: 'opened', info: { manufacturer: 'm', model: 'm', hardware: false } },
  { id: 1, outcome: 'provisioned', changed: true },
  { id: 1, outcome: 'public-key', publicKey: new Uint8Array(2592) },
  { id: 1, outcome: 'signature', signature: new Uint8Array(4627) },
  { id: 1, outcome: 'wrapped', wrapped: new Uint8Array(72) },
  { id: 1, outcome: 'unwrapped', bytes: new Uint8Array(32) },
  { id: 1, outcome: 'key', keyId: new Uint8Array(32) },
  { id: 1, outcome: 'destroyed' },
  { id: 1, outcome: 'closed' },
  { id: 1, outcome: 'failed', code: 'KEY_UNKNOWN', detail: 'no such key' },
];
const cases: [string, (value: unknown) => boolean, object][] = [
  ...requests.map((request): [string, typeof isRequest, object] => [
    request.op,
    isRequest,
    request,
  ]),
  ...replies.map((reply): [string, typeof isReply, object] => [reply.outcome, isReply, reply]),
];

describe.each(cases)('%s', (_name, check, whole) => {
  test('is accepted whole', () => {
    expect(check(whole)).toBe(true);
  });

  test('is refused without one field, with one more, or with another type in one', () => {
    for (const field of Object.keys(whole)) {
      const without = Object.fromEntries(Object.entries(whole).filter(([name]) => name !== field));
      expect(check(without), field).toBe(false);
      for (const wrong of [null, undefined, [], Symbol('x'), -1]) {
        expect(check({ ...whole, [field]: wrong }), field).toBe(false);
      }
    }
    expect(check({ ...whole, extra: 1 })).toBe(false);
  });
});

test.each([
  { id: 1, op: 'generate', keyName: '../audit' },
  { id: 1, op: 'public-key', keyName: 'x'.repeat(65) },
  {
    id: 1,
    op: 'sign',
    keyName: 'a',
    message: new Uint8Array(1_048_577),
    context: new Uint8Array(),
  },
  { id: 1, op: 'sign', keyName: 'a', message: new Uint8Array(1), context: new Uint8Array(256) },
  { id: 1, op: 'wrap', bytes: new Uint8Array(65_537), purpose: new Uint8Array(1) },
  { id: 1, op: 'unwrap', wrapped: new Uint8Array(65_577), purpose: new Uint8Array(1) },
  { id: 1, op: 'wrap', bytes: new Uint8Array(1), purpose: new Uint8Array(513) },
  { id: 1, op: 'prepare', ...names, label: 'x'.repeat(33) },
  { id: 1, op: 'prepare', ...names, pin: new Uint8Array(256) },
  { id: 1.5, op: 'close' },
  { id: 1, op: 'toString' },
  { id: 1, op: '__proto__' },
])('refuses the request %#', (request) => {
  expect(isRequest(request)).toBe(false);
});

test.each([
  { id: 1, outcome: 'signature', signature: new Uint8Array(4626) },
  { id: 1, outcome: 'public-key', publicKey: new Uint8Array(2591) },
  { id: 1, outcome: 'unwrapped', bytes: new Uint8Array(65_537) },
  { id: 1, outcome: 'failed', code: 'NO_SUCH_CODE', detail: '' },
  { id: 1, outcome: 'failed', code: 'KEY_UNKNOWN', detail: 'x'.repeat(501) },
  { id: 1, outcome: 'opened', info: { manufacturer: 'm', model: 'x'.repeat(33), hardware: true } },
  { id: 1, outcome: 'constructor' },
])('refuses the reply %#', (reply) => {
  expect(isReply(reply)).toBe(false);
});

test('refuses anything else without throwing', () => {
  const property = fc.property(fc.anything(), (value) => !isRequest(value) && !isReply(value));
  expect(() => fc.assert(property, { numRuns: 500 })).not.toThrow();
});
