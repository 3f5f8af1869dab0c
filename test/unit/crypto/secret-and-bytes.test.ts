/** Secrets do not print and can be wiped; byte forms have one text each; the cache is bounded. */
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { BoundedCache } from '#shared/crypto/bounded-cache.ts';
import {
  equalConstantTime,
  fromBase64Url,
  fromHex,
  lengthPrefixed,
  toBase64Url,
  toHex,
  uint64,
  utf8,
} from '#shared/crypto/bytes.ts';
import { Secret, secretOfLength } from '#shared/crypto/secret.ts';

describe('Secret', () => {
  test('prints as [secret] everywhere', () => {
    const secret = new Secret(new Uint8Array([171, 205]));
    const printed = [
      JSON.stringify(secret),
      String(secret),
      [secret, ''].join(''),
      inspect(secret, { showHidden: true }),
      inspect({ deep: { secret } }, { depth: 5 }),
      Object.keys(secret).join(),
    ].join(' ');
    expect(printed).not.toMatch(/171|205|abcd/);
    expect(printed.match(/\[secret\]/g)).toHaveLength(5);
  });

  test('wipe overwrites the bytes and ends the use', () => {
    const bytes = new Uint8Array([1, 2, 3]);
    const secret = new Secret(bytes);
    expect([secret.length, secret.reveal()]).toEqual([3, bytes]);
    secret.wipe();
    secret.wipe();
    expect([bytes, secret.wiped]).toEqual([new Uint8Array(3), true]);
    expect(() => secret.reveal()).toThrow('invariant');
  });

  test('of a length, or refused', () => {
    expect(secretOfLength(new Uint8Array(32), 32).length).toBe(32);
    expect(() => secretOfLength(new Uint8Array(31), 32)).toThrow(
      expect.objectContaining({ code: 'KEY_INVALID' }),
    );
  });
});

describe('bytes', () => {
  test('hexadecimal and base64url come back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(fromHex(toHex(bytes))).toEqual(bytes);
        expect(fromBase64Url(toBase64Url(bytes))).toEqual(bytes);
        expect(toBase64Url(bytes)).toBe(Buffer.from(bytes).toString('base64url'));
      }),
    );
  });

  test.each(['A', 'AAAAA', 'AB', 'AA==', 'A+AA', 'A/AA', 'AA A', 'AAA\n'])(
    'base64url refuses %j',
    (text) => {
      expect(fromBase64Url(text)).toBeUndefined();
    },
  );

  test('a runtime that has no base64url is no fault of the text', () => {
    const decoder = vi.spyOn(Uint8Array, 'fromBase64').mockImplementation(() => {
      throw new TypeError('Uint8Array.fromBase64 is not a function');
    });
    try {
      expect(() => fromBase64Url('AAAA')).toThrow(TypeError);
    } finally {
      decoder.mockRestore();
    }
  });

  test.each(['a', 'AB', 'zz', '0x', 'ab\n'])('hexadecimal refuses %j', (text) => {
    expect(fromHex(text)).toBeUndefined();
  });

  test('two lists of parts never join to the same bytes', () => {
    const parts = fc.array(fc.uint8Array({ maxLength: 4 }), { maxLength: 5 });
    fc.assert(
      fc.property(parts, parts, (left, right) => {
        const same = JSON.stringify(left) === JSON.stringify(right);
        expect(toHex(lengthPrefixed(...left)) === toHex(lengthPrefixed(...right))).toBe(same);
      }),
    );
    const [long, none] = [new Uint8Array(258).fill(7), new Uint8Array(0)];
    expect(toHex(lengthPrefixed(none, long))).toBe(`00000102${'07'.repeat(258)}`);
    expect(() => lengthPrefixed(new Uint8Array(65_536))).toThrow('invariant');
  });

  test('numbers, text and comparison', () => {
    expect(toHex(uint64(2 ** 53 - 1))).toBe('001fffffffffffff');
    expect(toHex(uint64(0))).toBe('0000000000000000');
    expect(toHex(uint64(0x01_0203_0405))).toBe('0000000102030405');
    expect(() => uint64(-1)).toThrow('invariant');
    expect(() => utf8('\ud800')).toThrow('invariant');
    expect(equalConstantTime(utf8('ab'), utf8('ab'))).toBe(true);
    expect(equalConstantTime(utf8('ab'), utf8('ac'))).toBe(false);
    expect(equalConstantTime(utf8('ab'), utf8('abc'))).toBe(false);
  });
});

test('the cache keeps what was asked for last', () => {
  const cache = new BoundedCache<number>(2);
  let made = 0;
  const get = (key: string) => cache.get(key, () => (made += 1));
  expect([get('a'), get('b'), get('a'), get('c'), get('a'), get('b')]).toEqual([1, 2, 1, 3, 1, 4]);
  expect(cache.size).toBe(2);
  expect(() =>
    cache.get('d', () => {
      throw new Error('no value');
    }),
  ).toThrow('no value');
  expect(cache.size).toBe(2);
});
