/**
 * The rows of an outbox in SQLite: write-ahead log and `synchronous = FULL`, so that a row that was
 * enqueued is on disk when the call returns. Counts and bytes are kept by triggers, in the caller's
 * transaction, and are therefore right whatever is rolled back.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';

export type OutboxErrorCode =
  /** The bound on rows or bytes is reached. */
  | 'OUTBOX_FULL'
  /** The disk is full; nothing was written. */
  | 'OUTBOX_DISK_FULL'
  /** The message is one that no bus would take. */
  | 'OUTBOX_REJECTED'
  /** The database failed otherwise. */
  | 'OUTBOX_STORE_FAILED';

export class OutboxError extends Error {
  readonly code: OutboxErrorCode;

  constructor(code: OutboxErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'OutboxError';
    this.code = code;
  }
}

export interface OutboxRow {
  readonly position: number;
  readonly messageId: string;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly expectLastSubjectSequence: number | null;
  /** How often the bus has said that it stored it. */
  readonly publishes: number;
}

export interface OutboxCounts {
  readonly rows: number;
  readonly bytes: number;
  /** Rows of which the bus has not yet said that it stored them. */
  readonly unstored: number;
}

const schema = `
CREATE TABLE IF NOT EXISTS outbox (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT NOT NULL UNIQUE,
  subject TEXT NOT NULL,
  data BLOB NOT NULL,
  expect_last INTEGER,
  stored_sequence INTEGER,
  publishes INTEGER NOT NULL DEFAULT 0,
  due_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_unstored ON outbox (position) WHERE stored_sequence IS NULL;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_ms);
CREATE TABLE IF NOT EXISTS outbox_totals (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  row_count INTEGER NOT NULL,
  byte_count INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_totals VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
CREATE TRIGGER IF NOT EXISTS outbox_added AFTER INSERT ON outbox BEGIN
  UPDATE outbox_totals
  SET row_count = row_count + 1, byte_count = byte_count + length(new.data) WHERE id = 1;
END;
CREATE TRIGGER IF NOT EXISTS outbox_removed AFTER DELETE ON outbox BEGIN
  UPDATE outbox_totals
  SET row_count = row_count - 1, byte_count = byte_count - length(old.data) WHERE id = 1;
END;
`;

const sqliteFull = 13;
/** The shared-memory file of the write-ahead log could not grow. */
const sqliteIoErrorShmSize = 4874;

const columns = `position, message_id AS messageId, subject, data, publishes,
  expect_last AS expectLastSubjectSequence`;

interface Totals {
  readonly rows: number;
  readonly bytes: number;
  /** When the first row is due. */
  readonly dueMs: number | null;
}

export class OutboxStore {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #totals: StatementSync;
  readonly #unstoredCount: StatementSync;
  readonly #unstored: StatementSync;
  readonly #overdue: StatementSync;
  readonly #stored: StatementSync;
  readonly #postponed: StatementSync;
  readonly #removePosition: StatementSync;
  readonly #removeId: StatementSync;
  /** As it was read since the last write: nobody else writes here. */
  #seen: Totals | undefined;

