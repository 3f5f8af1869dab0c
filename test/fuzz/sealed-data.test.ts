/** Sealed objects and cells as somebody else may have left them: what was not sealed so does not open. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openCell, sealCell } from '#agents/layers/5-database/cells.ts';
import { openObject, sealObject } from '#agents/layers/service/sealed-object.ts';
import { concat } from '#shared/crypto/bytes.ts';
import { crypto } from '../support/world.ts';
import { anyBytes, mutated } from './inputs.ts';
import { timeoutMs, tries } from './runs.ts';

const key = new Uint8Array(32).fill(7);

describe('sealed data', { timeout: timeoutMs }, () => {
  test('objects', () => {
    const context = new Uint8Array([1, 2]);
    const plaintext = new Uint8Array([1, 2, 3]);
    const { sealed } = sealObject(crypto, key, { plaintext, context });
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated([sealed])), (bytes) => {
        const opened = openObject(crypto, key, { sealed: bytes, context });
        if (opened !== undefined) expect(Buffer.compare(bytes, sealed)).toBe(0);
      }),
      tries(500),
    );
    expect(openObject(crypto, key, { sealed, context })).toEqual(plaintext);
    expect(openObject(crypto, key, { sealed, context: plaintext })).toBeUndefined();
    expect(openObject(crypto, new Uint8Array(32), { sealed, context })).toBeUndefined();
  });

  test('cells', () => {
    const place = { namespace: 'public', id: 'r', name: 'text', owner: 'ann', version: 1 } as const;
    const blinded = concat(new Uint8Array(32), new Uint8Array([5]));
    const sealed = sealCell(crypto, key, place, blinded);
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated([sealed])), (bytes) => {
        const opened = openCell(crypto, key, place, bytes);
        if (opened !== undefined) expect(Buffer.compare(bytes, sealed)).toBe(0);
      }),
      tries(500),
    );
    expect(openCell(crypto, key, place, sealed)).toEqual(blinded);
    const others = [
      { namespace: 'layer-6' as const },
      { id: 's' },
      { name: 'note' },
      { owner: 'eve' },
      { version: 2 },
    ];
    for (const other of others) {
      expect(openCell(crypto, key, { ...place, ...other }, sealed)).toBeUndefined();
    }
  });
});
