/** Which requests are one and the same: those of one key, equal to the byte. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { givenRequestId, requestIdOf } from '#agents/layers/service/repeated-request.ts';
import { crypto } from '../../support/world.ts';

test('ids are equal where key, method, path and body are, and only there', () => {
  const text = fc.constantFrom('', 'a', 'b', 'ab');
  const request = fc.record({ key: text, method: text, path: text, body: text });
  const idOf = ({ body, ...rest }: { key: string; method: string; path: string; body: string }) =>
    requestIdOf(crypto, { ...rest, body: Buffer.from(body) });
  fc.assert(
    fc.property(request, request, (one, other) => {
      const isSame = JSON.stringify(Object.values(one)) === JSON.stringify(Object.values(other));
      expect(idOf(one) === idOf(other)).toBe(isSame);
      expect(givenRequestId(idOf(one))).toBe(idOf(one));
    }),
  );
});

test('what is no id is taken for none', () => {
  for (const header of [undefined, '', 'a b', 'x'.repeat(65), 'a, b']) {
    expect(givenRequestId(header)).toBeUndefined();
  }
});
