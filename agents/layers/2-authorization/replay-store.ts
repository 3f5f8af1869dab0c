/**
 * Nonces that were used: replay.db. One is on the disk before anybody is told that its capability is
 * good, so that a restart lets none in twice; those that come at the same time share one write. Whether
 * a capability is over is decided in that write. The store has a bound and forgets nothing before its
 * time, unless the clock went back and all of then is refused (used-once.ts): where it is full, further
 * ones are refused.
 *
 * Whoever lost the answer asks the same question again a moment later and is no replay.
 */

import type { DatabaseSync } from 'node:sqlite';
import { samePublicBytes } from '#shared/crypto/bytes.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { UsedOnce, type GoodOnce } from '../service/used-once.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';

export const capabilityLifetimeMs = 60_000;
export const spentMaxDefault = 200_000;
/** A question is repeated within that time, also when who asks was started anew, or is a replay. */
export const repeatedWithinMs = 20_000;

export type SpendOutcome = 'fresh' | 'repeated' | 'replayed' | 'expired' | 'full';

export interface Spending extends GoodOnce {
  /** 16 bytes. */
  readonly id: Uint8Array;
  /** Digest of all that makes a question the same one; the same spending once more is none. */
  readonly question?: Uint8Array;
}

interface Waiting extends Spending {
  readonly settle: (outcome: SpendOutcome) => void;
  readonly fail: (error: unknown) => void;
}

const name = 'replay.db';

const schema = `
  CREATE TABLE IF NOT EXISTS used_nonces (
    id BLOB PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    question BLOB
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS nonces_by_end ON used_nonces (expires_at_ms);
`;

export class ReplayStore {
  readonly #database: DatabaseSync;
  readonly #used: UsedOnce;
  readonly #clock: Clock;
  readonly #spentMax: number;
  #count: number;
  #waiting: Waiting[] = [];

  private constructor(database: DatabaseSync, clock: Clock, spentMax: number) {
    this.#database = database;
    const table = { name: 'used_nonces', key: 'id', lifetimeMs: capabilityLifetimeMs };
    this.#used = UsedOnce.open(database, table);
    this.#clock = clock;
    this.#spentMax = spentMax;
    const row = database.prepare('SELECT count(*) AS count FROM used_nonces').get();
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

  /** The generation of capabilities that are made now. @throws AdapterError */
  generation(): number {
    const { generation, isRaised } = this.#used.generation(this.#clock.nowMs());
    if (isRaised) this.#count = 0;
    return generation;
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
    const nowMs = this.#clock.nowMs();
    try {
      const outcomes = transact(this.#database, 'the used nonces were not kept', () => {
        if (this.#used.raise(nowMs)) this.#count = 0;
        this.#count -= this.#used.forget(nowMs);
        return waiting.map((each) =>
          this.#used.isOver(each, nowMs) ? 'expired' : this.#use(each, nowMs),
        );
      });
      waiting.forEach(({ settle }, index) => settle(outcomes[index] ?? 'full'));
    } catch (error) {
      this.#count = before;
      for (const { fail } of waiting) fail(error);
    }
  }

  #use({ id, expiresAtMs, question }: Spending, nowMs: number): SpendOutcome {
    const found = this.#database
      .prepare('SELECT used_at_ms, question FROM used_nonces WHERE id = ?')
      .get(id);
    if (found !== undefined) {
      const { used_at_ms: usedAtMs, question: asked } = found;
      const isSame =
        question !== undefined && asked instanceof Uint8Array && samePublicBytes(asked, question);
      const isSoon = Math.abs(nowMs - Number(usedAtMs)) <= repeatedWithinMs;
      return isSame && isSoon ? 'repeated' : 'replayed';
    }
    if (this.#count >= this.#spentMax) return 'full';
    this.#database
      .prepare('INSERT INTO used_nonces VALUES (?, ?, ?, ?)')
      .run(id, expiresAtMs, nowMs, question ?? null);
    this.#count += 1;
    return 'fresh';
  }
}
