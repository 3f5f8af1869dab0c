/**
 * When what is good once may be forgotten: a while after its end, so that nothing is accepted any more
 * that has been forgotten as used. A clock may go back: the latest end that was ever forgotten is kept
 * in the same transaction, and what ends no later has ended for good, whatever the clock says.
 *
 * The end is looked at again in the transaction that uses something up; what was in time when its
 * signature was looked at may have ended since.
 */

import type { DatabaseSync } from 'node:sqlite';
import { transact } from '../sqlite.ts';

/** How long after its end something used is remembered; milliseconds. */
export const rememberedAfterEndMs = 10_000;

const forgottenAtOnce = 1_000;

const schema = `CREATE TABLE IF NOT EXISTS forgotten (
  used TEXT PRIMARY KEY,
  until_ms INTEGER NOT NULL
) STRICT;`;

export interface UsedTable {
  readonly name: string;
  /** Its primary key; its column `expires_at_ms` says when the thing ends. */
  readonly key: string;
}

export class UsedOnce {
  readonly #database: DatabaseSync;
  readonly #table: UsedTable;

  private constructor(database: DatabaseSync, table: UsedTable) {
    this.#database = database;
    this.#table = table;
  }

  /** @throws AdapterError STORE_FAILED, DISK_FULL */
  static open(database: DatabaseSync, table: UsedTable): UsedOnce {
    transact(database, 'what was used cannot be kept', () => database.exec(schema));
    return new UsedOnce(database, table);
  }

  /** What ends at that moment or earlier has ended. */
  endedMs(nowMs: number): number {
    const row = this.#database
      .prepare('SELECT until_ms FROM forgotten WHERE used = ?')
      .get(this.#table.name);
    return Math.max(nowMs, Number(row?.['until_ms'] ?? 0));
  }

  /** Forgets some of what ended a while ago, inside the caller's transaction; how many. */
  forget(nowMs: number): number {
    const { name, key } = this.#table;
    const limitMs = nowMs - rememberedAfterEndMs;
    const gone = `SELECT ${key}, expires_at_ms FROM ${name} WHERE expires_at_ms <= ?
      ORDER BY expires_at_ms, ${key} LIMIT ${forgottenAtOnce}`;
    const row = this.#database
      .prepare(`SELECT count(*) AS count, max(expires_at_ms) AS until_ms FROM (${gone})`)
      .get(limitMs);
    const count = Number(row?.['count'] ?? 0);
    if (count === 0) return 0;
    this.#database
      .prepare(
        `INSERT INTO forgotten VALUES (?, ?)
          ON CONFLICT (used) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)`,
      )
      .run(name, Number(row?.['until_ms']));
    this.#database
      .prepare(`DELETE FROM ${name} WHERE ${key} IN (SELECT ${key} FROM (${gone}))`)
      .run(limitMs);
    return count;
  }
}
