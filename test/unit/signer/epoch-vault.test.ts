/** The vault of the signer: what is kept opens again, what is dropped is gone, and nothing goes down. */

import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { linkSync, openSync, closeSync, readSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault } from '#agents/signer/epoch-vault.ts';
import { openFileToken } from '#shared/runtime/token/file-token.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { quiet } from '../../support/world.ts';

const day = 24 * 3_600_000;
const secretOf = (byte: number) => new Uint8Array(32).fill(byte);

let tokenFolder: string;
let token: Token;
let folder: string;
let directory: string;
let database: DatabaseSync;
let record: EpochRecord;
let vault: EpochVault;

beforeAll(async () => {
  tokenFolder = mkdtempSync(path.join(tmpdir(), 'gyre-vault-token-'));
  const pin = () => Buffer.from('a-pin');
  token = await openFileToken({ label: 'vault', directory: tokenFolder, pin });
});

afterAll(async () => {
  await token.close();
  rmSync(tokenFolder, { recursive: true });
});

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'gyre-vault-'));
  directory = path.join(folder, 'epochs');
  await reopen();
});

afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

async function reopen(mesh = 'test'): Promise<void> {
  if (database?.isOpen) database.close();
  database = new DatabaseSync(path.join(folder, 'signer.db'));
  record = new EpochRecord(database);
  vault = await EpochVault.open({ disk: new SystemDisk(folder), mesh, token, record, log: quiet });
}

const names = () => readdirSync(directory).toSorted();

describe('what is kept', () => {
  test('is there after a restart, with the latest word on where it stands', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'announced' });
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    await vault.keep({ channel: 'mesh', epoch: 1, secret: secretOf(1), standing: 'active' });
    await reopen();
    const held = await vault.load();
    expect(held.toSorted((one, other) => one.epoch - other.epoch)).toEqual([
      { channel: 'mesh', epoch: 1, secret: secretOf(1), standing: 'active' },
      { channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' },
    ]);
  });

  test('is in no file in clear, and its files are for their owner alone', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    expect(names()).toEqual(['saga.3.secret']);
    const file = path.join(directory, 'saga.3.secret');
    expect(readFileSync(file).length).toBe(72);
    expect(readFileSync(file).includes(secretOf(3))).toBe(false);
    expect(readFileSync(path.join(folder, 'signer.db')).includes(secretOf(3))).toBe(false);
    expect([statSync(file).mode & 0o777, statSync(directory).mode & 0o777]).toEqual([0o600, 0o700]);
  });

  test('cannot be replaced by another secret', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'announced' });
    const other = { channel: 'saga', epoch: 3, secret: secretOf(4), standing: 'active' } as const;
    await expect(vault.keep(other)).rejects.toMatchObject({ code: 'VAULT_CONFLICT' });
    expect((await vault.load())[0]?.secret).toEqual(secretOf(3));
  });

  test('does not open under another name, in another mesh, or changed', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    const kept = readFileSync(path.join(directory, 'saga.3.secret'));
    for (const name of ['saga.4.secret', 'mesh.3.secret']) {
      writeFileSync(path.join(directory, name), kept);
      await expect(vault.load()).rejects.toMatchObject({ code: 'VAULT_DAMAGED' });
      rmSync(path.join(directory, name));
    }
    await reopen('another');
    await expect(vault.load()).rejects.toMatchObject({ code: 'VAULT_DAMAGED' });
    await reopen();
    for (const changed of [kept.subarray(1), Buffer.alloc(0), Buffer.alloc(100_000, 1)]) {
      writeFileSync(path.join(directory, 'saga.3.secret'), changed);
      await expect(vault.load()).rejects.toMatchObject({ code: 'VAULT_DAMAGED' });
    }
  });
});

