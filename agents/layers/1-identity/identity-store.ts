/**
 * Who is enrolled, and which challenges were used: identity.db. TOTP secrets lie in it sealed under a
 * key derived from the store key, bound to their user, so that the database alone opens nothing. A
 * challenge is used, a code taken and a wrong one counted in one transaction, before anybody hears of it.
 */

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import type { FactorState } from '#shared/core/second-factor.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { StoreKey } from '../embedded/store-key.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';

export interface User {
  readonly subject: string;
  readonly publicKey: Uint8Array;
  readonly hasSecondFactor: boolean;
  readonly factor: FactorState;
}

/** What a used challenge led to: enough to give the same answer to the same request once more. */
export interface UsedChallenge {
  readonly nonce: Uint8Array;
  readonly expiresAtMs: number;
  /** Digest of what came with it. */
  readonly proof: Uint8Array;
  readonly usedAtMs: number;
  /** `jti` of the session, or null where there is none. */
  readonly tokenId: string | null;
  readonly isMultiFactor: boolean;
}

export const usersMax = 100_000;
/** Unexpired used challenges at the most: 1,600 proved logins a second for a minute. */
export const usedChallengesMax = 100_000;

const name = 'identity.db';
const purgedAtOnce = 1_000;

const schema = `
  CREATE TABLE IF NOT EXISTS users (
    subject TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    totp BLOB,
    last_step INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    locked_until_ms INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE IF NOT EXISTS used_challenges (
    nonce BLOB PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL,
    proof BLOB NOT NULL,
    used_at_ms INTEGER NOT NULL,
    token_id TEXT,
    multi_factor INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS used_by_end ON used_challenges (expires_at_ms);
`;

type Row = Record<string, SQLOutputValue>;

export class IdentityStore {
  readonly database: DatabaseSync;
  readonly #secrets: StoreKey;

  private constructor(database: DatabaseSync, secrets: StoreKey) {
    this.database = database;
    this.#secrets = secrets;
  }

  /** `secrets` seals the TOTP secrets. @throws AdapterError STORE_FAILED, DISK_FULL */
  static open(disk: Disk, secrets: StoreKey): IdentityStore {
    const database = openDatabase(disk, name);
    try {
      transact(database, 'the users cannot be used', () => database.exec(schema));
    } catch (error) {
      database.close();
      throw error;
    }
    return new IdentityStore(database, secrets);
  }

  user(subject: string): User | undefined {
    const [row] = this.#read('SELECT * FROM users WHERE subject = ?', subject);
    return row === undefined ? undefined : userOf(row);
  }

  users(): number {
    return this.#count('SELECT count(*) AS count FROM users');
  }

  /** A user's TOTP secret, to be wiped by the caller. @throws AdapterError if it was changed */
  totpSecret(subject: string): Uint8Array | undefined {
    const [row] = this.#read('SELECT totp FROM users WHERE subject = ?', subject);
    const sealed = row?.['totp'];
    return sealed instanceof Uint8Array ? this.#secrets.open(placeOf(subject), sealed) : undefined;
  }

