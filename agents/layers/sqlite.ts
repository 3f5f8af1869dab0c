/** Databases of the layer agents: one way to open them and one translation of SQLite's faults. */

import type { DatabaseSync } from 'node:sqlite';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from './adapter.ts';

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html). */
const busy = 5;
const locked = 6;
const full = 13;

/** Opens (making it at first) a database. @throws AdapterError STORE_FAILED, DISK_FULL */
export function openDatabase(disk: Pick<Disk, 'database'>, name: string): DatabaseSync {
  return translated('the database cannot be opened', () => disk.database(name));
}

/** Runs `work` in one transaction: all of it, or nothing. @throws AdapterError */
export function transact<Result>(database: DatabaseSync, what: string, work: () => Result): Result {
  return translated(what, () => {
    database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      database.exec('COMMIT');
      return result;
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw error;
    }
  });
}

/** Runs `work` and turns faults of SQLite into `AdapterError`; other errors pass. */
export function translated<Result>(what: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    const code = sqliteCode(error);
    if (code === undefined) throw error;
    if (code === full) throw new AdapterError('DISK_FULL', `${what}: disk full`, { cause: error });
    const retryable = code === busy || code === locked;
    const why = retryable ? 'the database is locked' : `SQLite result code ${code}`;
    throw new AdapterError('STORE_FAILED', `${what}: ${why}`, { cause: error, retryable });
  }
}

/** The primary result code of a fault of SQLite, or undefined for any other error. */
function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}
