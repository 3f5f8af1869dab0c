/**
 * The wrapped data keys, data-keys.db: a row per object, with the version of the KEK that it is under.
 * Nothing in it opens without KEK and root KEK. A row that is deleted is overwritten and leaves the
 * write-ahead log too: the object's data stays behind as noise (crypto-shredding).
 */

import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { invariant } from '#shared/crypto/errors.ts';
import { AdapterError } from '../adapter.ts';
import { transact, translated } from '../sqlite.ts';

/** Whose object, and which. */
export interface ObjectName {
  /** `subject:` and whose it is, or `layer:` and which of the other layers'. */
  readonly owner: string;
  readonly objectId: string;
}

/** A data key under a KEK. */
export interface WrappedDataKey {
  readonly kekVersion: number;
  /** What was encapsulated to the KEK: 1,600 bytes. */
  readonly capsule: Uint8Array;
  /** The data key under what the capsule and the KEK's share give: 48 bytes. */
  readonly wrapped: Uint8Array;
}

export interface StoredDataKey extends ObjectName, WrappedDataKey {
  /** Digest over owner, object and context; 32 bytes. */
  readonly place: Uint8Array;
  /** Of the one object that was sealed under it here, if any. */
  readonly salt: Uint8Array | undefined;
}

/** Objects that there can be, of about 1.8 kB each. Each layer has room of its own. */
export interface ObjectLimits {
  readonly perSubject: number;
  readonly ofAllSubjects: number;
  readonly perLayer: number;
}

export const objectLimits: ObjectLimits = {
  perSubject: 50_000,
  ofAllSubjects: 500_000,
  perLayer: 50_000,
};
/** Owners whose number of objects is remembered. */
const countedMax = 1_000;

const schema = `
  CREATE TABLE IF NOT EXISTS data_keys (
    owner TEXT NOT NULL,
    object_id TEXT NOT NULL,
    place BLOB NOT NULL,
    kek_version INTEGER NOT NULL CHECK (kek_version >= 1),
    capsule BLOB NOT NULL,
    wrapped BLOB NOT NULL,
    salt BLOB,
    damaged INTEGER NOT NULL DEFAULT 0 CHECK (damaged IN (0, 1)),
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, object_id)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS data_keys_by_kek ON data_keys (kek_version, damaged);
`;

export class DataKeyStore {
  readonly #database: DatabaseSync;
  readonly #limits: ObjectLimits;
  /** Objects by owner, of some; nobody else writes here. */
  readonly #counts = new Map<string, number>();
  #ofAllSubjects: number;

  /** @throws AdapterError */
  constructor(database: DatabaseSync, limits: ObjectLimits = objectLimits) {
    this.#database = database;
    this.#limits = limits;
    this.transact('the data keys cannot be used', () => database.exec(schema));
    this.#ofAllSubjects = this.#count(
      `SELECT count(*) AS n FROM data_keys WHERE owner >= 'subject:' AND owner < 'subject;'`,
      [],
    );
    // Of a version that kept the data keys of all layers under one empty name.
    if (this.#count(`SELECT count(*) AS n FROM data_keys WHERE owner = ''`, []) === 0) return;
    const what =
      'the data keys are those of an earlier version, and are not read: make the mesh anew';
    throw new AdapterError('STORE_FAILED', what);
  }

  find({ owner, objectId }: ObjectName): StoredDataKey | undefined {
    const where = 'WHERE owner = ? AND object_id = ?';
    return this.#all(`SELECT * FROM data_keys ${where}`, [owner, objectId]).map(dataKeyOf)[0];
  }

  /** Whether its owner may have one more; what subjects have takes no room from a layer. */
  hasRoomFor({ owner }: ObjectName): boolean {
    const { perSubject, ofAllSubjects, perLayer } = this.#limits;
    const owned = this.#countOf(owner);
    if (!isSubject(owner)) return owned < perLayer;
    return owned < perSubject && this.#ofAllSubjects < ofAllSubjects;
  }

