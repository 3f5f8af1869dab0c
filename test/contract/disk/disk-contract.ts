/** What every disk of an agent does, whatever is under it. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Disk, LogFile } from '#shared/runtime/disk.ts';

export interface DiskPlace {
  /** The disk as the next process finds it; the one before has ended in order. */
  reopen(): Disk;
  /** Lets everything that was asked of the disk happen. */
  done<Result>(work: Promise<Result>): Promise<Result>;
  end(): void;
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const taken = expect.objectContaining({ code: 'EEXIST' }) as unknown;

export function diskContract(name: string, open: () => DiskPlace): void {
  describe(`disk: ${name}`, () => {
    let place: DiskPlace;
    let disk: Disk;

    beforeEach(() => {
      place = open();
      disk = place.reopen();
    });

    afterEach(() => place.end());

    filesContract(() => ({ place, disk }));
    databaseContract(() => ({ place, disk }));
    logContract(() => ({ place, disk }));
    secretsContract(() => ({ place, disk }));
  });
}

type Given = () => { readonly place: DiskPlace; readonly disk: Disk };

function filesContract(given: Given): void {
  test('a small file is replaced as a whole and is there for the next process', () => {
    const { disk, place } = given();
    expect(disk.has('trust.json')).toBe(false);
    expect(disk.readFile('trust.json')).toBeUndefined();
    disk.replaceFile('trust.json', bytes(1, 2, 3));
    disk.replaceFile('trust.json', bytes(4));
    expect([...(disk.readFile('trust.json') ?? [])]).toEqual([4]);
    expect(disk.isPrivate('trust.json')).toBe(true);
    const again = place.reopen();
    expect(again.has('trust.json')).toBe(true);
    expect([...(again.readFile('trust.json') ?? [])]).toEqual([4]);
    expect(again.place('trust.json')).toContain('trust.json');
  });

  test('a file that is created is never written over by creating it', () => {
    const { disk, place } = given();
    disk.createFile('keystore.key', bytes(1, 2));
    expect(() => disk.createFile('keystore.key', bytes(3))).toThrow(taken);
    expect([...(place.reopen().readFile('keystore.key') ?? [])]).toEqual([1, 2]);
  });

  test('what was read and what was written are copies', () => {
    const { disk } = given();
    const written = bytes(1, 2);
    disk.replaceFile('a.json', written);
    written.fill(9);
    disk.readFile('a.json')?.fill(9);
    expect([...(disk.readFile('a.json') ?? [])]).toEqual([1, 2]);
  });
}

function databaseContract(given: Given): void {
  const schema = 'CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, word TEXT) STRICT';

  test('a database keeps what was committed, and nothing else', () => {
    const { disk, place } = given();
    expect(disk.has('store.db')).toBe(false);
    const database = disk.database('store.db');
    database.exec(schema);
    expect(disk.has('store.db')).toBe(true);
    const insert = database.prepare('INSERT INTO things (word) VALUES (?)');
    expect(insert.run('first')).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    database.exec('BEGIN IMMEDIATE');
    expect(database.isTransaction).toBe(true);
    insert.run('second');
    database.exec('COMMIT');
    database.exec('BEGIN IMMEDIATE');
    insert.run('third');
    database.exec('ROLLBACK');
    expect(database.isTransaction).toBe(false);
    database.exec('BEGIN IMMEDIATE');
    insert.run('fourth');
    database.close();
    expect(database.isOpen).toBe(false);
    const again = place.reopen().database('store.db');
    again.exec(schema);
    const rows = again.prepare('SELECT word FROM things ORDER BY id').all();
    expect(rows.map(({ word }) => word)).toEqual(['first', 'second']);
    expect(again.prepare('SELECT word FROM things WHERE id = ?').get(2)).toEqual({
      word: 'second',
    });
    expect(again.prepare('PRAGMA wal_checkpoint(TRUNCATE)').all()).toMatchObject([{ busy: 0 }]);
    again.close();
  });

  test('a statement that a constraint refuses ends alone', () => {
    const { disk } = given();
    const database = disk.database('store.db');
    database.exec(schema);
    const insert = database.prepare('INSERT INTO things (id, word) VALUES (?, ?)');
    database.exec('BEGIN IMMEDIATE');
    insert.run(1, 'first');
    expect(() => insert.run(1, 'again')).toThrow(/UNIQUE/);
    expect(database.isTransaction).toBe(true);
    insert.run(2, 'second');
    database.exec('COMMIT');
    expect(() => insert.run(2, 'again')).toThrow(/UNIQUE/);
    expect(database.prepare('SELECT count(*) AS things FROM things').get()).toEqual({ things: 2 });
    database.close();
  });

  test('there is one transaction at a time, and none to end where none has begun', () => {
    const { disk } = given();
    const database = disk.database('store.db');
    const wrong = expect.objectContaining({ errcode: 1 }) as unknown;
    expect(() => database.exec('COMMIT')).toThrow(wrong);
    expect(() => database.exec('ROLLBACK')).toThrow(wrong);
    database.exec('BEGIN IMMEDIATE');
    expect(() => database.exec('BEGIN IMMEDIATE')).toThrow(wrong);
    database.exec('ROLLBACK');
    database.close();
  });
}

function logContract(given: Given): void {
  test('a log is read where it was written, cut, and there for the next process', async () => {
    const { disk, place } = given();
    const all = async (log: LogFile) => [...(await log.read(0, (await log.size()) + 5))];
    const log = await place.done(disk.logFile('audit.log'));
    expect(disk.has('audit.log')).toBe(true);
    expect(await place.done(log.size())).toBe(0);
    await place.done(log.write(0, bytes(1, 2, 3, 4)));
    await place.done(log.write(2, bytes(5, 6, 7)));
    expect(await place.done(all(log))).toEqual([1, 2, 5, 6, 7]);
    await place.done(log.sync());
    await place.done(log.truncate(3));
    expect(await place.done(log.read(1, 10))).toEqual(bytes(2, 5));
    await place.done(log.write(5, bytes(8)));
    expect(await place.done(all(log))).toEqual([1, 2, 5, 0, 0, 8]);
    await place.done(log.sync());
    await place.done(log.close());
    const again = await place.done(place.reopen().logFile('audit.log'));
    expect(await place.done(all(again))).toEqual([1, 2, 5, 0, 0, 8]);
    await place.done(again.close());
  });
}

function secretsContract(given: Given): void {
  test('a secret is written once, read, and wiped', async () => {
    const { disk, place } = given();
    const saga = { channel: 'saga', epoch: 3 };
    const files = await place.done(disk.secretFiles('epochs'));
    expect(await place.done(files.read(saga))).toBeNull();
    await place.done(files.write(saga, bytes(1, 2)));
    await place.done(files.write({ channel: 'layer-1', epoch: 0 }, bytes(3)));
    const second = place.done(files.write(saga, bytes(9)));
    await expect(second).rejects.toEqual(taken);
    const again = await place.done(place.reopen().secretFiles('epochs'));
    const names = (await place.done(again.names())).map(
      ({ channel, epoch }) => `${channel} ${epoch}`,
    );
    expect(new Set(names)).toEqual(new Set(['layer-1 0', 'saga 3']));
    expect(await place.done(again.read(saga))).toEqual(bytes(1, 2));
    await place.done(again.wipe(saga));
    await place.done(again.wipe(saga));
    expect(await place.done(again.read(saga))).toBeNull();
    expect(await place.done(again.names())).toHaveLength(1);
  });
}
