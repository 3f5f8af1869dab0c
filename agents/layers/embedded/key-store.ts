/**
 * The embedded key system's database, keystore.db: slots, and versions of their keys. The database
 * itself keeps the rules that must never break: one primary per slot (a unique index), version
 * numbers that are never used again (rows are never deleted), and a destroyed key that has no secret
 * left (a check). Secret halves are stored sealed (store-key.ts).
 *
 * Every method that changes something is one transaction, and ends in the same state when it is
 * repeated. Destroying a key overwrites its bytes (secure_delete) and empties the write-ahead log.
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { SlotDefinition } from '#schemas/layers.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';
import type { Artefact, OpenKey } from './key-kinds.ts';
import { slotOf, versionOf, type Row, type StoredSlot, type StoredVersion } from './key-rows.ts';
import { openStoreKey, type StoreKey } from './store-key.ts';

export type { StoredSlot, StoredVersion } from './key-rows.ts';

export interface KeyStoreOptions {
  /** Of `keystore.db`, and of the store key that is made together with it. */
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly definitions: readonly SlotDefinition[];
}

const name = 'keystore.db';

const schema = `
  CREATE TABLE IF NOT EXISTS store (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    format INTEGER NOT NULL CHECK (format = 1),
    store_key_id TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS slots (
    slot TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    frozen INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1))
  ) STRICT;
  CREATE TABLE IF NOT EXISTS versions (
    slot TEXT NOT NULL REFERENCES slots (slot),
    version INTEGER NOT NULL CHECK (version >= 1),
    state TEXT NOT NULL
      CHECK (state IN ('prepared', 'primary', 'accepted', 'withdrawn', 'destroyed')),
    key_id TEXT NOT NULL UNIQUE,
    public_key BLOB,
    secret BLOB,
    canary_input BLOB,
    canary_output BLOB,
    created_at_ms INTEGER NOT NULL,
    activated_at_ms INTEGER,
    PRIMARY KEY (slot, version),
    CHECK ((state = 'destroyed') = (secret IS NULL))
  ) STRICT;
  CREATE UNIQUE INDEX IF NOT EXISTS one_primary ON versions (slot) WHERE state = 'primary';
  CREATE TRIGGER IF NOT EXISTS versions_stay BEFORE DELETE ON versions
    BEGIN SELECT RAISE(ABORT, 'version numbers are never used again'); END;
  CREATE TRIGGER IF NOT EXISTS destroyed_stays BEFORE UPDATE OF state ON versions
    WHEN OLD.state = 'destroyed' AND NEW.state <> 'destroyed'
    BEGIN SELECT RAISE(ABORT, 'a destroyed key does not come back'); END;
`;

/** Slots in order of their names; of each its versions, newest first. */
interface Listing {
  readonly slots: readonly StoredSlot[];
  readonly versions: ReadonlyMap<string, readonly StoredVersion[]>;
}

const columns =
  'slot, version, state, key_id, public_key, canary_input, canary_output, created_at_ms, activated_at_ms';

export class KeyStore {
  readonly #database: DatabaseSync;
  readonly #storeKey: StoreKey;
  /** What reads, by its text. What writes is made each time: it would hold what was bound to it. */
  readonly #statements = new Map<string, StatementSync>();
  /** All but the secrets, as it was read since the last write: nobody else writes here. */
  #listed: Listing | undefined;

  private constructor(database: DatabaseSync, storeKey: StoreKey) {
    this.#database = database;
    this.#storeKey = storeKey;
  }

  /** @throws AdapterError STORE_FAILED (also for a store key of another store), DISK_FULL */
  static open(options: KeyStoreOptions): KeyStore {
    const { disk, crypto } = options;
    const storeKey = openStoreKey(crypto, disk, { mayCreate: !disk.has(name) });
    const database = openDatabase(disk, name);
    try {
      const store = new KeyStore(database, storeKey);
      store.#begin(options.definitions);
      return store;
    } catch (error) {
      database.close();
      storeKey.wipe();
      throw error;
    }
  }

  /** Of this store and no other; says nothing of its key. 64 hexadecimal characters. */
  get id(): string {
    return this.#storeKey.id();
  }

  slots(): readonly StoredSlot[] {
    return this.#listing().slots;
  }

  /** @throws AdapterError SLOT_UNKNOWN */
  slot(slot: string): StoredSlot {
    const stored = this.slots().find((each) => each.slot === slot);
    if (stored === undefined) throw new AdapterError('SLOT_UNKNOWN', `no slot ${slot} here`);
    return stored;
  }

