/**
 * Nonces that were used: replay.db. One is on the disk before anybody is told that its capability is
 * good, so that a restart lets none in twice; those that come at the same time share one write. The
 * store has a bound and forgets nothing before its time: where it is full, further ones are refused.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';

export const spentMaxDefault = 200_000;

export type SpendOutcome = 'fresh' | 'replayed' | 'full';

export interface Spending {
  /** 16 bytes. */
  readonly id: Uint8Array;
  readonly expiresAtMs: number;
  /** The same spending once more is none. */
  readonly requestId?: string;
}

interface Waiting extends Spending {
  readonly settle: (outcome: SpendOutcome) => void;
  readonly fail: (error: unknown) => void;
}

const name = 'replay.db';
const purgedAtOnce = 1_000;

const schema = `
  CREATE TABLE IF NOT EXISTS spent (
    id BLOB PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL,
    request_id TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS spent_by_end ON spent (expires_at_ms);
`;

export class ReplayStore {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #spentMax: number;
  #count: number;
  #waiting: Waiting[] = [];

  private constructor(database: DatabaseSync, clock: Clock, spentMax: number) {
    this.#database = database;
    this.#clock = clock;
    this.#spentMax = spentMax;
    const row = database.prepare('SELECT count(*) AS count FROM spent').get();
    this.#count = Number(row?.['count'] ?? 0);
  }

  /** @throws AdapterError STORE_FAILED, DISK_FULL */
  static open(
    disk: Pick<Disk, 'database'>,
    { clock, spentMax = spentMaxDefault }: { clock: Clock; spentMax?: number },
  ): ReplayStore {
    const database = openDatabase(disk, name);
    try {
      transact(database, 'the used nonces cannot be kept', () => database.exec(schema));
      return translated(
        'the used nonces cannot be read',
        () => new ReplayStore(database, clock, spentMax),
      );
    } catch (error) {
      database.close();
      throw error;
    }
  }

  get count(): number {
    return this.#count;
  }

  /** Uses a nonce up. @throws AdapterError where the disk does not take it: it may be used or not */
  spend(spending: Spending): Promise<SpendOutcome> {
    return new Promise((settle, fail) => {
      this.#waiting.push({ ...spending, settle, fail });
      if (this.#waiting.length === 1) setImmediate(() => this.#flush());
    });
  }

  close(): void {
    this.#flush();
    if (this.#database.isOpen) this.#database.close();
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length === 0) return;
    const before = this.#count;
    try {
      const outcomes = transact(this.#database, 'the used nonces were not kept', () => {
        this.#purge();
        return waiting.map((each) => this.#insert(each));
      });
      waiting.forEach(({ settle }, index) => settle(outcomes[index] ?? 'full'));
    } catch (error) {
      this.#count = before;
      for (const { fail } of waiting) fail(error);
    }
  }

  #insert({ id, expiresAtMs, requestId }: Spending): SpendOutcome {
    const found = this.#database.prepare('SELECT request_id FROM spent WHERE id = ?').get(id);
    if (found !== undefined) {
      const isSame = requestId !== undefined && found['request_id'] === requestId;
      return isSame ? 'fresh' : 'replayed';
    }
    if (this.#count >= this.#spentMax) return 'full';
    this.#database
      .prepare('INSERT INTO spent VALUES (?, ?, ?)')
      .run(id, expiresAtMs, requestId ?? null);
    this.#count += 1;
    return 'fresh';
  }

  #purge(): void {
    const { changes } = this.#database
      .prepare(
        `DELETE FROM spent WHERE id IN
          (SELECT id FROM spent WHERE expires_at_ms <= ? LIMIT ${purgedAtOnce})`,
      )
      .run(this.#clock.nowMs());
    this.#count -= Number(changes);
  }
}
