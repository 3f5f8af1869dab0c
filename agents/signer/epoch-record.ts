/**
 * What the signer remembers of epochs, durably and without any secret: the highest epoch
 * that it saw announced of each channel (invariant 6: epochs never go down, over restarts too), which are closed for
 * good, where the held ones stand, which prekeys were used, and how often it stated one for whom. All of it is public.
 */

import type { DatabaseSync } from 'node:sqlite';
import {
  EpochAnnouncement,
  EpochStanding,
  type EpochStanding as Standing,
} from '#schemas/epoch.ts';
import { compile } from '#schemas/primitives.ts';
import type { SecretName } from '#shared/runtime/disk.ts';
import { translated } from '#shared/runtime/outbox-store.ts';

/** Closed epochs of one channel that are named one by one; all below them are closed too. */
const closedKeptMax = 1024;

const standingCheck = compile(EpochStanding);
const announcementCheck = compile(EpochAnnouncement);

const schema = `
  CREATE TABLE IF NOT EXISTS epoch_mark (
    channel TEXT PRIMARY KEY, highest INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS epoch_held (
    channel TEXT NOT NULL, epoch INTEGER NOT NULL, standing TEXT NOT NULL, announcement TEXT,
    PRIMARY KEY (channel, epoch)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS epoch_closed (
    channel TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (channel, epoch)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS prekey_used (
    prekey_id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS prekey_age ON prekey_used (time_ms);
  CREATE TABLE IF NOT EXISTS epoch_paid (
    channel TEXT NOT NULL, asker TEXT NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (channel, asker)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS epoch_wish (
    request TEXT NOT NULL, channel TEXT NOT NULL, asker TEXT NOT NULL,
    stated INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    PRIMARY KEY (request, channel, asker)
  ) STRICT`;

/** For whom an announcement of a channel is stated. */
export interface Asked {
  readonly channel: string;
  readonly asker: string;
}

export interface PrekeyUse {
  readonly prekeyIds: readonly string[];
  /** When they were used. */
  readonly timeMs: number;
  readonly forgetBeforeMs: number;
}

export class EpochRecord {
  readonly #database: DatabaseSync;

  /** @throws OutboxError, as every method: the database is the outbox's. */
  constructor(database: DatabaseSync) {
    this.#database = database;
    translated(() => database.exec(schema));
  }

