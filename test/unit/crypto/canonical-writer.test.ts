/** One pass or the library: every value has the same bytes, and what was written leaves nothing behind. */
import { Encoder } from '@msgpack/msgpack';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { canonicalValue } from '../../fuzz/inputs.ts';

function expectSame(value: unknown): void {
  const library = new Encoder({ sortKeys: true, maxDepth: 40 });
  const bytes = encodeCanonical(value, { floats: true });
  expect(Buffer.compare(bytes, library.encode(value))).toBe(0);
}

test('what the library writes', () => {
  fc.assert(
    fc.property(canonicalValue, (value) => expectSame(value)),
    { numRuns: 1_500 },
  );
  expect(encodeCanonical({ b: 1, a: 2 })).toEqual(Uint8Array.of(0x82, 0xa1, 97, 2, 0xa1, 98, 1));
});

test('every number at the edge of a form', () => {
  const edges = [5, 7, 8, 15, 16, 31, 32, 33, 52].map((bits) => 2 ** bits);
  const numbers = [...edges, 0, Number.MAX_SAFE_INTEGER].flatMap((edge) =>
    [-1, 0, 1].flatMap((step) => [edge + step, -edge + step]),
  );
  for (const number of numbers.filter(Number.isSafeInteger)) expectSame([number]);
  expectSame([-0, 1.5, -1e-300, Number.MAX_VALUE / 3e300, Number.MIN_VALUE]);
  expect(numbers.length).toBeGreaterThan(60);
});

test('every length at the edge of a head', () => {
  const lengths = [0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 85, 86, 255, 256, 257, 21_845, 21_846];
  for (const length of [...lengths, 65_535, 65_536, 70_000]) {
    expectSame('x'.repeat(length));
    expectSame(`${'x'.repeat(length)}\u00e9`);
    expectSame('\u20ac'.repeat(length));
    expectSame(new Uint8Array(length).fill(7));
    expectSame(Array.from({ length }, () => 1));
    expectSame(
      Object.fromEntries(Array.from({ length: length % 5_000 }, (_, at) => [`k${at}`, at])),
    );
  }
  expect(lengths).toContain(256);
});

test('keys are in the order of their UTF-16 code units', () => {
  expectSame({ '\u{1f600}': 1, '\uffee': 2, a: 3, A: 4, 10: 5, 9: 6, '': 7 });
  const bytes = encodeCanonical({ '\uffee': 1, '\u{1f600}': 2 });
  expect(bytes[1]).toBe(0xa4);
});

test('a value that is written while another is written', () => {
  const inner = new Uint8Array(100).fill(1);
  const value = {
    a: 'before',
    get b() {
      return encodeCanonical({ inner });
    },
    c: 'behind',
  };
  const expected = { a: 'before', b: encodeCanonical({ inner }), c: 'behind' };
  expect(encodeCanonical(value)).toEqual(encodeCanonical(expected));
});

test('a value that is refused in the middle disturbs no other', () => {
  const refused = { a: 'x'.repeat(40), b: ['\ud800'] };
  expect(() => encodeCanonical(refused)).toThrow(
    expect.objectContaining({ code: 'NOT_ENCODABLE' }),
  );
  expectSame({ a: 1 });
});
