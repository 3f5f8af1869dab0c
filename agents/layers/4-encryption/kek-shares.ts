/**
 * What puts the KEK under the root KEK: every version of the KEK has a share, 32 random bytes that are
 * kept only wrapped by the root KEK, and a data key is wrapped under what the KEK's secret half and the
 * share give together. So the key store of the KEK opens nothing without the root, and turning the
 * root means wrapping a handful of shares anew: no data key and no data is touched.
 *
 * Shares are kept in memory once they were unwrapped, so that a token is not asked for each object.
 */

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import { lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Secret } from '#shared/crypto/secret.ts';
import { AdapterError } from '../adapter.ts';
import type { KeyStore } from '../embedded/key-store.ts';
import { transact, translated } from '../sqlite.ts';
import type { BatchOutcome } from '../service/background-work.ts';
import { rootSlot, type RootKeyPort, type WrappedSecret } from './root-key.ts';

export const kekSlot = '4/kek';

const shareBytes = 32;
/** Shares that one batch wraps anew. */
const batchShares = 8;

const schema = `
  CREATE TABLE IF NOT EXISTS kek_shares (
    kek_version INTEGER PRIMARY KEY CHECK (kek_version >= 1),
    key_id TEXT NOT NULL,
    root_version INTEGER NOT NULL CHECK (root_version >= 1),
    sealed BLOB NOT NULL
  ) STRICT;
`;

interface StoredShare extends WrappedSecret {
  readonly kekVersion: number;
  readonly keyId: string;
}

export interface KekSharesOptions {
  readonly database: DatabaseSync;
  readonly store: KeyStore;
  readonly crypto: CryptoProvider;
  readonly root: RootKeyPort;
}

/** All of it fails with AdapterError. */
export class KekShares {
  readonly #options: KekSharesOptions;
  readonly #open = new Map<number, Secret>();

  constructor(options: KekSharesOptions) {
    this.#options = options;
    transact(options.database, 'the shares cannot be used', () => options.database.exec(schema));
  }

  /** A share for each KEK that is there, none for those that are gone. */
  async reconcile(): Promise<void> {
    for (const { version, state } of this.#options.store.versions(kekSlot)) {
      if (state === 'destroyed') this.forget(version);
      else await this.ensure(version);
    }
  }

  /** Makes the share of a KEK, unless there is one. */
  async ensure(kekVersion: number): Promise<void> {
    if (this.#read(kekVersion) !== undefined) return;
    const { crypto, root, store, database } = this.#options;
    const stored = store.version(kekSlot, kekVersion);
    if (stored === undefined) {
      throw new AdapterError('VERSION_UNKNOWN', `no version ${kekVersion} of ${kekSlot}`);
    }
    const share = crypto.randomBytes(shareBytes);
    try {
      const wrapped = await root.wrap(share, contextOf(kekVersion, stored.keyId));
      transact(database, 'the share was not kept', () =>
        database
          .prepare('INSERT OR IGNORE INTO kek_shares VALUES (?, ?, ?, ?)')
          .run(kekVersion, stored.keyId, wrapped.rootVersion, wrapped.sealed),
      );
    } finally {
      share.fill(0);
    }
  }

  /** The share itself, not a copy; it stays until it is forgotten. */
  async open(kekVersion: number): Promise<Secret> {
    const known = this.#open.get(kekVersion);
    if (known !== undefined) return known;
    const stored = this.#read(kekVersion);
    if (stored === undefined) {
      throw new AdapterError('VERSION_UNKNOWN', `no share for version ${kekVersion} of ${kekSlot}`);
    }
    const share = new Secret(await this.#options.root.unwrap(stored, contextOfShare(stored)));
    // Somebody else may have opened it meanwhile, or it may have been forgotten.
    const other = this.#open.get(kekVersion);
    if (other !== undefined) {
      share.wipe();
      return other;
    }
    this.#open.set(kekVersion, share);
    return share;
  }

  /** Whether every share opens, under whichever root KEK it is. */
  async areWhole(): Promise<boolean> {
    for (const stored of this.#all('SELECT * FROM kek_shares', []).map(shareOf)) {
      const share = await this.#unwrapped(stored);
      if (share === undefined) return false;
      share.fill(0);
    }
    return true;
  }

  /** Shares that are wrapped by this version of the root. */
  under(rootVersion: number): number {
    const [row] = this.#all('SELECT count(*) AS n FROM kek_shares WHERE root_version = ?', [
      rootVersion,
    ]);
    return Number(row?.['n'] ?? 0);
  }

