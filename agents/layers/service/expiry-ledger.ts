/**
 * Until when a key is needed by what was made under it: tokens are not kept, only how many expire when.
 * Within one life of the process the count is exact. The latest expiry of each key is on the disk before
 * anything that expires then leaves, so that a new life knows of what an earlier one gave out: one user,
 * at the least, until then. It is written ahead by a span, not for each token.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '#shared/runtime/ports.ts';
import { transact, translated } from '../sqlite.ts';

export interface ExpiryLedgerOptions {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  /** How far ahead the disk may be: one write in that time for each key; milliseconds. */
  readonly aheadMs: number;
}

interface Entry {
  /** How many expire in each second, by its number since 1970. */
  readonly bySecond: Map<number, number>;
  /** What the disk says; nothing of this life expires after it. */
  untilMs: number;
  /** What the disk said at the start: earlier lives gave out nothing that expires after it. */
  readonly earlierUntilMs: number;
}

const schema = `CREATE TABLE IF NOT EXISTS expiries (
  slot TEXT NOT NULL,
  version INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  PRIMARY KEY (slot, version)
) STRICT;`;

export class ExpiryLedger {
  readonly #options: ExpiryLedgerOptions;
  readonly #entries = new Map<string, Entry>();

  private constructor(options: ExpiryLedgerOptions) {
    this.#options = options;
  }

  /** @throws AdapterError STORE_FAILED, DISK_FULL */
  static open(options: ExpiryLedgerOptions): ExpiryLedger {
    const ledger = new ExpiryLedger(options);
    const { database, clock } = options;
    transact(database, 'the expiries cannot be used', () => {
      database.exec(schema);
      database.prepare('DELETE FROM expiries WHERE until_ms <= ?').run(clock.nowMs());
    });
    const rows = translated('the expiries cannot be read', () =>
      database.prepare('SELECT slot, version, until_ms FROM expiries').all(),
    );
    for (const { slot, version, until_ms: untilMs } of rows) {
      if (typeof untilMs !== 'number') continue;
      const name = nameOf(String(slot), Number(version));
      ledger.#entries.set(name, { bySecond: new Map(), untilMs, earlierUntilMs: untilMs });
    }
    return ledger;
  }

  /** Before something is made under a key. @throws AdapterError where the disk does not take it */
  note(slot: string, version: number, { expiresAtMs, count = 1 }: Noted): void {
    const entry = this.#entryOf(slot, version);
    if (expiresAtMs > entry.untilMs) {
      const untilMs = expiresAtMs + this.#options.aheadMs;
      this.#write(slot, version, untilMs);
      entry.untilMs = untilMs;
    }
    this.#prune(entry);
    const second = Math.ceil(expiresAtMs / 1_000);
    entry.bySecond.set(second, (entry.bySecond.get(second) ?? 0) + count);
  }

  /** How many that were made under the key are not expired. */
  users(slot: string, version: number): number {
    const entry = this.#entries.get(nameOf(slot, version));
    if (entry === undefined) return 0;
    this.#prune(entry);
    const known = [...entry.bySecond.values()].reduce((sum, count) => sum + count, 0);
    return known + (entry.earlierUntilMs > this.#options.clock.nowMs() ? 1 : 0);
  }

  #entryOf(slot: string, version: number): Entry {
    const name = nameOf(slot, version);
    const known = this.#entries.get(name);
    if (known !== undefined) return known;
    const entry = { bySecond: new Map<number, number>(), untilMs: 0, earlierUntilMs: 0 };
    this.#entries.set(name, entry);
    return entry;
  }

  #write(slot: string, version: number, untilMs: number): void {
    const { database } = this.#options;
    translated('the expiries were not kept', () =>
      database
        .prepare('INSERT OR REPLACE INTO expiries (slot, version, until_ms) VALUES (?, ?, ?)')
        .run(slot, version, untilMs),
    );
  }

  #prune({ bySecond }: Entry): void {
    const nowMs = this.#options.clock.nowMs();
    for (const second of bySecond.keys()) {
      if (second * 1_000 <= nowMs) bySecond.delete(second);
    }
  }
}

interface Noted {
  readonly expiresAtMs: number;
  readonly count?: number;
}

function nameOf(slot: string, version: number): string {
  return `${slot}#${version}`;
}
