/** Canonical MessagePack: one value has one encoding, and nothing else is decoded. */
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '#shared/crypto/bytes.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import type { CanonicalValue } from '#shared/crypto/canonical-msgpack.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const codeOf = (bytes: Uint8Array, floats = false) => {
  const result = decodeCanonical(bytes, { floats });
  return result.ok ? 'ok' : result.code;
};
const bodies = { floats: true };

const keys = fc
  .string({ unit: 'grapheme', maxLength: 20 })
  .filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key));
const values = fc.letrec<{ value: CanonicalValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger().map((value) => value + 0),
    fc.integer({ min: -40_000, max: 70_000 }),
    fc.double({ noInteger: true, noNaN: true, noDefaultInfinity: true }),
    fc.string({ unit: 'grapheme', maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
})).value;

describe('encode and decode', () => {
  test('give the value back, and the bytes back', () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = encodeCanonical(value, bodies);
        const decoded = decodeCanonical(bytes, bodies);
        expect(decoded).toEqual({ ok: true, value });
        expect(decoded.ok && encodeCanonical(decoded.value, bodies)).toEqual(bytes);
      }),
      { numRuns: 300 },
    );
  });

  test('the order of keys in memory does not matter', () => {
    fc.assert(
      fc.property(fc.dictionary(keys, fc.integer(), { noNullPrototype: true }), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).toReversed());
        expect(encodeCanonical(reversed)).toEqual(encodeCanonical(value));
      }),
    );
  });

  test('any change of one byte gives another value or a refusal, never the same value', () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, mask) => {
        const bytes = encodeCanonical(value, bodies);
        const index = at % bytes.length;
        const changed = decodeCanonical(bytes.with(index, (bytes[index] ?? 0) ^ mask), bodies);
        expect(changed).not.toEqual({ ok: true, value });
      }),
      { numRuns: 300 },
    );
  });

  test('arbitrary bytes never throw, and what is accepted is canonical', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const decoded = decodeCanonical(bytes, bodies);
        expect(decoded.ok ? encodeCanonical(decoded.value, bodies) : bytes).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  test('known bytes', () => {
    const value = { b: [1, -1, 128], a: 'x', c: new Uint8Array([255]), d: null, e: true };
    expect(toHex(encodeCanonical(value))).toBe('85a161a178a1629301ffcc80a163c401ffa164c0a165c3');
    expect(toHex(encodeCanonical(1.5, bodies))).toBe('cb3ff8000000000000');
  });

  test('a Buffer decodes to plain byte arrays', () => {
    const decoded = decodeCanonical(Buffer.from(encodeCanonical({ a: new Uint8Array(3) })));
    expect(decoded).toStrictEqual({ ok: true, value: { a: new Uint8Array(3) } });
  });

  test('a long string that needs three bytes for each character', () => {
    const value = '\u20ac'.repeat(70_000);
    expect(decodeCanonical(encodeCanonical(value))).toEqual({ ok: true, value });
  });
});

