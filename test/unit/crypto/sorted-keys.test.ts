import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sortedKeys } from '#shared/crypto/sorted-keys.ts';

describe('names of fields are sorted', () => {
  test('as the runtime sorts them, few and many', () => {
    const names = fc.array(fc.string({ maxLength: 4 }), { maxLength: 60 });
    fc.assert(
      fc.property(names, (given) => {
        const fields = Object.fromEntries(given.map((name) => [name, 1]));
        expect(sortedKeys(fields)).toEqual(Object.keys(fields).sort());
      }),
    );
  });

  test('by UTF-16 code units, where these differ from code points', () => {
    expect(sortedKeys({ '\ufffd': 1, '\u{10000}': 1 })).toEqual(['\u{10000}', '\ufffd']);
  });
});
