/** A PostgreSQL server behind the port, by a pool of connections. */

import pg from 'pg';
import type { Log } from '#shared/runtime/ports.ts';
import {
  actorStatement,
  actorValues,
  databaseFault,
  isContention,
  snapshotStatement,
  type Actor,
  type Database,
  type Row,
  type Scripts,
  type Statements,
} from './database.ts';

const connectionsMax = 8;
const connectTimeoutMs = 3_000;
const statementTimeoutMs = 10_000;
const attemptsMax = 4;

export class PostgresqlDatabase implements Database {
  readonly kind = 'postgresql';
  readonly #pool: pg.Pool;

  constructor(url: string, log: Log) {
    this.#pool = new pg.Pool({
      connectionString: url,
      max: connectionsMax,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: statementTimeoutMs,
      application_name: 'gyre-database',
    });
    // An idle connection broke: the pool opens another one when it needs it.
    this.#pool.on('error', () => log.warn({}, 'a connection to the database broke'));
  }

  async transact<Result>(actor: Actor, work: (on: Statements) => Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#once(async (on) => {
          if (actor.isSnapshot === true) await on.script(snapshotStatement);
          await on.rows(actorStatement, actorValues(actor));
          return await work(on);
        });
      } catch (error) {
        if (!isContention(error) || attempt === attemptsMax) throw translated(error);
      }
    }
  }

  async transactAsOwner<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result> {
    try {
      return await this.#once(work);
    } catch (error) {
      throw translated(error);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #once<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result> {
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    const on: Scripts = {
      rows: async (text, values = []) => (await client.query<Row>(text, [...values])).rows,
      script: async (text) => {
        await client.query(text);
      },
    };
    try {
      await client.query('BEGIN');
      const result = await work(on);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      broken = await client.query('ROLLBACK').then(
        () => undefined,
        (fault: unknown) => (fault instanceof Error ? fault : new Error('broken')),
      );
      throw error;
    } finally {
      client.release(broken);
    }
  }
}

/** Errors of ours, thrown inside a transaction, pass as they are. */
function translated(error: unknown): unknown {
  const isDrivers = error instanceof pg.DatabaseError || isSystem(error);
  return isDrivers ? databaseFault(error, 'a transaction') : error;
}

/** Of the connection: a code of the system, or the driver's own words without one. */
function isSystem(error: unknown): boolean {
  if (!(error instanceof Error) || error.constructor !== Error) return false;
  return 'code' in error || /connect|terminat|timeout/i.test(error.message);
}
