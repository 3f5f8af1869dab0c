/** Stores of versions that did not keep writers apart: refused at the start, not misread. */
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { DataKeyStore } from '#agents/layers/4-encryption/data-key-store.ts';
import type { Database, Row } from '#agents/layers/5-database/database.ts';
import { prepareSchema } from '#agents/layers/5-database/schema.ts';

test('data keys that name no layer', () => {
  const database = new DatabaseSync(':memory:');
  const store = new DataKeyStore(database);
  const bytes = new Uint8Array(32);
  const key = { kekVersion: 1, capsule: bytes, wrapped: bytes, place: bytes, salt: undefined };
  store.add({ owner: 'layer:5', objectId: 'column-key/1', ...key }, 0);
  expect(new DataKeyStore(database).count()).toBe(1);
  store.add({ owner: '', objectId: 'column-key/1', ...key }, 0);
  expect(() => new DataKeyStore(database)).toThrow(
    expect.objectContaining({ code: 'STORE_FAILED', retryable: false }),
  );
});

test('records whose signatures name no namespace', async () => {
  const scripts: string[] = [];
  const databaseOf = (version: number): Pick<Database, 'transactAsOwner'> => ({
    transactAsOwner: (work) =>
      work({
        rows: async (text): Promise<Row[]> =>
          text.startsWith('SELECT version FROM gyre.migrations') ? [{ version }] : [],
        script: async (text) => void scripts.push(text),
      }),
  });
  for (const version of [1, 3]) {
    await expect(prepareSchema(databaseOf(version))).rejects.toMatchObject({
      code: 'STORE_FAILED',
      message: expect.stringContaining(version === 1 ? 'earlier' : 'newer'),
    });
  }
  expect(scripts.join()).not.toContain('CREATE TABLE gyre.entries');
});