describe('decode refuses', () => {
  test.each([
    ['nothing', '', 'LENGTH_REFUSED'],
    ['a second value', '01 02', 'LENGTH_REFUSED'],
    ['a truncated string', 'a3 61 62', 'LENGTH_REFUSED'],
    ['a truncated length', 'dc 00', 'LENGTH_REFUSED'],
    ['an array of four billion', 'dd ff ff ff ff', 'LENGTH_REFUSED'],
    ['a map of four billion', 'df ff ff ff ff', 'LENGTH_REFUSED'],
    ['a binary of four billion', 'c6 ff ff ff ff', 'LENGTH_REFUSED'],
    ['a map without the last value', '81 a1 61', 'LENGTH_REFUSED'],
    ['a timestamp', 'd6 ff 00 00 00 00', 'TYPE_REFUSED'],
    ['an extension', 'c7 01 05 00', 'TYPE_REFUSED'],
    ['a float32', 'ca 3f c0 00 00', 'TYPE_REFUSED'],
    ['the unused byte', 'c1', 'TYPE_REFUSED'],
    ['a number as key', '81 01 02', 'KEY_REFUSED'],
    ['a binary as key', '81 c4 01 61 02', 'KEY_REFUSED'],
    ['__proto__ as key', '81 a9 5f 5f 70 72 6f 74 6f 5f 5f 01', 'KEY_REFUSED'],
    ['constructor as key', '81 ab 63 6f 6e 73 74 72 75 63 74 6f 72 01', 'NOT_CANONICAL'],
    ['keys out of order', '82 a1 62 01 a1 61 01', 'NOT_CANONICAL'],
    ['a key twice', '82 a1 61 01 a1 61 01', 'NOT_CANONICAL'],
    ['a long form of 1', 'cc 01', 'NOT_CANONICAL'],
    ['a signed form of 128', 'd1 00 80', 'NOT_CANONICAL'],
    ['a long form of a string', 'd9 01 61', 'NOT_CANONICAL'],
    ['a long form of an array', 'dc 00 01 01', 'NOT_CANONICAL'],
    ['a long form of a map', 'de 00 00', 'NOT_CANONICAL'],
    ['a long form of a binary', 'c5 00 01 01', 'NOT_CANONICAL'],
    ['an integer as float64', 'cb 3f f0 00 00 00 00 00 00', 'NOT_CANONICAL'],
    ['NaN', 'cb 7f f8 00 00 00 00 00 00', 'NOT_CANONICAL'],
    ['infinity', 'cb 7f f0 00 00 00 00 00 00', 'NOT_CANONICAL'],
    ['minus zero', 'cb 80 00 00 00 00 00 00 00', 'NOT_CANONICAL'],
    ['an integer beyond 2^53', 'cf 00 20 00 00 00 00 00 00', 'NOT_CANONICAL'],
    ['bytes that are no UTF-8', 'a2 c3 28', 'NOT_CANONICAL'],
    ['a lone surrogate', 'a3 ed a0 80', 'NOT_CANONICAL'],
    ['an overlong character', 'a2 c1 81', 'NOT_CANONICAL'],
    ['a byte order mark', 'a4 ef bb bf 61', 'NOT_CANONICAL'],
  ])('%s', (_name, bytes, code) => {
    expect(codeOf(hex(bytes), true)).toBe(code);
  });

  test('a float64 unless floats are allowed', () => {
    const bytes = hex('cb 3f f8 00 00 00 00 00 00');
    expect([codeOf(bytes, true), codeOf(bytes)]).toEqual(['ok', 'NOT_CANONICAL']);
  });

  test('more than 32 levels', () => {
    const nested = (levels: number) => hex(`${'91'.repeat(levels)}01`);
    expect([codeOf(nested(32)), codeOf(nested(33))]).toEqual(['ok', 'TOO_DEEP']);
    expect(codeOf(nested(400_000))).toBe('TOO_DEEP');
    expect(codeOf(hex(`${'81a161'.repeat(33)}01`))).toBe('TOO_DEEP');
  });

  test('headers of large arrays inside each other without allocating them', () => {
    const before = process.memoryUsage().rss;
    const claims = new Uint8Array(500_000);
    for (let at = 0; at + 5 <= claims.length; at += 5) claims.set([0xdd, 0, 6, 0, 0], at);
    expect(codeOf(claims)).toBe('TOO_DEEP');
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
  });
});

describe('encode refuses', () => {
  const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);
  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['undefined in a map', { a: undefined }],
    ['a hole in an array', new Array(2)],
    ['a function', { a: () => 1 }],
    ['a bigint', 1n],
    ['a symbol key', { [Symbol('a')]: 1 }],
    ['a Date', new Date(0)],
    ['a Map', new Map()],
    ['a class instance', new (class Thing {})()],
    ['another typed array', new Uint16Array(1)],
    ['NaN', Number.NaN],
    ['infinity', Number.POSITIVE_INFINITY],
    ['an unsafe integer', 2 ** 53],
    ['a huge integer', 1e300],
    ['a lone surrogate', '\ud800'],
    ['a lone surrogate in a key', { '\ud800': 1 }],
    ['a byte order mark', '\ufeffa'],
    ['__proto__', JSON.parse('{"__proto__":1}')],
    ['constructor', { constructor: 1 }],
    ['33 levels', deep(33)],
  ])('%s', (_name, value) => {
    const refuses = expect.objectContaining({ code: 'NOT_ENCODABLE' });
    expect(() => encodeCanonical(value, bodies)).toThrow(refuses);
  });

  test('a float unless floats are allowed', () => {
    expect(() => encodeCanonical(1.5)).toThrow(expect.objectContaining({ code: 'NOT_ENCODABLE' }));
    expect(encodeCanonical(1.5, bodies)).toEqual(encode(1.5));
    expect(() => encodeCanonical(deep(32))).not.toThrow();
  });
});