describe('what is dropped', () => {
  test('is overwritten where it lay before its name goes', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    const file = path.join(directory, 'saga.3.secret');
    const kept = readFileSync(file);
    // A second name for the same blocks: what a thief would find who reads the disk itself.
    linkSync(file, path.join(folder, 'blocks'));
    const handle = openSync(path.join(folder, 'blocks'), 'r');
    await vault.drop({ channel: 'saga', epoch: 3 });
    const after = Buffer.alloc(72);
    readSync(handle, after, 0, 72, 0);
    closeSync(handle);
    expect(names()).toEqual([]);
    expect(after.length).toBe(kept.length);
    for (let at = 0; at + 8 <= kept.length; at += 1) {
      expect(after.includes(kept.subarray(at, at + 8))).toBe(false);
    }
  });

  test('is not taken again, over a restart neither, and what was never held is fine', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    await vault.drop({ channel: 'saga', epoch: 3 });
    await vault.drop({ channel: 'saga', epoch: 2 });
    await reopen();
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    await vault.keep({ channel: 'saga', epoch: 2, secret: secretOf(2), standing: 'superseded' });
    expect(await vault.load()).toEqual([]);
    expect(record.highest('saga')).toBe(3);
  });

  test('goes at the next start where a crash kept it from going, with temporary files', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    record.close({ channel: 'saga', epoch: 3 });
    writeFileSync(path.join(directory, `.${'0a'.repeat(12)}.tmp`), 'left over');
    await reopen();
    expect(names()).toEqual([]);
  });

  test('is not taken for what a crash left where it has got its name and kept its temporary one', async () => {
    await vault.keep({ channel: 'saga', epoch: 3, secret: secretOf(3), standing: 'active' });
    const temporary = path.join(directory, `.${'0a'.repeat(12)}.tmp`);
    linkSync(path.join(directory, 'saga.3.secret'), temporary);
    await reopen();
    expect(names()).toEqual(['saga.3.secret']);
    expect(await vault.load()).toMatchObject([{ channel: 'saga', secret: secretOf(3) }]);
  });
});

describe('the archive key', () => {
  test('is drawn once, and never a second time where it is lost', async () => {
    const first = await vault.archiveKey(() => secretOf(9));
    await reopen();
    expect(await vault.archiveKey(() => secretOf(8))).toEqual(first);
    rmSync(path.join(directory, 'archive.1.secret'));
    const again = vault.archiveKey(() => secretOf(8));
    await expect(again).rejects.toMatchObject({ code: 'VAULT_DAMAGED' });
  });
});

describe('the record', () => {
  const saga = (epoch: number) => ({ channel: 'saga', epoch });

  test('epochs never go down, over a restart neither', async () => {
    const used = { prekeyIds: [], timeMs: day, forgetBeforeMs: 0 };
    record.announced(saga(5), used);
    record.announced(saga(4), used);
    await reopen();
    expect([record.highest('saga'), record.highest('mesh')]).toEqual([5, 0]);
  });

  test('used prekeys are known until they could not be used any more', async () => {
    const used = { prekeyIds: ['p'], timeMs: 10 * day, forgetBeforeMs: 9 * day };
    record.announced(saga(1), used);
    await reopen();
    expect([record.isUsed('p'), record.isUsed('q')]).toEqual([true, false]);
    record.announced(saga(2), { prekeyIds: [], timeMs: 12 * day, forgetBeforeMs: 11 * day });
    expect(record.isUsed('p')).toBe(false);
  });

  test('closed epochs are bounded, and what lies below them is closed', () => {
    // What a thousand barriers of the disk take is not looked at here.
    database.exec('PRAGMA synchronous = OFF');
    for (let epoch = 1; epoch <= 1030; epoch += 1) record.close({ channel: 'saga', epoch });
    const closed = [1, 6, 7, 1030].map((epoch) => record.isClosed({ channel: 'saga', epoch }));
    expect(closed).toEqual([true, true, true, true]);
    expect(record.isClosed({ channel: 'saga', epoch: 1031 })).toBe(false);
    expect(record.isClosed({ channel: 'mesh', epoch: 1 })).toBe(false);
  });
});
