/**
 * Who is enrolled, and which challenges were used: identity.db. TOTP secrets lie in it sealed under a
 * key derived from the store key, bound to their user, so that the database alone opens nothing. A
 * challenge is used, a code taken and a wrong one counted in one transaction, before anybody hears of it.
 *
 * The step whose code was taken last is known for as long as the secret is: of a secret that was taken
 * away, or replaced, under a tag that does not lead back to it, in case it comes again.
 */

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import type { FactorState } from '#shared/core/second-factor.ts';
import { lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';
import type { StoreKey } from '../embedded/store-key.ts';
import { UsedOnce, type GoodOnce } from '../service/used-once.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';
import { challengeLifetimeMs } from './challenges.ts';

export interface User {
  readonly subject: string;
  readonly publicKey: Uint8Array;
  readonly hasSecondFactor: boolean;
  readonly factor: FactorState;
}

/** The session that a challenge was used for: what makes it the same one. */
export interface UsedFor {
  /** `jti`. */
  readonly tokenId: string;
  readonly endsAtMs: number;
  readonly isMultiFactor: boolean;
}

/** What a used challenge led to: enough to give the same answer to the same request once more. */
export interface UsedChallenge {
  readonly nonce: Uint8Array;
  readonly expiresAtMs: number;
  /** Digest of what came with it. */
  readonly proof: Uint8Array;
  readonly usedAtMs: number;
  /** The session, or null where there is none. */
  readonly session: UsedFor | null;
}

export const usersMax = 100_000;
/** Used challenges that are remembered at the most: 1,400 proved logins a second. */
export const usedChallengesMax = 100_000;

/** Secrets that are gone whose last step is known; only administrators add to them. */
export const pastFactorsMax = 10_000;

const name = 'identity.db';

const schema = `
  CREATE TABLE IF NOT EXISTS users (
    subject TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    totp BLOB,
    last_step INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    locked_until_ms INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  -- Of challenges without a generation, which are refused altogether.
  DROP TABLE IF EXISTS used_challenges;
  CREATE TABLE IF NOT EXISTS spent_challenges (
    nonce BLOB PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL,
    proof BLOB NOT NULL,
    used_at_ms INTEGER NOT NULL,
    token_id TEXT,
    session_ends_at_ms INTEGER NOT NULL,
    multi_factor INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS spent_by_end ON spent_challenges (expires_at_ms);
  CREATE TABLE IF NOT EXISTS past_factors (
    tag BLOB PRIMARY KEY,
    last_step INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS past_factors_by_step ON past_factors (last_step);
`;

export interface IdentityStorePorts {
  readonly disk: Pick<Disk, 'database'>;
  readonly crypto: CryptoProvider;
  /** Seals the TOTP secrets. */
  readonly secrets: StoreKey;
}

type Row = Record<string, SQLOutputValue>;

export class IdentityStore {
  readonly database: DatabaseSync;
  readonly #crypto: CryptoProvider;
  readonly #secrets: StoreKey;
  readonly #used: UsedOnce;

  private constructor(database: DatabaseSync, { crypto, secrets }: IdentityStorePorts) {
    this.database = database;
    this.#crypto = crypto;
    this.#secrets = secrets;
    const table = { name: 'spent_challenges', key: 'nonce', lifetimeMs: challengeLifetimeMs };
    this.#used = UsedOnce.open(database, table);
  }

  /** @throws AdapterError STORE_FAILED, DISK_FULL */
  static open(ports: IdentityStorePorts): IdentityStore {
    const database = openDatabase(ports.disk, name);
    try {
      transact(database, 'the users cannot be used', () => database.exec(schema));
      return new IdentityStore(database, ports);
    } catch (error) {
      database.close();
      throw error;
    }
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
    const sealed =
      totpSecret === undefined ? null : this.#secrets.seal(placeOf(subject), totpSecret);
    return transact(this.database, 'the user was not enrolled', () => {
      if (this.user(subject) === undefined && this.users() >= usersMax) return false;
      this.#rememberFactor(subject);
      const lastStep = totpSecret === undefined ? 0 : this.#pastStep(subject, totpSecret);
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
    transact(this.database, 'the user was not removed', () => {
      this.#rememberFactor(subject);
      this.#run('DELETE FROM users WHERE subject = ?', subject);
    });
  }

  usedChallenge(nonce: Uint8Array): UsedChallenge | undefined {
    const [row] = this.#read('SELECT * FROM spent_challenges WHERE nonce = ?', nonce);
    return row === undefined ? undefined : usedOf(row);
  }

  /** The generation of challenges that are given now. @throws AdapterError */
  generation(nowMs: number): number {
    return this.#used.generation(nowMs).generation;
  }

  /** Whether a challenge has ended, or may be forgotten as used. @throws AdapterError */
  isOver(challenge: GoodOnce, nowMs: number): boolean {
    // Where the clock went back, it is of an earlier generation by now.
    this.#used.generation(nowMs);
    const what = 'the used challenges cannot be read';
    return translated(what, () => this.#used.isOver(challenge, nowMs));
  }

  /** Whether no further challenge can be remembered as used; some that are over are forgotten. */
  isFull(nowMs: number): boolean {
    transact(this.database, 'used challenges were not forgotten', () => this.#used.forget(nowMs));
    return this.#count('SELECT count(*) AS count FROM spent_challenges') >= usedChallengesMax;
  }

  /** A challenge was used; what that means for the user's second factor. @throws AdapterError */
  use(used: UsedChallenge, subject: string, factor: FactorState): void {
    transact(this.database, 'the login was not kept', () => {
      this.#run(
        'INSERT INTO spent_challenges VALUES (?, ?, ?, ?, ?, ?, ?)',
        used.nonce,
        used.expiresAtMs,
        used.proof,
        used.usedAtMs,
        used.session?.tokenId ?? null,
        used.session?.endsAtMs ?? 0,
        used.session?.isMultiFactor === true ? 1 : 0,
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

  /** Before a user's secret goes: the latest of its steps whose code was taken. */
  #rememberFactor(subject: string): void {
    const lastStep = this.user(subject)?.factor.lastStep ?? 0;
    if (lastStep === 0) return;
    let secret: Uint8Array | undefined;
    try {
      secret = this.totpSecret(subject);
      if (secret === undefined) return;
      this.#run(
        `INSERT INTO past_factors VALUES (?, ?)
          ON CONFLICT (tag) DO UPDATE SET last_step = max(last_step, excluded.last_step)`,
        this.#tagOf(subject, secret),
        lastStep,
      );
      this.#run(
        `DELETE FROM past_factors WHERE tag IN
          (SELECT tag FROM past_factors ORDER BY last_step DESC LIMIT -1 OFFSET ${pastFactorsMax})`,
      );
    } catch (error) {
      // One that was changed on the disk gives no codes any more: it does not keep its user here.
      if (!(error instanceof AdapterError) || secret !== undefined) throw error;
    } finally {
      secret?.fill(0);
    }
  }

  #pastStep(subject: string, secret: Uint8Array): number {
    const sql = 'SELECT last_step FROM past_factors WHERE tag = ?';
    return Number(this.#read(sql, this.#tagOf(subject, secret))[0]?.['last_step'] ?? 0);
  }

  #tagOf(subject: string, secret: Uint8Array): Uint8Array {
    const key = this.#secrets.derive('past-factor');
    const said = lengthPrefixed(utf8(subject), secret);
    try {
      return this.#crypto.hmacSha3_384(key, said);
    } finally {
      key.fill(0);
      said.fill(0);
    }
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
    session:
      typeof tokenId === 'string'
        ? {
            tokenId,
            endsAtMs: Number(row['session_ends_at_ms']),
            isMultiFactor: row['multi_factor'] === 1,
          }
        : null,
  };
}
