/**
 * A PostgreSQL server behind the port, by a pool of connections. What was committed is on its disk when a
 * transaction resolves, unless the server itself is run without `fsync`.
 */

import pg from 'pg';
import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
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
const connectTimeoutMs = 2_000;
/** For what takes no time: a server that does not even begin a transaction is not there. */
const beginTimeoutMs = 1_500;
const statementTimeoutMs = 10_000;
/** Of this side, where the server does not keep its own. */
const answerTimeoutMs = 12_000;
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
      query_timeout: answerTimeoutMs,
      application_name: 'gyre-database',
    });
    const broke = (): void => log.warn({}, 'a connection to the database broke');
    // The pool opens another one when it needs it.
    this.#pool.on('error', broke);
    // Whoever is using it learns of it by his statement; on its way out nobody is.
    this.#pool.on('connect', (client) => client.on('error', broke));
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
        if (!isContention(causeOf(error)) || attempt === attemptsMax) throw error;
      }
    }
  }

  async transactAsOwner<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result> {
    return await this.#once(work);
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #once<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result> {
    const client = await driven(() => this.#pool.connect());
    let broken: Error | undefined;
    const on: Scripts = {
      rows: async (text, values = []) =>
        (await driven(() => client.query<Row>(text, [...values]))).rows,
      script: async (text) => {
        await driven(() => client.query(text));
      },
    };
    try {
      await driven(() => client.query(begin));
      const result = await work(on);
      await driven(() => client.query('COMMIT'));
      return result;
    } catch (error) {
      const isAnswer =
        causeOf(error) instanceof pg.DatabaseError || !(error instanceof AdapterError);
      broken = isAnswer ? await this.#rollback(client) : error;
      throw error;
    } finally {
      // A connection that broke, or hangs, is not given to anybody else.
      client.release(broken);
    }
  }

  async #rollback(client: pg.PoolClient): Promise<Error | undefined> {
    try {
      await client.query('ROLLBACK');
      return undefined;
    } catch (fault) {
      return fault instanceof Error ? fault : new Error('broken');
    }
  }
}

/** Whatever the server or the role is set to: what is answered is on the server's disk. */
const begin = {
  text: 'BEGIN; SET LOCAL synchronous_commit TO on',
  query_timeout: beginTimeoutMs,
};

/** Asks the driver: its faults are ours from here on, errors of ours never come from there. */
async function driven<Result>(ask: () => Promise<Result>): Promise<Result> {
  try {
    return await ask();
  } catch (error) {
    throw databaseFault(error, 'a transaction');
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof AdapterError ? error.cause : undefined;
}
