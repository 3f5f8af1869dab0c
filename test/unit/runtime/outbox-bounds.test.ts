/** The bounds of the outbox: rows, bytes, and a disk that is full. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { OutboxLimits } from '#shared/runtime/outbox.ts';
import { OutboxError } from '#shared/runtime/outbox-store.ts';
import { ManualClock } from './manual-clock.ts';

const report = subjectsOf('unit').report(1, 'layer-1');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-outbox-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function openOutbox(database: DatabaseSync, limits: Partial<OutboxLimits> = {}): Outbox {
  const fail = (fault: unknown): void => {
    throw new Error('nothing is drained here', { cause: fault });
  };
  return new Outbox({
    database,
    clock: new ManualClock(),
    limits,
    onConflict: fail,
    onTrouble: fail,
  });
}

function enqueue(outbox: Outbox, name: string, bytes = 8): void {
  outbox.enqueue({ subject: report, data: new Uint8Array(bytes), messageId: name });
}

/** Enqueues until the outbox refuses; how many it took, and why not more. */
function fill(outbox: Outbox, bytes: number): { taken: number; fault: OutboxError } {
  for (let taken = 0; taken < 10_000; taken++) {
    try {
      enqueue(outbox, `m${taken}`, bytes);
    } catch (fault) {
      if (fault instanceof OutboxError) return { taken, fault };
      throw fault;
    }
  }
  throw new Error('the outbox took everything');
}

function expectWhole(database: DatabaseSync, outbox: Outbox, taken: number, bytes: number): void {
  expect(outbox.counts()).toEqual({ rows: taken, bytes: taken * bytes, unstored: taken });
  expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
  const ids = database.prepare('SELECT message_id AS id FROM outbox ORDER BY position').all();
  expect(ids.map(({ id }) => id)).toEqual(Array.from({ length: taken }, (_, n) => `m${n}`));
}

describe('own bounds', () => {
  it('refuses a row too many, and takes one again when one has left', () => {
    const outbox = openOutbox(new DatabaseSync(join(folder, 'a.db')), { rowsMax: 3 });
    const { taken, fault } = fill(outbox, 8);
    expect([taken, fault.code]).toEqual([3, 'OUTBOX_FULL']);
    outbox.settle(['m0']);
    enqueue(outbox, 'another');
    expect(outbox.counts().rows).toBe(3);
  });

  it('refuses a byte too many', () => {
    const outbox = openOutbox(new DatabaseSync(join(folder, 'a.db')), { bytesMax: 1_000 });
    const { taken, fault } = fill(outbox, 300);
    expect([taken, fault.code]).toEqual([3, 'OUTBOX_FULL']);
    enqueue(outbox, 'small', 100);
    expect(outbox.counts().bytes).toBe(1_000);
  });

  it('refuses what no bus would take', () => {
    const outbox = openOutbox(new DatabaseSync(join(folder, 'a.db')));
    const rejected = expect.objectContaining({ code: 'OUTBOX_REJECTED' });
    expect(() => enqueue(outbox, 'a dot.')).toThrow(rejected);
    expect(() => enqueue(outbox, 'large', 1024 * 1024)).toThrow(rejected);
    expect(outbox.counts().rows).toBe(0);
  });
});

describe('a full disk', () => {
  it('is told by its code, and nothing is half written', () => {
    const database = new DatabaseSync(join(folder, 'a.db'));
    const outbox = openOutbox(database);
    database.exec('PRAGMA max_page_count = 40');
    const { taken, fault } = fill(outbox, 2_000);
    expect(fault.code).toBe('OUTBOX_DISK_FULL');
    expectWhole(database, outbox, taken, 2_000);
    database.exec('PRAGMA max_page_count = 4000');
    enqueue(outbox, 'room-again', 2_000);
    expect(outbox.counts().rows).toBe(taken + 1);
  });

  it('rolls the transaction of the owner back with it', () => {
    const database = new DatabaseSync(join(folder, 'a.db'));
    const outbox = openOutbox(database);
    database.exec('CREATE TABLE effects (id TEXT); PRAGMA max_page_count = 40');
    database.exec("BEGIN; INSERT INTO effects VALUES ('half')");
    expect(fill(outbox, 2_000).fault.code).toBe('OUTBOX_DISK_FULL');
    if (database.isTransaction) database.exec('ROLLBACK');
    expect(database.prepare('SELECT count(*) AS n FROM effects').get()).toEqual({ n: 0 });
    expect(outbox.counts().rows).toBe(0);
  });

  it('is survived on a file system that is really full', () => {
    onTinyDisk(700, (mount) => {
      const ballast = join(mount, 'ballast');
      writeFileSync(ballast, new Uint8Array(200 * 1024));
      const database = new DatabaseSync(join(mount, 'a.db'));
      const outbox = openOutbox(database);
      const { taken, fault } = fill(outbox, 4_000);
      expect(fault.code).toBe('OUTBOX_DISK_FULL');
      expectWhole(database, outbox, taken, 4_000);
      rmSync(ballast);
      expect(outbox.settle(Array.from({ length: taken }, (_, n) => `m${n}`))).toBe(taken);
      enqueue(outbox, 'room-again', 2_000);
      expect(outbox.counts()).toEqual({ rows: 1, bytes: 2_000, unstored: 1 });
      database.close();
    });
  });

  it('is told when not even the tables fit', () => {
    onTinyDisk(64, (mount) => {
      writeFileSync(join(mount, 'ballast'), new Uint8Array(40 * 1024));
      const database = new DatabaseSync(join(mount, 'a.db'));
      const full = expect.objectContaining({ code: 'OUTBOX_DISK_FULL' });
      expect(() => openOutbox(database)).toThrow(full);
      database.close();
    });
  });
});

/** Runs `work` on a file system of its own; says loudly when only root could make one. */
function onTinyDisk(kilobytes: number, work: (mount: string) => void): void {
  const mount = join(folder, 'tiny');
  mkdirSync(mount);
  const args = ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', mount];
  if (spawnSync('mount', args).status !== 0) {
    process.stderr.write('*** NOT TESTED: a full file system, because mounting needs root ***\n');
    return;
  }
  try {
    work(mount);
  } finally {
    execFileSync('umount', ['--lazy', mount]);
  }
}
