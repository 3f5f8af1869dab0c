/**
 * When what is good once may be forgotten: a while after its end, so that nothing is accepted any more
 * that has been forgotten as used. A clock may go back: the latest end that was ever forgotten is kept
 * in the same transaction, and what ends no later has ended.
 *
 * A clock that was ahead and is put right would make all that is new end before that. So everything
 * that is good once carries the generation in which it was made. Where the clock is found behind what it
 * has said before, the generation is raised, and with it goes all that was remembered of the earlier
 * ones: nothing of theirs is accepted again, in time or not, and all that is made from then on is good.
 *
 * The end is looked at again in the transaction that uses something up; what was in time when its
 * signature was looked at may have ended since.
 */

import type { DatabaseSync } from 'node:sqlite';
import { transact, translated } from '../sqlite.ts';

/** How long after its end something used is remembered; milliseconds. */
export const rememberedAfterEndMs = 10_000;

const forgottenAtOnce = 1_000;

const schema = `
  CREATE TABLE IF NOT EXISTS forgotten (
    used TEXT PRIMARY KEY,
    until_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS generations (
    used TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
  ) STRICT;
`;

export interface UsedTable {
  readonly name: string;
  /** Its primary key; its column `expires_at_ms` says when the thing ends. */
  readonly key: string;
  /** How long such a thing is good at the most. */
  readonly lifetimeMs: number;
}

/** What something that is good once says of itself. */
export interface GoodOnce {
  readonly generation: number;
  readonly expiresAtMs: number;
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

  /**
   * The generation of what is made now, on the disk before anything carries it; and whether it was
   * raised for that. @throws AdapterError
   */
  generation(nowMs: number): { readonly generation: number; readonly isRaised: boolean } {
    const what = 'the generation cannot be told';
    const isRaised = translated(what, () => this.#isBehind(nowMs));
    if (isRaised) transact(this.#database, what, () => this.raise(nowMs));
    const generation = translated(what, () => this.#number('generation', 'generations'));
    return { generation, isRaised };
  }

  /** Raises the generation where the clock went back, inside the caller's transaction; whether it did. */
  raise(nowMs: number): boolean {
    if (!this.#isBehind(nowMs)) return false;
    const { name } = this.#table;
    this.#database
      .prepare(
        `INSERT INTO generations VALUES (?, 1)
          ON CONFLICT (used) DO UPDATE SET generation = generation + 1`,
      )
      .run(name);
    this.#database.prepare('DELETE FROM forgotten WHERE used = ?').run(name);
    this.#database.exec(`DELETE FROM ${name}`);
    return true;
  }

  /** Whether something is over, perhaps for good: its end came, or it is of an earlier generation. */
  isOver({ generation, expiresAtMs }: GoodOnce, nowMs: number): boolean {
    const { lifetimeMs } = this.#table;
    const isEnded = expiresAtMs <= Math.max(nowMs, this.#number('until_ms', 'forgotten'));
    const isAhead = expiresAtMs > nowMs + lifetimeMs + rememberedAfterEndMs;
    return isEnded || isAhead || generation !== this.#number('generation', 'generations');
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

  /**
   * Whether the clock is behind what it has said: something was forgotten that has not ended, or was
   * used that ends later than anything does that is made now. A few seconds back are neither.
   */
  #isBehind(nowMs: number): boolean {
    const { name, lifetimeMs } = this.#table;
    if (nowMs < this.#number('until_ms', 'forgotten')) return true;
    const row = this.#database.prepare(`SELECT max(expires_at_ms) AS latest FROM ${name}`).get();
    return Number(row?.['latest'] ?? 0) > nowMs + lifetimeMs + rememberedAfterEndMs;
  }

  #number(column: string, table: string): number {
    const sql = `SELECT ${column} AS number FROM ${table} WHERE used = ?`;
    return Number(this.#database.prepare(sql).get(this.#table.name)?.['number'] ?? 0);
  }
}