  /** Wraps what is under another root than the primary one anew; a share that does not open stays. */
  async rewrapBatch(): Promise<BatchOutcome> {
    const { root, store } = this.#options;
    if (store.slot(rootSlot).frozen) return 'idle';
    const primary = await root.primaryVersion();
    const where = 'WHERE root_version <> ? ORDER BY kek_version LIMIT ?';
    const rows = this.#all(`SELECT * FROM kek_shares ${where}`, [primary, batchShares]);
    let done = 0;
    for (const stored of rows.map(shareOf)) {
      if (await this.#rewrap(stored)) done += 1;
    }
    return rows.length === batchShares && done > 0 ? 'more' : 'idle';
  }

  /** The KEK goes, and its share with it. */
  forget(kekVersion: number): void {
    const { database } = this.#options;
    transact(database, 'the share was not destroyed', () =>
      database.prepare('DELETE FROM kek_shares WHERE kek_version = ?').run(kekVersion),
    );
    this.#open.get(kekVersion)?.wipe();
    this.#open.delete(kekVersion);
  }

  close(): void {
    for (const share of this.#open.values()) share.wipe();
    this.#open.clear();
  }

  async #rewrap(stored: StoredShare): Promise<boolean> {
    const { root, database } = this.#options;
    const share = await this.#unwrapped(stored);
    if (share === undefined) return false;
    try {
      const wrapped = await root.wrap(share, contextOfShare(stored));
      transact(database, 'the share was not wrapped anew', () =>
        database
          .prepare(
            `UPDATE kek_shares SET root_version = ?, sealed = ?
              WHERE kek_version = ? AND root_version = ?`,
          )
          .run(wrapped.rootVersion, wrapped.sealed, stored.kekVersion, stored.rootVersion),
      );
      return true;
    } finally {
      share.fill(0);
    }
  }

  /** Undefined where it was changed; what another try may mend is thrown. */
  async #unwrapped(stored: StoredShare): Promise<Uint8Array | undefined> {
    try {
      return await this.#options.root.unwrap(stored, contextOfShare(stored));
    } catch (error) {
      if (error instanceof AdapterError && !error.retryable) return undefined;
      throw error;
    }
  }

  #read(kekVersion: number): StoredShare | undefined {
    return this.#all('SELECT * FROM kek_shares WHERE kek_version = ?', [kekVersion]).map(
      shareOf,
    )[0];
  }

  #all(sql: string, values: readonly number[]): Record<string, SQLOutputValue>[] {
    return translated('the shares cannot be read', () =>
      this.#options.database.prepare(sql).all(...values),
    );
  }
}

function contextOfShare({ kekVersion, keyId }: StoredShare): Uint8Array {
  return contextOf(kekVersion, keyId);
}

function contextOf(kekVersion: number, keyId: string): Uint8Array {
  return lengthPrefixed(utf8('gyre/v1/kek-share'), utf8(String(kekVersion)), utf8(keyId));
}

function shareOf(row: Record<string, SQLOutputValue>): StoredShare {
  const { kek_version: kekVersion, key_id: keyId, root_version: rootVersion, sealed } = row;
  invariant(
    typeof kekVersion === 'number' &&
      typeof keyId === 'string' &&
      typeof rootVersion === 'number' &&
      sealed instanceof Uint8Array,
    'a stored share is whole',
  );
  return { kekVersion, keyId, rootVersion, sealed };
}