  /** Newest first, destroyed ones included. */
  versions(slot: string): readonly StoredVersion[] {
    return this.#listing().versions.get(slot) ?? [];
  }

  version(slot: string, version: number): StoredVersion | undefined {
    return this.versions(slot).find((stored) => stored.version === version);
  }

  primary(slot: string): StoredVersion | undefined {
    return this.versions(slot).find(({ state }) => state === 'primary');
  }

  byKeyId(slot: string, keyId: string): StoredVersion | undefined {
    return this.versions(slot).find((stored) => stored.keyId === keyId);
  }

  /** Takes a key out for the length of `use` and wipes it. @throws AdapterError VERSION_UNKNOWN */
  withKey<Result>(stored: StoredVersion, use: (key: OpenKey) => Result): Result {
    const { slot, version, keyId, publicKey } = stored;
    const where = 'WHERE slot = ? AND version = ?';
    const [row] = this.#read(`SELECT secret FROM versions ${where}`, slot, version);
    const sealed = row?.['secret'];
    if (!(sealed instanceof Uint8Array)) {
      throw new AdapterError('VERSION_UNKNOWN', `no key for version ${version} of ${slot}`);
    }
    const secret = this.#storeKey.open({ slot, version, keyId }, sealed);
    const kind = this.slot(slot).keyKind;
    try {
      return use({ kind, slot, keyId, secret, ...(publicKey === undefined ? {} : { publicKey }) });
    } finally {
      secret.fill(0);
    }
  }

  /** @throws AdapterError STATE_CONFLICT for a number used before */
  requireUnused(slot: string, version: number): void {
    const highest = this.versions(slot)[0]?.version ?? 0;
    if (version > highest) return;
    const what = `version ${version} of ${slot} is not above ${highest}`;
    throw new AdapterError('STATE_CONFLICT', what);
  }

