/** One pass or three: the same inputs are taken, the same values come out, the same is refused. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat } from '#shared/crypto/bytes.ts';
import {
  decodeCanonical,
  decodeInPasses,
  encodeCanonical,
} from '#shared/crypto/canonical-msgpack.ts';
import { readCanonical } from '#shared/crypto/canonical-reader.ts';

function expectSame(bytes: Uint8Array): void {
  for (const floats of [true, false]) {
    const decoded = decodeInPasses(bytes, { floats });
    expect(decodeCanonical(bytes, { floats })).toEqual(decoded);
    const expected = decoded.ok ? { value: decoded.value } : undefined;
    expect(readCanonical(bytes, { floats }), Buffer.from(bytes).toString('hex')).toEqual(expected);
  }
}

const key = fc
  .string({ unit: 'grapheme', maxLength: 6 })
  .filter((text) => !text.startsWith('\ufeff'));
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false, 0, -1, -33, 127, 128, 2 ** 32, -(2 ** 31) - 1),
    fc.maxSafeInteger(),
    fc
      .double({ noNaN: true, noDefaultInfinity: true })
      .filter((number) => !Number.isInteger(number)),
    fc.string({ unit: 'grapheme' }).filter((text) => !text.startsWith('\ufeff')),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(key, tie('value'), { maxKeys: 18 }),
  ),
}));

test('what is canonical', () => {
  fc.assert(
    fc.property(value, (made) => expectSame(encodeCanonical(made, { floats: true }))),
    { numRuns: 400 },
  );
  expect(readCanonical(encodeCanonical({ a: 1 }))).toEqual({ value: { a: 1 } });
});

test('what is canonical, with a byte changed, left out or added', () => {
  fc.assert(
    fc.property(value, fc.nat(), fc.nat(255), (made, place, byte) => {
      const bytes = encodeCanonical(made, { floats: true });
      const at = place % bytes.length;
      expectSame(bytes.with(at, byte));
      expectSame(concat(bytes.subarray(0, at), bytes.subarray(at + 1)));
      expectSame(concat(bytes.subarray(0, at), Uint8Array.of(byte), bytes.subarray(at)));
    }),
    { numRuns: 1_000 },
  );
  expect(readCanonical(Uint8Array.of(0xcc, 1))).toBeUndefined();
});

test('any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => expectSame(bytes)),
    { numRuns: 3_000 },
  );
  expect(readCanonical(new Uint8Array())).toBeUndefined();
});

test('every head with every short rest, and every depth', () => {
  for (let head = 0; head < 256; head += 1) {
    for (const rest of [0, 1, 0x1f, 0x20, 0x7f, 0x80, 0xff]) {
      for (const length of [0, 1, 2, 4, 5, 8, 9]) {
        expectSame(Uint8Array.of(head, ...new Uint8Array(length).fill(rest)));
        expectSame(Uint8Array.of(head, ...new Uint8Array(length), rest));
      }
    }
  }
  for (const depth of [31, 32, 33]) {
    expectSame(Uint8Array.of(...new Uint8Array(depth).fill(0x91), 1));
    expectSame(
      concat(
        ...Array.from({ length: depth }, () => Uint8Array.of(0x81, 0xa1, 0x61)),
        Uint8Array.of(1),
      ),
    );
  }
});

test('keys that reach a prototype, keys out of order, keys twice', () => {
  for (const keys of [
    ['__proto__'],
    ['constructor'],
    ['prototype'],
    ['b', 'a'],
    ['a', 'a'],
    ['\ufeffa'],
  ]) {
    const fields = keys.map((name) => {
      const text = new TextEncoder().encode(name);
      return concat(Uint8Array.of(0xa0 | text.length), text, Uint8Array.of(1));
    });
    const bytes = concat(Uint8Array.of(0x80 | keys.length), ...fields);
    expect(readCanonical(bytes)).toBeUndefined();
    expectSame(bytes);
  }
});