  /** @throws OutboxError OUTBOX_DISK_FULL, OUTBOX_STORE_FAILED */
  constructor(database: DatabaseSync) {
    this.#database = database;
    translated(() => {
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      database.exec('PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 256;');
      this.#inTransaction(() => database.exec(schema));
    });
    const prepare = (sql: string): StatementSync => translated(() => database.prepare(sql));
    this.#insert = prepare(
      `INSERT INTO outbox (message_id, subject, data, expect_last) VALUES (?, ?, ?, ?)
       ON CONFLICT (message_id) DO NOTHING`,
    );
    this.#totals = prepare(
      `SELECT row_count AS "rows", byte_count AS bytes, (SELECT min(due_ms) FROM outbox) AS dueMs
       FROM outbox_totals`,
    );
    this.#unstoredCount = prepare(
      'SELECT count(*) AS unstored FROM outbox WHERE stored_sequence IS NULL',
    );
    this.#unstored = prepare(
      `SELECT ${columns} FROM outbox WHERE stored_sequence IS NULL AND due_ms <= ?
       ORDER BY position LIMIT ?`,
    );
    this.#overdue = prepare(
      `SELECT ${columns} FROM outbox WHERE due_ms <= ? AND stored_sequence IS NOT NULL
       ORDER BY due_ms, position LIMIT ?`,
    );
    this.#stored = prepare(
      `UPDATE outbox SET stored_sequence = ?, due_ms = ?, publishes = publishes + 1
       WHERE position = ?`,
    );
    this.#postponed = prepare('UPDATE outbox SET due_ms = ? WHERE position = ?');
    this.#removePosition = prepare('DELETE FROM outbox WHERE position = ?');
    this.#removeId = prepare('DELETE FROM outbox WHERE message_id = ?');
  }

  /** Whether somebody's transaction is open: what it wrote may yet be rolled back. */
  get inTransaction(): boolean {
    return this.#database.isTransaction;
  }

  insert(row: Omit<OutboxRow, 'position' | 'publishes'>): void {
    const { messageId, subject, data, expectLastSubjectSequence } = row;
    this.#write(this.#insert, messageId, subject, data, expectLastSubjectSequence);
  }

  totals(): { readonly rows: number; readonly bytes: number } {
    const { rows, bytes } = this.#look();
    return { rows, bytes };
  }

  counts(): OutboxCounts {
    const row = translated(() => this.#unstoredCount.get());
    return { ...this.totals(), unstored: Number(row?.['unstored']) };
  }

  /** What to publish now: first what was never stored, in order; then what is overdue. */
  due(nowMs: number, rowsMax: number): OutboxRow[] {
    // Most looks find nothing: one index says so.
    const dueMs = this.nextDueMs();
    if (dueMs === null || dueMs > nowMs) return [];
    return translated(() => {
      const fresh = this.#unstored.all(nowMs, rowsMax);
      return (fresh.length > 0 ? fresh : this.#overdue.all(nowMs, rowsMax)).map(rowOf);
    });
  }

  /** When the next row is due, or null when there is none. */
  nextDueMs(): number | null {
    return this.#look().dueMs;
  }

  markStored(position: number, sequence: number, dueMs: number): void {
    this.#write(this.#stored, sequence, dueMs, position);
  }

  postpone(position: number, dueMs: number): void {
    this.#write(this.#postponed, dueMs, position);
  }

  remove(position: number): void {
    this.#write(this.#removePosition, position);
  }

  /** Removes by message id, all or nothing; how many there were. */
  removeIds(messageIds: readonly string[]): number {
    // Receipts of everybody's events come by: where nothing waits, nothing is written.
    if (this.totals().rows === 0) return 0;
    return translated(() =>
      this.#inTransaction(() => {
        let removed = 0;
        for (const messageId of messageIds) removed += this.#write(this.#removeId, messageId);
        return removed;
      }),
    );
  }

  /** What was written in a transaction may be rolled back: nothing is kept until it is over. */
  #look(): Totals {
    if (this.#seen !== undefined) return this.#seen;
    const row = translated(() => this.#totals.get());
    const dueMs = row?.['dueMs'];
    const seen = {
      rows: Number(row?.['rows']),
      bytes: Number(row?.['bytes']),
      dueMs: typeof dueMs === 'number' ? dueMs : null,
    };
    if (!this.inTransaction) this.#seen = seen;
    return seen;
  }

  /** How many rows changed. */
  #write(statement: StatementSync, ...values: readonly SQLInputValue[]): number {
    const seen = this.#seen;
    this.#seen = undefined;
    const changes = translated(() => Number(statement.run(...values).changes));
    // Receipts of everybody's events name mostly what was never here.
    if (changes === 0) this.#seen = seen;
    return changes;
  }

  /** In the caller's transaction when there is one, in its own otherwise. */
  #inTransaction<Result>(work: () => Result): Result {
    if (this.#database.isTransaction) return work();
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }
}

/** @throws OutboxError for every fault of SQLite */
export function translated<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || !('errcode' in error)) throw error;
    const code = Number(error.errcode);
    throw (code & 0xff) === sqliteFull || code === sqliteIoErrorShmSize
      ? new OutboxError('OUTBOX_DISK_FULL', 'the disk is full; nothing was written', error)
      : new OutboxError('OUTBOX_STORE_FAILED', `the outbox failed (SQLite error ${code})`, error);
  }
}

function rowOf(row: Record<string, unknown>): OutboxRow {
  const expected = row['expectLastSubjectSequence'];
  const data = row['data'];
  return {
    position: Number(row['position']),
    messageId: String(row['messageId']),
    subject: String(row['subject']),
    data: data instanceof Uint8Array ? data : new Uint8Array(),
    expectLastSubjectSequence: typeof expected === 'number' ? expected : null,
    publishes: Number(row['publishes']),
  };
}