  /** 0 where none was seen. */
  highest(channel: string): number {
    return Number(this.#markOf(channel)?.['highest'] ?? 0);
  }

  /** Whether an announcement used the prekey. */
  isUsed(prekeyId: string): boolean {
    const found = translated(() =>
      this.#database.prepare('SELECT 1 FROM prekey_used WHERE prekey_id = ?').get(prekeyId),
    );
    return found !== undefined;
  }

  /**
   * The announcement stands in the log: its number and its prekeys are used up. What was stated and
   * never appended used nothing: the orchestrator that asked for it may be gone, and another one must
   * be able to go on. Forgets prekeys used before `forgetBeforeMs`.
   */
  announced({ channel, epoch }: SecretName, used: PrekeyUse): void {
    this.#inTransaction(() => {
      this.#raise(channel, epoch);
      const insert = this.#database.prepare(
        'INSERT INTO prekey_used (prekey_id, time_ms) VALUES (?, ?) ON CONFLICT DO NOTHING',
      );
      for (const prekeyId of used.prekeyIds) insert.run(prekeyId, used.timeMs);
      this.#database.prepare('DELETE FROM prekey_used WHERE time_ms < ?').run(used.forgetBeforeMs);
    });
  }

  /** Until when what was stated is paid for (`announcementAllowed`); 0 before the first. */
  paidUntilMs({ channel, asker }: Asked): number {
    const row = translated(() =>
      this.#database
        .prepare('SELECT until_ms FROM epoch_paid WHERE channel = ? AND asker = ?')
        .get(channel, asker),
    );
    return Number(row?.['until_ms'] ?? 0);
  }

  pay({ channel, asker }: Asked, untilMs: number): void {
    translated(() =>
      this.#database
        .prepare(
          `INSERT INTO epoch_paid (channel, asker, until_ms) VALUES (?, ?, ?)
           ON CONFLICT (channel, asker) DO UPDATE SET until_ms = excluded.until_ms`,
        )
        .run(channel, asker, untilMs),
    );
  }

  /** How often an announcement was stated that rests on the request. */
  statedFor({ channel, asker }: Asked, request: string): number {
    const row = translated(() =>
      this.#database
        .prepare('SELECT stated FROM epoch_wish WHERE request = ? AND channel = ? AND asker = ?')
        .get(request, channel, asker),
    );
    return Number(row?.['stated'] ?? 0);
  }

  /** Once more. Forgets requests from before `forgetBeforeMs`. */
  stateFor(
    { channel, asker }: Asked,
    wish: { readonly request: string; readonly timeMs: number; readonly forgetBeforeMs: number },
  ): void {
    this.#inTransaction(() => {
      this.#database
        .prepare(
          `INSERT INTO epoch_wish (request, channel, asker, stated, time_ms) VALUES (?, ?, ?, 1, ?)
           ON CONFLICT (request, channel, asker) DO UPDATE SET stated = stated + 1`,
        )
        .run(wish.request, channel, asker, wish.timeMs);
      this.#database.prepare('DELETE FROM epoch_wish WHERE time_ms < ?').run(wish.forgetBeforeMs);
    });
  }

  /** Where an epoch stands whose secret is held. */
  hold(
    { channel, epoch }: SecretName,
    held: { readonly standing: Standing; readonly announcement: EpochAnnouncement | undefined },
  ): void {
    const { standing, announcement } = held;
    this.#inTransaction(() => {
      this.#raise(channel, epoch);
      this.#database
        .prepare(
          `INSERT INTO epoch_held (channel, epoch, standing, announcement) VALUES (?, ?, ?, ?)
           ON CONFLICT (channel, epoch) DO UPDATE SET standing = excluded.standing,
             announcement = coalesce(excluded.announcement, announcement)`,
        )
        .run(
          channel,
          epoch,
          standing,
          announcement === undefined ? null : JSON.stringify(announcement),
        );
    });
  }

  /** Undefined for what is not held. */
  held({
    channel,
    epoch,
  }: SecretName):
    | { readonly standing: Standing; readonly announcement: EpochAnnouncement | undefined }
    | undefined {
    const row = translated(() =>
      this.#database
        .prepare('SELECT standing, announcement FROM epoch_held WHERE channel = ? AND epoch = ?')
        .get(channel, epoch),
    );
    const standing = row?.['standing'];
    if (row === undefined || !standingCheck.check(standing)) return undefined;
    const text = row['announcement'];
    const announcement = typeof text === 'string' ? parsed(text) : undefined;
    return {
      standing,
      announcement: announcementCheck.check(announcement) ? announcement : undefined,
    };
  }

  /** The epoch is over for good. */
  close({ channel, epoch }: SecretName): void {
    this.#inTransaction(() => {
      this.#raise(channel, epoch);
      this.#database
        .prepare('DELETE FROM epoch_held WHERE channel = ? AND epoch = ?')
        .run(channel, epoch);
      this.#database
        .prepare('INSERT INTO epoch_closed (channel, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING')
        .run(channel, epoch);
      this.#database
        .prepare(
          `DELETE FROM epoch_closed WHERE channel = ?1 AND epoch NOT IN
             (SELECT epoch FROM epoch_closed WHERE channel = ?1 ORDER BY epoch DESC LIMIT ?2)`,
        )
        .run(channel, closedKeptMax);
    });
  }

  isClosed({ channel, epoch }: SecretName): boolean {
    const row = translated(() =>
      this.#database
        .prepare(
          `SELECT count(*) AS kept, min(epoch) AS lowest, coalesce(max(epoch = ?2), 0) AS named
             FROM epoch_closed WHERE channel = ?1`,
        )
        .get(channel, epoch),
    );
    const isBelowAll =
      Number(row?.['kept']) >= closedKeptMax && epoch < Number(row?.['lowest'] ?? 0);
    return row?.['named'] === 1 || isBelowAll;
  }

  #markOf(channel: string) {
    return translated(() =>
      this.#database.prepare('SELECT highest FROM epoch_mark WHERE channel = ?').get(channel),
    );
  }

  #raise(channel: string, epoch: number): void {
    this.#database
      .prepare(
        `INSERT INTO epoch_mark (channel, highest) VALUES (?, ?)
         ON CONFLICT (channel) DO UPDATE SET highest = max(highest, excluded.highest)`,
      )
      .run(channel, epoch);
  }

  #inTransaction(run: () => void): void {
    translated(() => {
      this.#database.exec('BEGIN IMMEDIATE');
      try {
        run();
        this.#database.exec('COMMIT');
      } catch (error) {
        // A full disk has ended the transaction by itself.
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
        throw error;
      }
    });
  }
}

/** Undefined for what is not JSON: an announcement that is not known any more. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
