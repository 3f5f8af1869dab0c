/**
 * What puts the KEK under the root KEK: every version of the KEK has a share, 32 random bytes that are
 * kept only wrapped by the root KEK, and a data key is wrapped under what the KEK's secret half and the
 * share give together. So the key store of the KEK opens nothing without the root, and turning the
 * root means wrapping a handful of shares anew: no data key and no data is touched.
 *
 * Shares are kept in memory, from the start or from when they are made until their KEK goes, so that a
 * token is not asked for each object and may be away while data is served.
 */

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import { lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Secret } from '#shared/crypto/secret.ts';
import { AdapterError } from '../adapter.ts';
import type { KeyStore } from '../embedded/key-store.ts';
import { transact, translated } from '../sqlite.ts';
import { rootSlot, type NewlyWrapped, type RootKeyPort, type WrappedSecret } from './root-key.ts';

export const kekSlot = '4/kek';

const shareBytes = 32;
/** The root key may change while a share is wrapped; it does not do so again and again. */
const attemptsMax = 8;

const schema = `
  CREATE TABLE IF NOT EXISTS kek_shares (
    kek_version INTEGER PRIMARY KEY CHECK (kek_version >= 1),
    key_id TEXT NOT NULL,
    root_version INTEGER NOT NULL CHECK (root_version >= 1),
    sealed BLOB NOT NULL
  ) STRICT;
`;
/** Of shares from before this was noted nobody knows: they count as if they had been. */
const wasInFile = 'was_in_file INTEGER NOT NULL DEFAULT 1 CHECK (was_in_file IN (0, 1))';

interface StoredShare extends WrappedSecret {
  readonly kekVersion: number;
  readonly keyId: string;
}

export interface KekSharesOptions {
  readonly database: DatabaseSync;
  readonly store: KeyStore;
  readonly crypto: CryptoProvider;
  readonly root: RootKeyPort;
  /** The share of this version of the KEK does not open: nothing under it does. */
  readonly onDamage: (kekVersion: number) => void;
}

/** All of it fails with AdapterError. */
export class KekShares {
  readonly #options: KekSharesOptions;
  readonly #open = new Map<number, Secret>();

  constructor(options: KekSharesOptions) {
    this.#options = options;
    const { database } = options;
    transact(database, 'the shares cannot be used', () => {
      database.exec(schema);
      const columns = database.prepare('PRAGMA table_info(kek_shares)').all();
      if (columns.some(({ name }) => name === 'was_in_file')) return;
      database.exec(`ALTER TABLE kek_shares ADD COLUMN ${wasInFile}`);
    });
  }

  /** A share for each KEK that is there, none for those that are gone. */
  async reconcile(): Promise<void> {
    for (const { version, state } of this.#options.store.versions(kekSlot)) {
      if (state === 'destroyed') this.forget(version);
      else await this.ensure(version);
    }
  }

  /**
   * Brings every share into memory, but one that was damaged: what is under its KEK stays shut until a
   * backup mends it.
   */
  async openAll(): Promise<void> {
    for (const { kekVersion } of this.#all('SELECT * FROM kek_shares', []).map(shareOf)) {
      try {
        await this.open(kekVersion);
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.#options.onDamage(kekVersion);
      }
    }
  }

