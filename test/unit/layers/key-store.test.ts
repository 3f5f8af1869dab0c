/** The embedded key store: what its database refuses, what is gone when it is gone, and its faults. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { openStoreKey } from '#agents/layers/embedded/store-key.ts';
import { openDatabase, transact } from '#agents/layers/sqlite.ts';
import { layerNumbers } from '#schemas/layers.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';

const crypto = createNativeProvider();
const challenge = new TextEncoder().encode('command-1');
const slot = '5/column-key';

let folder: string;
let adapter: EmbeddedAdapter;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-keystore-'));
  adapter = open();
});

afterEach(() => {
  adapter.close();
  rmSync(folder, { recursive: true });
});

describe('the database keeps the rules', () => {
  test('two primary keys in one slot are impossible', async () => {
    await adapter.prepare(slot, 2);
    const other = outsider();
    expect(() => other.exec(`UPDATE versions SET state = 'primary'`)).toThrow(/UNIQUE/);
    other.close();
    expect(adapter.store.primary(slot)?.version).toBe(1);
  });

  test('a row is never deleted, a destroyed key never comes back, and it has no secret', async () => {
    await adapter.prepare(slot, 2);
    await adapter.retire(slot, 2);
    const other = outsider();
    for (const [sql, message] of [
      [`DELETE FROM versions`, /never used again/],
      [
        `UPDATE versions SET state = 'prepared', secret = x'00' WHERE state = 'destroyed'`,
        /does not come back/,
      ],
      [`UPDATE versions SET secret = x'00' WHERE state = 'destroyed'`, /CHECK/],
      [`UPDATE versions SET secret = NULL WHERE state = 'primary'`, /CHECK/],
    ] as const) {
      expect(() => other.exec(sql)).toThrow(message);
    }
    other.close();
  });
});

describe('secrets at rest', () => {
  test('no secret half stands in the files in the open', () => {
    const secrets = adapter.store
      .slots()
      .map((each) => adapter.store.primary(each.slot))
      .filter((each) => each !== undefined)
      .map((stored) => adapter.store.withKey(stored, (key) => Buffer.from(key.secret)));
    expect(secrets.length).toBeGreaterThan(0);
    for (const secret of secrets) {
      expect(secret.some((byte) => byte !== 0)).toBe(true);
      expect(found(secret)).toEqual([]);
    }
  });

  test('the bytes of a destroyed key are in no file afterwards', async () => {
    for (const name of ['5/column-key', '5/record-signature']) {
      await adapter.prepare(name, 2);
      await adapter.activate(name, 2, challenge);
      const sealed = sealedSecret(name, 1);
      expect(found(sealed).length).toBeGreaterThan(0);
      await adapter.retire(name, 1);
      expect(found(sealed)).toEqual([]);
    }
  });

  test('a withdrawn preparation leaves no bytes either', async () => {
    await adapter.prepare(slot, 2);
    const sealed = sealedSecret(slot, 2);
    await adapter.rollback(slot, 1);
    expect(found(sealed)).toEqual([]);
  });

  test('files are the owner’s alone', () => {
    expect(statSync(join(folder, 'keystore.key')).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'keystore.key')).size).toBe(32);
  });

  test('a secret of a few bytes does not open', () => {
    const key = openStoreKey(crypto, new SystemDisk(folder), { mayCreate: false });
    const place = { slot: '1/a', version: 1, keyId: 'ab'.repeat(32) };
    for (const bytes of [0, 1, 11, 12, 27, 28]) {
      const open = () => key.open(place, new Uint8Array(bytes));
      expect(open).toThrow(expect.objectContaining({ code: 'STORE_FAILED' }));
    }
  });

  test('a secret that was moved to another row does not open', async () => {
    await adapter.prepare(slot, 2);
    const other = outsider();
    other.exec(`UPDATE versions SET secret =
      (SELECT secret FROM versions WHERE slot = '${slot}' AND version = 1)
      WHERE slot = '${slot}' AND version = 2`);
    other.close();
    await expect(adapter.activate(slot, 2, challenge)).rejects.toMatchObject({
      code: 'STORE_FAILED',
      retryable: false,
    });
  });
});

describe('opening', () => {
  test('with a store key that others can read, that is cut short, missing or another one', () => {
    const file = join(folder, 'keystore.key');
    const right = readFileSync(file);
    adapter.close();
    chmodSync(file, 0o640);
    expect(open).toThrow(expect.objectContaining({ code: 'STORE_FAILED' }));
    chmodSync(file, 0o600);
    writeFileSync(file, right.subarray(1));
    expect(open).toThrow(expect.objectContaining({ code: 'STORE_FAILED' }));
    writeFileSync(file, Buffer.alloc(32, 7));
    expect(open).toThrow(expect.objectContaining({ code: 'STORE_FAILED' }));
    rmSync(file);
    expect(open).toThrow(expect.objectContaining({ code: 'STORE_FAILED' }));
    writeFileSync(file, right, { mode: 0o600 });
    adapter = open();
    expect(adapter.store.primary(slot)?.version).toBe(1);
  });

  test('the fingerprint tells layers apart and nothing else', () => {
    const fingerprints = layerNumbers.map((layer) => {
      const own = join(folder, `layer-${layer}`);
      mkdirSync(own);
      const each = open(layer, own);
      try {
        return each.fingerprint();
      } finally {
        each.close();
      }
    });
    expect(new Set(fingerprints).size).toBe(layerNumbers.length);
    expect(fingerprints[4]).toBe(adapter.fingerprint());
  });
});

describe('faults', () => {
  test('a trigger that refuses: not to be tried again, and nothing has changed', async () => {
    await adapter.prepare(slot, 2);
    const other = outsider();
    other.exec(`CREATE TRIGGER refusing BEFORE UPDATE ON versions
      BEGIN SELECT RAISE(ABORT, 'not now'); END`);
    const refused = { code: 'STORE_FAILED', retryable: false };
    await expect(adapter.activate(slot, 2, challenge)).rejects.toMatchObject(refused);
    await expect(adapter.rollback(slot, 1)).rejects.toMatchObject(refused);
    await expect(adapter.retire(slot, 2)).rejects.toMatchObject(refused);
    expect(adapter.store.primary(slot)?.version).toBe(1);
    other.exec('DROP TRIGGER refusing');
    other.close();
    await adapter.activate(slot, 2, challenge);
    expect(adapter.store.primary(slot)?.version).toBe(2);
  });

  test('a lock held elsewhere: worth trying again', async () => {
    const other = outsider();
    other.exec('BEGIN IMMEDIATE');
    await expect(adapter.prepare(slot, 2)).rejects.toMatchObject({
      code: 'STORE_FAILED',
      retryable: true,
    });
    other.exec('ROLLBACK');
    other.close();
    await adapter.prepare(slot, 2);
  });

  test('a full disk has its own code, and nothing half done', () => {
    const database = openDatabase(new SystemDisk(folder), 'small.db');
    database.exec('CREATE TABLE data (bytes BLOB); PRAGMA max_page_count = 8;');
    const fill = (): void =>
      transact(database, 'too much', () => {
        const insert = database.prepare('INSERT INTO data VALUES (zeroblob(4000))');
        for (let row = 0; row < 20; row += 1) insert.run();
      });
    expect(fill).toThrow(expect.objectContaining({ code: 'DISK_FULL', retryable: false }));
    expect(database.prepare('SELECT count(*) AS n FROM data').get()?.['n']).toBe(0);
    database.close();
  });
});

function open(layer: (typeof layerNumbers)[number] = 5, directory = folder) {
  return EmbeddedAdapter.open({
    layer,
    disk: new SystemDisk(directory),
    crypto,
    clock: systemClock,
    usageWindowMs: 1_000,
  });
}

/** Another process's connection to the same file. */
function outsider(): DatabaseSync {
  return new DatabaseSync(join(folder, 'keystore.db'));
}

function sealedSecret(name: string, version: number): Buffer {
  const other = outsider();
  const sql = 'SELECT secret FROM versions WHERE slot = ? AND version = ?';
  const secret = other.prepare(sql).get(name, version)?.['secret'];
  other.close();
  if (!(secret instanceof Uint8Array)) throw new Error('no secret is stored');
  return Buffer.from(secret);
}

/** Files of the folder that hold these bytes, or any eight of them in a row. */
function found(bytes: Buffer): string[] {
  return readdirSync(folder).filter((name) => {
    const content = readFileSync(join(folder, name));
    for (let at = 0; at + 8 <= bytes.length; at += 8) {
      if (content.includes(bytes.subarray(at, at + 8))) return true;
    }
    return false;
  });
}
