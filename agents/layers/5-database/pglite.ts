/**
 * PGlite behind the port: PostgreSQL in this process, in a folder of the service's state. What was committed
 * is on the disk when a transaction resolves (pglite-files.ts).
 */

import type { PGlite, Transaction } from '@electric-sql/pglite';
import type { NodeFS } from '@electric-sql/pglite/nodefs';
import {
  actorStatement,
  actorValues,
  databaseFault,
  snapshotStatement,
  type Actor,
  type Database,
  type Row,
  type Scripts,
  type Statements,
} from './database.ts';

import {
  durableParameters,
  requireDurable,
  syncedFiles,
  syncFolder,
  type Sync,
} from './pglite-files.ts';

interface Modules {
  readonly PGlite: typeof PGlite;
  readonly NodeFS: typeof NodeFS;
}

export class PgliteDatabase implements Database {
  readonly kind = 'pglite';
  readonly #database: PGlite;
  readonly #isFault: (error: unknown) => boolean;

  private constructor(database: PGlite, isFault: (error: unknown) => boolean) {
    this.#database = database;
    this.#isFault = isFault;
  }

  /** The folder exists, or its parent does. Takes a second or two. @throws AdapterError */
  static async start(folder: string, sync?: Sync): Promise<PgliteDatabase> {
    return await PgliteDatabase.#opened(async ({ PGlite, NodeFS }) => {
      const database = await PGlite.create({
        fs: syncedFiles(NodeFS, folder, sync),
        startParams: durableParameters(PGlite.defaultStartParams),
      });
      await requireDurable(database);
      syncFolder(folder, sync);
      return database;
    });
  }

  /** One that is gone with the process. @throws AdapterError */
  static async startInMemory(): Promise<PgliteDatabase> {
    return await PgliteDatabase.#opened(({ PGlite }) => PGlite.create('memory://'));
  }

  static async #opened(make: (modules: Modules) => Promise<PGlite>): Promise<PgliteDatabase> {
    // Only where it is used: loading it costs what the rest of the service does.
    const { PGlite, messages } = await import('@electric-sql/pglite');
    const { NodeFS } = await import('@electric-sql/pglite/nodefs');
    const isFault = (error: unknown): boolean => error instanceof messages.DatabaseError;
    try {
      return new PgliteDatabase(await make({ PGlite, NodeFS }), isFault);
    } catch (error) {
      throw databaseFault(error, 'the embedded database cannot be opened');
    }
  }

  /** One after the other: there is one connection, and nothing to contend with. */
  async transact<Result>(actor: Actor, work: (on: Statements) => Promise<Result>): Promise<Result> {
    return await this.transactAsOwner(async (on) => {
      if (actor.isSnapshot === true) await on.script(snapshotStatement);
      await on.rows(actorStatement, actorValues(actor));
      return await work(on);
    });
  }

  async transactAsOwner<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result> {
    try {
      return await this.#database.transaction((transaction) => work(statementsOf(transaction)));
    } catch (error) {
      throw this.#isFault(error) ? databaseFault(error, 'a transaction') : error;
    }
  }

  async close(): Promise<void> {
    if (!this.#database.closed) await this.#database.close();
  }
}

function statementsOf(transaction: Transaction): Scripts {
  return {
    rows: async (text, values = []) =>
      (await transaction.query<Record<string, unknown>>(text, [...values])).rows satisfies Row[],
    script: async (text) => {
      await transaction.exec(text);
    },
  };
}