  /** For whom there is room. */
  add(key: StoredDataKey, atMs: number): void {
    this.transact('the data key was not kept', () =>
      this.#run(
        `INSERT INTO data_keys
          (owner, object_id, place, kek_version, capsule, wrapped, created_at_ms)
          VALUES (?, ?, ?, ?, ?, ?, ?)`,
        [key.owner, key.objectId, key.place, key.kekVersion, key.capsule, key.wrapped, atMs],
      ),
    );
    this.#changeCount(key.owner, 1);
  }

  /** Notes what was sealed under the key; false where that was something else. */
  claim(name: ObjectName, salt: Uint8Array): boolean {
    return this.transact('the use of a data key was not kept', () => {
      const { owner, objectId } = name;
      this.#run(
        'UPDATE data_keys SET salt = ? WHERE owner = ? AND object_id = ? AND salt IS NULL',
        [salt, owner, objectId],
      );
      const kept = this.find(name)?.salt;
      return kept !== undefined && Buffer.compare(kept, salt) === 0;
    });
  }

  /** The next ones under a version of the KEK, but those that do not open. */
  under(kekVersion: number, limit: number): StoredDataKey[] {
    const where = 'WHERE kek_version = ? AND damaged = 0 LIMIT ?';
    return this.#all(`SELECT * FROM data_keys ${where}`, [kekVersion, limit]).map(dataKeyOf);
  }

  replace({ owner, objectId }: ObjectName, key: WrappedDataKey): void {
    this.#run(
      `UPDATE data_keys SET kek_version = ?, capsule = ?, wrapped = ?
        WHERE owner = ? AND object_id = ?`,
      [key.kekVersion, key.capsule, key.wrapped, owner, objectId],
    );
  }

  /** It does not open: left where it is, and under the key that it is under. */
  markDamaged({ owner, objectId }: ObjectName): void {
    const where = 'WHERE owner = ? AND object_id = ?';
    this.#run(`UPDATE data_keys SET damaged = 1 ${where}`, [owner, objectId]);
  }

  count(): number {
    return this.#count('SELECT count(*) AS n FROM data_keys', []);
  }

  /** Those that do not open included. */
  countUnder(kekVersion: number): number {
    return this.#count('SELECT count(*) AS n FROM data_keys WHERE kek_version = ?', [kekVersion]);
  }

  countDamaged(): number {
    return this.#count('SELECT count(*) AS n FROM data_keys WHERE damaged = 1', []);
  }

  /** Whether there was one. Nothing opens the object's data once this returns. */
  shred({ owner, objectId }: ObjectName): boolean {
    const changes = this.transact('the data key was not destroyed', () => {
      const where = 'WHERE owner = ? AND object_id = ?';
      return this.#run(`DELETE FROM data_keys ${where}`, [owner, objectId]);
    });
    this.#changeCount(owner, -changes);
    const [row] = this.#all('PRAGMA wal_checkpoint(TRUNCATE)', []);
    if (row?.['busy'] === 0) return changes > 0;
    throw new AdapterError('STORE_FAILED', 'destroyed bytes are still in the write-ahead log', {
      retryable: true,
    });
  }

  transact<Result>(what: string, work: () => Result): Result {
    return transact(this.#database, what, work);
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #countOf(owner: string): number {
    const known = this.#counts.get(owner);
    if (known !== undefined) return known;
    if (this.#counts.size >= countedMax) this.#counts.clear();
    const counted = this.#count('SELECT count(*) AS n FROM data_keys WHERE owner = ?', [owner]);
    this.#counts.set(owner, counted);
    return counted;
  }

  #changeCount(owner: string, by: number): void {
    const known = this.#counts.get(owner);
    if (known !== undefined) this.#counts.set(owner, known + by);
    if (isSubject(owner)) this.#ofAllSubjects += by;
  }

  #count(sql: string, values: readonly SQLInputValue[]): number {
    return Number(this.#all(sql, values)[0]?.['n'] ?? 0);
  }

  #all(sql: string, values: readonly SQLInputValue[]): Record<string, SQLOutputValue>[] {
    return translated('the data keys cannot be read', () =>
      this.#database.prepare(sql).all(...values),
    );
  }

  #run(sql: string, values: readonly SQLInputValue[]): number {
    return Number(this.#database.prepare(sql).run(...values).changes);
  }
}

function isSubject(owner: string): boolean {
  return owner.startsWith('subject:');
}

function dataKeyOf(row: Record<string, SQLOutputValue>): StoredDataKey {
  const { owner, object_id: objectId, kek_version: kekVersion } = row;
  const { place, capsule, wrapped, salt } = row;
  invariant(
    typeof owner === 'string' &&
      typeof objectId === 'string' &&
      typeof kekVersion === 'number' &&
      place instanceof Uint8Array &&
      capsule instanceof Uint8Array &&
      wrapped instanceof Uint8Array,
    'a stored data key is whole',
  );
  const used = salt instanceof Uint8Array ? salt : undefined;
  return { owner, objectId, place, kekVersion, capsule, wrapped, salt: used };
}
