/**
 * The database as a port: transactions, each of them as somebody. The same SQL runs on PostgreSQL and
 * on PGlite. Whoever connects owns the tables and is not who reads and writes: every transaction
 * takes on one of two roles that own nothing and cannot pass by row security.
 */

import { invariant } from '#shared/crypto/errors.ts';
import { AdapterError } from '../adapter.ts';

export type Row = Readonly<Record<string, unknown>>;
export type Value = string | number | boolean | Uint8Array | readonly string[] | readonly number[];

export interface Statements {
  rows(text: string, values?: readonly Value[]): Promise<readonly Row[]>;
}

export interface Scripts extends Statements {
  /** Several statements without values. */
  script(text: string): Promise<void>;
}

/** Who a transaction is. */
export type Actor =
  /** Requests: sees the rows of `owner` that were written in `namespace`, and none at all without both. */
  | {
      readonly role: 'gyre_rows';
      readonly namespace?: string;
      readonly owner?: string;
      readonly isSnapshot?: boolean;
    }
  /** Verification, signing and encrypting anew: sees all rows, may change signatures and cells. */
  | { readonly role: 'gyre_keeper'; readonly isSnapshot?: boolean };

/** Everything fails with AdapterError: SYSTEM_UNREACHABLE (worth another try), DISK_FULL, STORE_FAILED. */
export interface Database {
  readonly kind: 'postgresql' | 'pglite';
  /** All of it or nothing. May run `work` again where the database asks for it. */
  transact<Result>(actor: Actor, work: (on: Statements) => Promise<Result>): Promise<Result>;
  /** As whoever connects, for the schema. */
  transactAsOwner<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

/** What begins every transaction: the role, the namespace and the owner hold until its end. */
export const actorStatement = `SELECT set_config('role', $1, true),
  set_config('gyre.namespace', $2, true), set_config('gyre.owner', $3, true)`;
export const snapshotStatement = 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY';

export function actorValues(actor: Actor): [string, string, string] {
  const { namespace = '', owner = '' } = actor.role === 'gyre_rows' ? actor : {};
  return [actor.role, namespace, owner];
}

/** A fault of either database as one of ours (PostgreSQL, appendix A: error codes). */
export function databaseFault(cause: unknown, what: string): AdapterError {
  if (cause instanceof AdapterError) return cause;
  const code = sqlState(cause);
  if (code === '53100')
    return new AdapterError('DISK_FULL', `${what}: the disk is full`, { cause });
  const isAway =
    code === undefined || /^(?:08|57|53|25006)/.test(code) || !/^[0-9A-Z]{5}$/.test(code);
  return isAway
    ? new AdapterError('SYSTEM_UNREACHABLE', `${what}: the database does not answer`, {
        cause,
        retryable: true,
      })
    : new AdapterError('STORE_FAILED', `${what}: SQLSTATE ${code}`, { cause });
}

/** Two transactions stood in each other's way: the same work may simply be done again. */
export function isContention(error: unknown): boolean {
  return ['40001', '40P01'].includes(sqlState(error) ?? '');
}

export function truthOf(row: Row, name: string): boolean {
  const value = row[name];
  invariant(typeof value === 'boolean', `${name} of a row is true or false`);
  return value;
}

export function textOf(row: Row, name: string): string {
  const value = row[name];
  invariant(typeof value === 'string', `${name} of a row is a text`);
  return value;
}

export function bytesOf(row: Row, name: string): Uint8Array {
  const value = row[name];
  invariant(value instanceof Uint8Array, `${name} of a row is bytes`);
  return value;
}

/** Also of a bigint, which one driver gives as text. */
export function numberOf(row: Row, name: string): number {
  const value = Number(row[name]);
  invariant(Number.isSafeInteger(value), `${name} of a row is a whole number`);
  return value;
}

function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
