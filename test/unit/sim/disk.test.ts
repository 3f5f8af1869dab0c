/** The simulated disk: what a crash takes and leaves, what a full disk refuses, and who is told. */

import type { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import type { Disk } from '#shared/runtime/disk.ts';
import { SimulatedCrash, type CrashPoint } from '../../sim/model.ts';
import { AgentDisk } from './agent-disk.ts';

const schema = 'CREATE TABLE IF NOT EXISTS words (word TEXT NOT NULL UNIQUE) STRICT';
const at = (what: string, when: string) => (point: CrashPoint) =>
  point.what === what && point.when === when;
const diskFull = expect.objectContaining({ errcode: 13 }) as unknown;
const noSpace = expect.objectContaining({ code: 'ENOSPC' }) as unknown;

function open(disk: Disk, name = 'store.db'): DatabaseSync {
  const database = disk.database(name);
  database.exec(schema);
  return database;
}

function say(database: DatabaseSync, word: string): void {
  database.prepare('INSERT INTO words VALUES (?)').run(word);
}

function said(database: DatabaseSync): unknown[] {
  return database
    .prepare('SELECT word FROM words ORDER BY rowid')
    .all()
    .map(({ word }) => word);
}

function together(database: DatabaseSync, ...words: string[]): void {
  database.exec('BEGIN IMMEDIATE');
  for (const word of words) say(database, word);
  database.exec('COMMIT');
}

describe('a database', () => {
  test.each([
    ['before', ['first']],
    ['after', ['first', 'second', 'third']],
  ] as const)('that dies %s a commit', (when, left) => {
    const agent = new AgentDisk();
    say(open(agent.begin()), 'first');
    agent.life.crash();
    let commits = 0;
    const second = open(
      agent.begin((point) => at('database store.db', when)(point) && (commits += 1) === 2),
    );
    expect(() => together(second, 'second', 'third')).toThrow(SimulatedCrash);
    expect(() => second.isTransaction).toThrow(SimulatedCrash);
    expect(() => second.exec('ROLLBACK')).toThrow(SimulatedCrash);
    expect(() => said(second)).toThrow(SimulatedCrash);
    expect(said(open(agent.begin()))).toEqual(left);
    agent.disk.release();
  });

  test.each([
    ['before', ['first']],
    ['after', ['first', 'second']],
  ] as const)('that dies %s a write outside of transactions', (when, left) => {
    const agent = new AgentDisk();
    let commits = 0;
    const database = open(
      agent.begin((point) => at('database store.db', when)(point) && (commits += 1) === 3),
    );
    say(database, 'first');
    expect(() => say(database, 'second')).toThrow(SimulatedCrash);
    expect(said(open(agent.begin()))).toEqual(left);
    agent.disk.release();
  });

  test('forgets a transaction in which its process died', () => {
    const agent = new AgentDisk();
    const database = open(agent.begin());
    database.exec('BEGIN IMMEDIATE');
    say(database, 'first');
    expect(agent.disk.peekDatabase('store.db')?.isTransaction).toBe(true);
    const again = open(agent.crash());
    expect(again.isTransaction).toBe(false);
    expect(said(again)).toEqual([]);
    agent.disk.release();
  });

  test.each(['OFF', 'NORMAL', '0'])('with synchronous = %s loses what it committed', (level) => {
    const agent = new AgentDisk();
    const database = open(agent.begin());
    say(database, 'synced');
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${level};`);
    say(database, 'first');
    together(database, 'second', 'third');
    const changes = agent.disk.changesOf('store.db');
    agent.durable.length = 0;
    const again = open(agent.crash());
    expect(said(again)).toEqual(['synced']);
    expect(agent.disk.changesOf('store.db')).toBeGreaterThan(changes);
    expect(agent.durable[0]).toEqual({ kind: 'database', name: 'store.db', tables: 'lost' });
    agent.disk.release();
  });

  test('keeps that once it is synced: by a commit, a checkpoint, or its orderly end', () => {
    for (const sync of [
      (database: DatabaseSync) => {
        database.exec('PRAGMA synchronous = FULL');
        say(database, 'last');
      },
      (database: DatabaseSync) => database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').all(),
      (database: DatabaseSync) => database.close(),
    ]) {
      const agent = new AgentDisk();
      const database = open(agent.begin());
      database.exec('PRAGMA synchronous = OFF');
      say(database, 'first');
      sync(database);
      expect(said(open(agent.crash()))).toContain('first');
      agent.disk.release();
    }
  });

  test('that finds no room says so, undoes what it began, and goes on when there is room', () => {
    const agent = new AgentDisk();
    const database = open(agent.begin());
    database.exec('BEGIN IMMEDIATE');
    say(database, 'first');
    agent.disk.isFull = true;
    expect(() => database.exec('COMMIT')).toThrow(diskFull);
    expect(database.isTransaction).toBe(false);
    expect(() => say(database, 'second')).toThrow(diskFull);
    expect(said(database)).toEqual([]);
    const ends = Array.from({ length: 40 }, () => {
      database.exec('BEGIN IMMEDIATE');
      expect(() => say(database, 'third')).toThrow(diskFull);
      const isOver = !database.isTransaction;
      if (!isOver) database.exec('ROLLBACK');
      return isOver;
    });
    expect(new Set(ends)).toEqual(new Set([true, false]));
    agent.disk.isFull = false;
    say(database, 'fourth');
    expect(said(open(agent.crash()))).toEqual(['fourth']);
    agent.disk.release();
  });

  test('of one world is empty in the next, whatever was in it', () => {
    for (let world = 0; world < 3; world += 1) {
      const agent = new AgentDisk();
      const database = open(agent.begin());
      expect(said(database)).toEqual([]);
      database.exec(
        `CREATE TRIGGER none BEFORE DELETE ON words BEGIN SELECT RAISE(ABORT, 'no'); END`,
      );
      database.exec('PRAGMA synchronous = OFF');
      say(database, 'first');
      database.exec('BEGIN IMMEDIATE');
      say(database, 'second');
      expect(() => database.exec('DELETE FROM words')).toThrow('no');
      agent.disk.release();
      expect(() => say(database, 'late')).toThrow('over');
    }
  });

  test('says what it cannot do', () => {
    const agent = new AgentDisk();
    const database = open(agent.begin());
    expect(() => database.exec('PRAGMA mmap_size = 5')).toThrow('no such simulation');
    expect(() => database.prepare('PRAGMA user_version').all()).toThrow('no such simulation');
    agent.disk.release();
  });
});

describe('a small file', () => {
  test.each([
    ['before', [1]],
    ['after', [2]],
  ] as const)('that is replaced and dies %s it', (when, left) => {
    const agent = new AgentDisk();
    agent.begin().replaceFile('trust.json', Uint8Array.of(1));
    agent.life.crash();
    const disk = agent.begin(at('file trust.json', when));
    expect(() => disk.replaceFile('trust.json', Uint8Array.of(2))).toThrow(SimulatedCrash);
    expect(() => disk.has('trust.json')).toThrow(SimulatedCrash);
    expect([...(agent.begin().readFile('trust.json') ?? [])]).toEqual(left);
  });

  test('finds no room on a full disk and stays as it was', () => {
    const agent = new AgentDisk();
    const disk = agent.begin();
    disk.replaceFile('trust.json', Uint8Array.of(1));
    agent.disk.isFull = true;
    expect(() => disk.replaceFile('trust.json', Uint8Array.of(2))).toThrow(noSpace);
    expect(() => disk.createFile('new.json', Uint8Array.of(2))).toThrow(noSpace);
    expect([...(disk.readFile('trust.json') ?? [])]).toEqual([1]);
    expect(disk.has('new.json')).toBe(false);
  });
});

test('of a commit those tables are told of which rows changed', () => {
  const agent = new AgentDisk();
  const database = open(agent.begin(), 'two-tables.db');
  database.exec('CREATE TABLE IF NOT EXISTS outbox (word TEXT UNIQUE) STRICT');
  const run = (sql: string) => database.prepare(sql).run();
  const told = () =>
    agent.durable.splice(0).map((write) => write.kind === 'database' && Array.from(write.tables));
  told();
  run("INSERT INTO outbox VALUES ('a')");
  run("INSERT OR IGNORE INTO outbox VALUES ('a')");
  run("UPDATE outbox SET word = 'b'");
  run("DELETE FROM outbox WHERE word = 'a'");
  database.exec('DELETE FROM outbox');
  expect(told()).toEqual([['outbox'], [], ['outbox'], [], ['outbox']]);
  database.exec('BEGIN IMMEDIATE');
  run("INSERT INTO outbox VALUES ('a')");
  database.exec('ROLLBACK');
  database.exec('BEGIN IMMEDIATE');
  say(database, 'first');
  run("DELETE FROM outbox WHERE word = 'a'");
  database.exec('COMMIT');
  database.exec('BEGIN IMMEDIATE');
  run("INSERT INTO outbox VALUES ('b')");
  say(database, 'last');
  database.exec('COMMIT');
  expect(told()).toEqual([['words'], ['outbox', 'words']]);
  expect(() => run("REPLACE INTO outbox VALUES ('b')")).toThrow('no such simulation');
  expect(() => database.exec('DELETE FROM outbox; DELETE FROM words')).toThrow('no such');
  agent.disk.release();
});

describe('a log', () => {
  test('is empty where nothing was written, whatever worlds before it wrote', async () => {
    for (const byte of [7, 8, 9]) {
      const agent = new AgentDisk();
      const log = await agent.outcome(agent.begin().logFile('audit.log'));
      if (log === 'never') throw new Error('the log opens');
      await agent.outcome(log.write(0, new Uint8Array(10_000).fill(byte)));
      await agent.outcome(log.truncate(1));
      await agent.outcome(log.write(4, Uint8Array.of(byte)));
      await agent.outcome(log.sync());
      expect([...(await log.read(0, 20))]).toEqual([byte, 0, 0, 0, byte]);
      expect([...(agent.disk.peekLog('audit.log') ?? [])]).toEqual([byte, 0, 0, 0, byte]);
      await agent.outcome(log.truncate(8));
      expect([...(await log.read(0, 20))]).toEqual([byte, 0, 0, 0, byte, 0, 0, 0]);
      agent.disk.release();
    }
  });

  const whole = [1, 1, 1, 2, 2, 2, 3, 3, 3];

  async function crashed(seed: number): Promise<number[]> {
    const agent = new AgentDisk(seed);
    const log = await agent.outcome(agent.begin().logFile('audit.log'));
    if (log === 'never') throw new Error('the log opens');
    for (const byte of [1, 2, 3]) {
      await agent.outcome(log.write(3 * (byte - 1), new Uint8Array(3).fill(byte)));
      if (byte === 1) await agent.outcome(log.sync());
    }
    expect([...(await log.read(0, 20))]).toEqual(whole);
    expect(agent.disk.peekLog('audit.log')).toHaveLength(3);
    const again = await agent.outcome(agent.crash().logFile('audit.log'));
    if (again === 'never') throw new Error('the log opens again');
    const left = [...(await again.read(0, 20))];
    expect([...(agent.disk.peekLog('audit.log') ?? [])]).toEqual(left);
    return left;
  }

  test('keeps what was synced, and of the rest any beginning', async () => {
    const lengths = new Set<number>();
    for (let seed = 1; seed <= 120; seed += 1) {
      const left = await crashed(seed);
      expect(left).toEqual(whole.slice(0, left.length));
      lengths.add(left.length);
    }
    expect([...lengths].toSorted((one, other) => one - other)).toEqual([3, 4, 5, 6, 7, 8, 9]);
  });

  test.each(['before', 'after'] as const)(
    'never says that it synced where it died %s',
    async (when) => {
      const agent = new AgentDisk();
      const log = await agent.outcome(agent.begin(at('log audit.log', when)).logFile('audit.log'));
      if (log === 'never') throw new Error('the log opens');
      await agent.outcome(log.write(0, Uint8Array.of(1, 2)));
      expect(await agent.outcome(log.sync())).toBe('never');
      expect(await agent.outcome(log.size())).toBe('never');
      expect(await agent.outcome(log.write(0, Uint8Array.of(1)))).toBe('never');
      const left = agent.disk.peekLog('audit.log')?.length;
      if (when === 'after') expect(left).toBe(2);
      else expect(left).toBeLessThanOrEqual(2);
    },
  );

  test('of a process that stands still waits', async () => {
    const agent = new AgentDisk();
    const log = await agent.outcome(agent.begin().logFile('audit.log'));
    if (log === 'never') throw new Error('the log opens');
    agent.life.pause();
    const written = log.write(0, Uint8Array.of(1));
    expect(await agent.outcome(written)).toBe('never');
    agent.life.resume();
    expect(await agent.outcome(written)).toBeUndefined();
  });
});

describe('a folder of secrets', () => {
  const secret = { channel: 'saga', epoch: 1 };

  test.each([
    ['secret of epochs', 'before', null],
    ['secret of epochs', 'after', [7]],
    ['noise over a secret of epochs', 'before', [7]],
    ['noise over a secret of epochs', 'after', 'noise'],
    ['end of a secret of epochs', 'after', null],
  ] as const)('that dies at "%s", %s it', async (what, when, left) => {
    const agent = new AgentDisk();
    const files = await agent.begin(at(what, when)).secretFiles('epochs');
    await agent.outcome(files.write(secret, Uint8Array.of(7)));
    if (agent.life.isAlive) expect(await agent.outcome(files.wipe(secret))).toBe('never');
    expect(agent.life.isAlive).toBe(false);
    const found = await (await agent.begin().secretFiles('epochs')).read(secret);
    if (left === 'noise') expect(found).not.toEqual(Uint8Array.of(7));
    else expect(found).toEqual(left === null ? null : Uint8Array.from(left));
    expect(agent.disk.peekSecrets('epochs').has('saga 1')).toBe(left !== null);
  });
});

describe('who looks', () => {
  test('is told of every durable write before its process can die of it, and counts them', async () => {
    const agent = new AgentDisk();
    const disk = agent.begin(({ what, when }) => what === 'file last.json' && when === 'after');
    together(open(disk), 'first', 'second');
    const log = await agent.outcome(disk.logFile('audit.log'));
    if (log === 'never') throw new Error('the log opens');
    await agent.outcome(log.write(0, Uint8Array.of(1)));
    await agent.outcome(log.sync());
    await agent.outcome(log.write(1, Uint8Array.of(2)));
    await agent.outcome(log.sync());
    expect(() => disk.replaceFile('last.json', Uint8Array.of(1))).toThrow(SimulatedCrash);
    expect(agent.durable).toEqual([
      { kind: 'database', name: 'store.db', tables: new Set() },
      { kind: 'database', name: 'store.db', tables: new Set(['words']) },
      { kind: 'log', name: 'audit.log', from: 0 },
      { kind: 'log', name: 'audit.log', from: 1 },
      { kind: 'file', name: 'last.json' },
    ]);
    expect(Object.fromEntries(agent.disk.writes)).toEqual({
      'database store.db': 2,
      'file audit.log': 1,
      'log audit.log': 2,
      'file last.json': 1,
    });
    expect(agent.disk.changesOf('store.db')).toBe(2);
    expect(agent.disk.peekDatabase('store.db')?.prepare('SELECT * FROM words').all()).toHaveLength(
      2,
    );
    expect(agent.disk.peekFile('last.json')).toEqual(Uint8Array.of(1));
    agent.disk.release();
  });
});