  /** Stores a new key as `prepared`. @throws AdapterError STATE_CONFLICT for a number used before */
  addPrepared(version: number, key: OpenKey, atMs: number): void {
    this.#transact('the new key was not stored', () => {
      this.requireUnused(key.slot, version);
      this.#insert({ version, key, atMs });
    });
  }

  /** Stores the first key of a slot as primary, in one step. */
  addFirst(key: OpenKey, canary: Artefact, atMs: number): void {
    this.#transact('the first key was not stored', () => {
      this.#insert({ version: 1, key, canary, atMs });
    });
  }

  /** The prepared `version` becomes primary, the primary one accepted. */
  promote(slot: string, version: number, canary: Artefact, atMs: number): void {
    this.#transact('the new key was not made primary', () => {
      const stored = this.#require(slot, version);
      if (stored.state === 'primary') return;
      if (stored.state !== 'prepared') throw conflict(stored, 'cannot become primary');
      this.#run(
        `UPDATE versions SET state = 'accepted' WHERE slot = ? AND state = 'primary'`,
        slot,
      );
      this.#setPrimary(slot, version, canary, atMs);
    });
  }

  /** `version` becomes primary again; newer keys are withdrawn, or destroyed if never active. */
  restore(slot: string, version: number): void {
    this.#transact('the earlier key was not made primary again', () => {
      const stored = this.#require(slot, version);
      if (stored.state === 'prepared' || stored.state === 'destroyed') {
        throw conflict(stored, 'cannot become primary again');
      }
      this.#run(
        `UPDATE versions SET state = 'withdrawn'
          WHERE slot = ? AND version > ? AND state IN ('primary', 'accepted')`,
        slot,
        version,
      );
      this.#run(
        `UPDATE versions SET state = 'accepted' WHERE slot = ? AND version < ? AND state = 'primary'`,
        slot,
        version,
      );
      this.#run(
        `${destroying} WHERE slot = ? AND version > ? AND state = 'prepared'`,
        slot,
        version,
      );
      this.#run(
        `UPDATE versions SET state = 'primary' WHERE slot = ? AND version = ?`,
        slot,
        version,
      );
    });
    this.#forget();
  }

  /** Destroys a key that is not primary. @throws AdapterError STATE_CONFLICT for the primary one */
  destroy(slot: string, version: number): void {
    this.#transact('the key was not destroyed', () => {
      const stored = this.#require(slot, version);
      if (stored.state === 'primary') throw conflict(stored, 'is in use');
      if (stored.state === 'destroyed') return;
      this.#run(`${destroying} WHERE slot = ? AND version = ?`, slot, version);
    });
    this.#forget();
  }

  setFrozen(slot: string, frozen: boolean): void {
    this.#transact('the slot was not frozen', () => {
      this.slot(slot);
      this.#run('UPDATE slots SET frozen = ? WHERE slot = ?', frozen ? 1 : 0, slot);
    });
  }

  close(): void {
    this.#storeKey.wipe();
    if (this.#database.isOpen) this.#database.close();
  }

  /** Tables, the store key's name, and a row per slot. */
  #begin(definitions: readonly SlotDefinition[]): void {
    this.#transact('the key store cannot be used', () => {
      this.#database.exec(schema);
      const id = this.#storeKey.id();
      this.#run('INSERT OR IGNORE INTO store VALUES (1, 1, ?)', id);
      const [row] = this.#read('SELECT store_key_id FROM store');
      if (row?.['store_key_id'] !== id) {
        throw new AdapterError('STORE_FAILED', 'the store key belongs to another key store');
      }
      for (const { slot, keyKind, algorithm } of definitions) {
        this.#run(
          'INSERT OR IGNORE INTO slots (slot, kind, algorithm) VALUES (?, ?, ?)',
          slot,
          keyKind,
          algorithm,
        );
      }
    });
    this.#forget();
  }

  /** With what it made first it is primary, without it prepared. */
  #insert(input: {
    readonly version: number;
    readonly key: OpenKey;
    readonly canary?: Artefact;
    readonly atMs: number;
  }): void {
    const { version, key, canary, atMs } = input;
    const sealed = this.#storeKey.seal({ slot: key.slot, version, keyId: key.keyId }, key.secret);
    this.#run(
      `INSERT INTO versions (slot, version, state, key_id, public_key, secret,
          canary_input, canary_output, created_at_ms, activated_at_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      key.slot,
      version,
      canary === undefined ? 'prepared' : 'primary',
      key.keyId,
      key.publicKey ?? null,
      sealed,
      canary?.input ?? null,
      canary?.output ?? null,
      atMs,
      canary === undefined ? null : atMs,
    );
  }

  #setPrimary(slot: string, version: number, canary: Artefact, atMs: number): void {
    this.#run(
      `UPDATE versions
        SET state = 'primary', activated_at_ms = ?, canary_input = ?, canary_output = ?
        WHERE slot = ? AND version = ?`,
      atMs,
      canary.input,
      canary.output,
      slot,
      version,
    );
  }

  #require(slot: string, version: number): StoredVersion {
    this.slot(slot);
    const stored = this.version(slot, version);
    if (stored !== undefined) return stored;
    throw new AdapterError('VERSION_UNKNOWN', `no version ${version} of ${slot}`);
  }

  /** What was overwritten leaves the write-ahead log too. */
  #forget(): void {
    const [row] = this.#read('PRAGMA wal_checkpoint(TRUNCATE)');
    if (row?.['busy'] === 0) return;
    throw new AdapterError('STORE_FAILED', 'destroyed bytes are still in the write-ahead log', {
      retryable: true,
    });
  }

  #listing(): Listing {
    if (this.#listed !== undefined) return this.#listed;
    const slots = this.#read('SELECT slot, kind, algorithm, frozen FROM slots ORDER BY slot');
    const versions = this.#read(`SELECT ${columns} FROM versions ORDER BY slot, version DESC`);
    this.#listed = {
      slots: slots.map(slotOf),
      versions: Map.groupBy(versions.map(versionOf), ({ slot }) => slot),
    };
    return this.#listed;
  }

  /** What was read in it may be rolled back. */
  #transact(what: string, work: () => void): void {
    try {
      transact(this.#database, what, work);
    } finally {
      this.#listed = undefined;
    }
  }

  #read(sql: string, ...values: readonly (string | number)[]): Row[] {
    return translated('the key store cannot be read', () => this.#prepared(sql).all(...values));
  }

  #run(sql: string, ...values: readonly (string | number | null | Uint8Array)[]): void {
    this.#listed = undefined;
    this.#database.prepare(sql).run(...values);
  }

  #prepared(sql: string): StatementSync {
    const statement = this.#statements.get(sql) ?? this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

const destroying = `UPDATE versions
  SET state = 'destroyed', secret = NULL, canary_input = NULL, canary_output = NULL`;

function conflict(stored: StoredVersion, what: string): AdapterError {
  const { version, slot, state } = stored;
  return new AdapterError('STATE_CONFLICT', `version ${version} of ${slot} is ${state}: ${what}`);
}