  /**
   * Enrols a user, or changes one; a lock is taken away. The codes that a secret has given already
   * stay used up for as long as the secret is the same. False where there is no room.
   */
  enrol(subject: string, publicKey: Uint8Array, totpSecret: Uint8Array | undefined): boolean {
    const before = this.totpSecret(subject);
    const isSame =
      before !== undefined && totpSecret !== undefined && Buffer.compare(before, totpSecret) === 0;
    before?.fill(0);
    const sealed =
      totpSecret === undefined ? null : this.#secrets.seal(placeOf(subject), totpSecret);
    return transact(this.database, 'the user was not enrolled', () => {
      const known = this.user(subject);
      if (known === undefined && this.users() >= usersMax) return false;
      const lastStep = isSame ? (known?.factor.lastStep ?? 0) : 0;
      this.#run(
        `INSERT OR REPLACE INTO users (subject, public_key, totp, last_step) VALUES (?, ?, ?, ?)`,
        subject,
        publicKey,
        sealed,
        lastStep,
      );
      return true;
    });
  }

  remove(subject: string): void {
    translated('the user was not removed', () =>
      this.#run('DELETE FROM users WHERE subject = ?', subject),
    );
  }

  usedChallenge(nonce: Uint8Array): UsedChallenge | undefined {
    const [row] = this.#read('SELECT * FROM used_challenges WHERE nonce = ?', nonce);
    return row === undefined ? undefined : usedOf(row);
  }

  /** Whether no further challenge can be remembered as used; the expired ones are forgotten. */
  isFull(nowMs: number): boolean {
    return this.#purged(nowMs) >= usedChallengesMax;
  }

  /** A challenge was used; what that means for the user's second factor. @throws AdapterError */
  use(used: UsedChallenge, subject: string, factor: FactorState): void {
    transact(this.database, 'the login was not kept', () => {
      this.#run(
        'INSERT INTO used_challenges VALUES (?, ?, ?, ?, ?, ?)',
        used.nonce,
        used.expiresAtMs,
        used.proof,
        used.usedAtMs,
        used.tokenId,
        used.isMultiFactor ? 1 : 0,
      );
      this.#run(
        'UPDATE users SET last_step = ?, failures = ?, locked_until_ms = ? WHERE subject = ?',
        factor.lastStep,
        factor.failures,
        factor.lockedUntilMs,
        subject,
      );
    });
  }

  close(): void {
    this.#secrets.wipe();
    if (this.database.isOpen) this.database.close();
  }

  /** How many used challenges are left. */
  #purged(nowMs: number): number {
    const [oldest] = this.#read('SELECT min(expires_at_ms) AS oldest FROM used_challenges');
    if (typeof oldest?.['oldest'] === 'number' && oldest['oldest'] <= nowMs) {
      translated('used challenges were not forgotten', () =>
        this.#run(
          `DELETE FROM used_challenges WHERE nonce IN
            (SELECT nonce FROM used_challenges WHERE expires_at_ms <= ? LIMIT ${purgedAtOnce})`,
          nowMs,
        ),
      );
    }
    return this.#count('SELECT count(*) AS count FROM used_challenges');
  }

  #count(sql: string): number {
    return Number(this.#read(sql)[0]?.['count'] ?? 0);
  }

  #read(sql: string, ...values: readonly (string | number | Uint8Array)[]): Row[] {
    return translated('the users cannot be read', () => this.database.prepare(sql).all(...values));
  }

  #run(sql: string, ...values: readonly (string | number | Uint8Array | null)[]): void {
    this.database.prepare(sql).run(...values);
  }
}

function placeOf(subject: string) {
  return { slot: 'user-totp', version: 1, keyId: subject };
}

function userOf(row: Row): User {
  const { subject, public_key: publicKey, totp } = row;
  invariant(
    typeof subject === 'string' && publicKey instanceof Uint8Array,
    'a stored user is whole',
  );
  const factor = {
    lastStep: Number(row['last_step']),
    failures: Number(row['failures']),
    lockedUntilMs: Number(row['locked_until_ms']),
  };
  return { subject, publicKey, hasSecondFactor: totp instanceof Uint8Array, factor };
}

function usedOf(row: Row): UsedChallenge {
  const { nonce, proof, token_id: tokenId } = row;
  invariant(
    nonce instanceof Uint8Array && proof instanceof Uint8Array,
    'a used challenge is whole',
  );
  return {
    nonce,
    proof,
    expiresAtMs: Number(row['expires_at_ms']),
    usedAtMs: Number(row['used_at_ms']),
    tokenId: typeof tokenId === 'string' ? tokenId : null,
    isMultiFactor: row['multi_factor'] === 1,
  };
}
