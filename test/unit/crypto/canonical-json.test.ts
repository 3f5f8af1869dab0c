/** Canonical JSON (RFC 8785): the sorted form, and the refusal of what JSON would silently change. */
import canonicalize from 'canonicalize';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson, isJson, jsonBytesMax } from '#shared/crypto/canonical-json.ts';

const text = (value: unknown) => new TextDecoder().decode(canonicalJson(value));
const refuses = expect.objectContaining({ code: 'NOT_ENCODABLE' });

describe('canonicalJson', () => {
  test('sorts by UTF-16 code units, as RFC 8785 section 3.2.3 shows', () => {
    const value = {
      '\u20ac': 1,
      '\r': 2,
      '\ufb33': 3,
      '1': 4,
      '\ud83d\ude00': 5,
      '\u0080': 6,
      '\u00f6': 7,
    };
    expect(Object.values(JSON.parse(text(value)) as object)).toHaveLength(7);
    expect(text(value)).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}',
    );
  });

  test('writes numbers and strings in one way', () => {
    expect(text([333333333.3333333, 4.5, 0.002, 1e-27, -0, 1e3])).toBe(
      '[333333333.3333333,4.5,0.002,1e-27,0,1000]',
    );
    expect(text('\u20ac$\u000f\nA\'B"\\\\"/')).toBe('"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"');
  });

  test('does not depend on the order in memory, and parses back', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 5 }).filter((value) => isJson(value)),
        (value) => {
          const shuffled: unknown = JSON.parse(JSON.stringify(value), (_key, item: unknown) =>
            item !== null && typeof item === 'object' && !Array.isArray(item)
              ? Object.fromEntries(Object.entries(item).toReversed())
              : item,
          );
          expect(text(shuffled)).toBe(text(value));
          expect(text(JSON.parse(text(value)))).toBe(text(value));
        },
      ),
    );
  });

  test('writes what the package canonicalize writes', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }).filter((value) => isJson(value)),
        (value) => {
          expect(text(value)).toBe(canonicalize(value));
        },
      ),
      { numRuns: 500 },
    );
  });

  const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);
  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['undefined in an object', { a: undefined }],
    ['a hole', new Array(1)],
    ['a function', { a: () => 1 }],
    ['a Date, which has toJSON', new Date(0)],
    ['bytes', new Uint8Array(1)],
    ['NaN', Number.NaN],
    ['an unsafe integer', 2 ** 53],
    ['a bigint', 1n],
    ['a lone surrogate', '\udfff'],
    ['__proto__', JSON.parse('{"__proto__":1}')],
    ['33 levels', deep(33)],
    ['more than a mebibyte', 'x'.repeat(jsonBytesMax)],
  ])('refuses %s', (_name, value) => {
    expect(() => canonicalJson(value)).toThrow(refuses);
  });

  test('takes 32 levels', () => {
    expect(text(deep(32))).toBe(`${'['.repeat(32)}1${']'.repeat(32)}`);
  });
});