  /** Makes the share of a KEK, unless there is one. */
  async ensure(kekVersion: number): Promise<void> {
    if (this.#read(kekVersion) !== undefined) return;
    const { crypto, store, database } = this.#options;
    const stored = store.version(kekSlot, kekVersion);
    if (stored === undefined) {
      throw new AdapterError('VERSION_UNKNOWN', `no version ${kekVersion} of ${kekSlot}`);
    }
    const share = new Secret(crypto.randomBytes(shareBytes));
    let kept = false;
    try {
      const context = contextOf(kekVersion, stored.keyId);
      const [wrapped] = await this.#wrapAll([{ share: share.reveal(), context }]);
      invariant(wrapped !== undefined, 'a share was wrapped');
      const { rootVersion, sealed, byFile } = wrapped;
      kept = transact(database, 'the share was not kept', () => {
        const { changes } = database
          .prepare(
            `INSERT OR IGNORE INTO kek_shares
              (kek_version, key_id, root_version, sealed, was_in_file) VALUES (?, ?, ?, ?, ?)`,
          )
          .run(kekVersion, stored.keyId, rootVersion, sealed, Number(byFile));
        return changes === 1;
      });
      if (kept) this.#open.set(kekVersion, share);
    } finally {
      if (!kept) share.wipe();
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

  /**
   * Whether every share opens, under whichever root KEK it is. `untried`, where that may be: each of
   * them opens or is in memory, and the token is away, so that those in memory were not asked for.
   */
  async tryAll({ mayBeUntried = false } = {}): Promise<'whole' | 'damaged' | 'untried'> {
    let found: 'whole' | 'untried' = 'whole';
    for (const stored of this.#all('SELECT * FROM kek_shares', []).map(shareOf)) {
      try {
        if (!(await this.#isWhole(stored))) return 'damaged';
      } catch (error) {
        if (!mayBeUntried || !isAway(error) || !this.#open.has(stored.kekVersion)) throw error;
        found = 'untried';
      }
    }
    return found;
  }

  /** Shares that are wrapped by this version of the root. */
  under(rootVersion: number): number {
    const [row] = this.#all('SELECT count(*) AS n FROM kek_shares WHERE root_version = ?', [
      rootVersion,
    ]);
    return Number(row?.['n'] ?? 0);
  }

  /** Shares that were ever wrapped by a root in a file: with that, an old copy of the disk opens them. */
  everInFile(): number {
    const [row] = this.#all('SELECT count(*) AS n FROM kek_shares WHERE was_in_file = 1', []);
    return Number(row?.['n'] ?? 0);
  }

  /**
   * Wraps what is under another root than the primary one anew: all of it in one transaction, or nothing.
   * Shares that were damaged stay where they are.
   */
  async rewrap(): Promise<void> {
    const { root, store, database } = this.#options;
    if (store.slot(rootSlot).frozen) return;
    const where = 'WHERE root_version <> ? ORDER BY kek_version';
    const old = this.#all(`SELECT * FROM kek_shares ${where}`, [root.primaryVersion()]).map(
      shareOf,
    );
    const inputs: { stored: StoredShare; share: Uint8Array; context: Uint8Array }[] = [];
    try {
      for (const stored of old) {
        const share = await this.#copyOf(stored);
        if (share !== undefined) inputs.push({ stored, share, context: contextOfShare(stored) });
      }
      if (inputs.length === 0) return;
      const wrapped = await this.#wrapAll(inputs);
      transact(database, 'the shares were not wrapped anew', () => {
        const update = database.prepare(
          `UPDATE kek_shares SET root_version = ?, sealed = ?, was_in_file = max(was_in_file, ?)
            WHERE kek_version = ? AND root_version = ?`,
        );
        for (const [index, { rootVersion, sealed, byFile }] of wrapped.entries()) {
          const stored = inputs[index]?.stored;
          invariant(stored !== undefined, 'each share was wrapped once');
          const { kekVersion } = stored;
          update.run(rootVersion, sealed, Number(byFile), kekVersion, stored.rootVersion);
        }
      });
    } finally {
      for (const { share } of inputs) share.fill(0);
    }
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

  /**
   * By one version of the root, which is primary still when this resolves, so that nothing is kept
   * under a key that went meanwhile.
   */
  async #wrapAll(
    inputs: readonly { readonly share: Uint8Array; readonly context: Uint8Array }[],
  ): Promise<NewlyWrapped[]> {
    const { root } = this.#options;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const wrapped: NewlyWrapped[] = [];
      for (const { share, context } of inputs) wrapped.push(await root.wrap(share, context));
      const primary = root.primaryVersion();
      if (wrapped.every(({ rootVersion }) => rootVersion === primary)) return wrapped;
    }
    throw new AdapterError('STATE_CONFLICT', `${rootSlot} changes again and again`, {
      retryable: true,
    });
  }

  /** A copy, to be wiped, from memory where it is there. Undefined where it was changed. */
  async #copyOf(stored: StoredShare): Promise<Uint8Array | undefined> {
    const known = this.#open.get(stored.kekVersion);
    return known === undefined ? await this.#unwrapped(stored) : Uint8Array.from(known.reveal());
  }

  async #isWhole(stored: StoredShare): Promise<boolean> {
    const share = await this.#unwrapped(stored);
    share?.fill(0);
    return share !== undefined;
  }

  /** Undefined where it was changed; what another try may mend is thrown. */
  async #unwrapped(stored: StoredShare): Promise<Uint8Array | undefined> {
    try {
      return await this.#options.root.unwrap(stored, contextOfShare(stored));
    } catch (error) {
      if (isDamage(error)) return undefined;
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

/** What another try, or a token that is there again, would not mend. */
function isDamage(error: unknown): boolean {
  return error instanceof AdapterError && error.code === 'STORE_FAILED' && !error.retryable;
}

function isAway(error: unknown): boolean {
  return error instanceof AdapterError && error.code === 'SYSTEM_UNREACHABLE';
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
