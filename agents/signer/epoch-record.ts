/**
 * What the signer remembers of epochs, durably and without any secret: the highest epoch that it stated
 * or saw of each channel (invariant 6: epochs never go down, over restarts too), which are closed for
 * good, where the held ones stand, and which prekeys were used. All of it is public.
 */

import type { DatabaseSync } from 'node:sqlite';
import {
  EpochAnnouncement,
  EpochStanding,
  type EpochAnnouncementBody,
  type EpochStanding as Standing,
} from '#schemas/epoch.ts';
import { compile } from '#schemas/primitives.ts';
import { translated } from '#shared/runtime/outbox-store.ts';
import type { SecretName } from './vault-files.ts';

/** Closed epochs of one channel that are named one by one; all below them are closed too. */
const closedKeptMax = 1024;

const standingCheck = compile(EpochStanding);
const announcementCheck = compile(EpochAnnouncement);

const schema = `
  CREATE TABLE IF NOT EXISTS epoch_mark (
    channel TEXT PRIMARY KEY, highest INTEGER NOT NULL, stated TEXT
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
  CREATE INDEX IF NOT EXISTS prekey_age ON prekey_used (time_ms)`;

export interface UsedPrekey {
  readonly prekeyId: string;
  /** When it was published. */
  readonly timeMs: number;
}

export class EpochRecord {
  readonly #database: DatabaseSync;

  /** @throws OutboxError, as every method: the database is the outbox's. */
  constructor(database: DatabaseSync) {
    this.#database = database;
    translated(() => database.exec(schema));
  }

  /** 0 where none was stated or seen. */
  highest(channel: string): number {
    return Number(this.#markOf(channel)?.['highest'] ?? 0);
  }

  /** Whether it is what was stated last of its channel: that may be asked for again. */
  wasStatedLast(channel: string, digest: string): boolean {
    return this.#markOf(channel)?.['stated'] === digest;
  }

  /** Those of the prekeys that an announcement used before. */
  used(prekeyIds: readonly string[]): ReadonlySet<string> {
    const find = translated(() =>
      this.#database.prepare('SELECT prekey_id FROM prekey_used WHERE prekey_id = ?'),
    );
    return new Set(prekeyIds.filter((id) => translated(() => find.get(id)) !== undefined));
  }

  /** Before the statement is signed. Forgets prekeys published before `forgetBeforeMs`. */
  state(
    { channel, epoch }: EpochAnnouncementBody,
    stated: {
      readonly digest: string;
      readonly prekeys: readonly UsedPrekey[];
      readonly forgetBeforeMs: number;
    },
  ): void {
    this.#inTransaction(() => {
      this.#raise(channel, epoch, stated.digest);
      const insert = this.#database.prepare(
        'INSERT INTO prekey_used (prekey_id, time_ms) VALUES (?, ?) ON CONFLICT DO NOTHING',
      );
      for (const { prekeyId, timeMs } of stated.prekeys) insert.run(prekeyId, timeMs);
      this.#database
        .prepare('DELETE FROM prekey_used WHERE time_ms < ?')
        .run(stated.forgetBeforeMs);
    });
  }

  /** Where an epoch stands whose secret is held. */
  hold(
    { channel, epoch }: SecretName,
    held: { readonly standing: Standing; readonly announcement: EpochAnnouncement | undefined },
  ): void {
    const { standing, announcement } = held;
    this.#inTransaction(() => {
      this.#raise(channel, epoch, null);
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
    const announcement: unknown = typeof text === 'string' ? JSON.parse(text) : undefined;
    return {
      standing,
      announcement: announcementCheck.check(announcement) ? announcement : undefined,
    };
  }

  /** The epoch is over for good. */
  close({ channel, epoch }: SecretName): void {
    this.#inTransaction(() => {
      this.#raise(channel, epoch, null);
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
      this.#database
        .prepare('SELECT highest, stated FROM epoch_mark WHERE channel = ?')
        .get(channel),
    );
  }

  /** `stated` stays what it was where it is null. */
  #raise(channel: string, epoch: number, stated: string | null): void {
    this.#database
      .prepare(
        `INSERT INTO epoch_mark (channel, highest, stated) VALUES (?, ?, ?)
         ON CONFLICT (channel) DO UPDATE SET highest = max(highest, excluded.highest),
           stated = coalesce(excluded.stated, stated)`,
      )
      .run(channel, epoch, stated);
  }

  #inTransaction(run: () => void): void {
    translated(() => {
      this.#database.exec('BEGIN IMMEDIATE');
      try {
        run();
        this.#database.exec('COMMIT');
      } catch (error) {
        this.#database.exec('ROLLBACK');
        throw error;
      }
    });
  }
}
