/**
 * A database of a simulated agent: SQLite in memory that outlives the agent's lives, under a face that
 * looks like `DatabaseSync` to the production code. The process may die before and after each commit, and
 * what it had not committed dies with it. With a `synchronous` below FULL, what it had committed dies too.
 *
 * Everything of one world lies inside one savepoint of the real database, so that a world leaves nothing
 * behind: databases and their prepared statements go from world to world, because making them costs more
 * than a world's whole work in them. The tables stay; a process that dies while it makes them for the
 * first time finds them at its next start, where it says `IF NOT EXISTS` anyway.
 */

import {
  DatabaseSync,
  type SQLInputValue,
  type SQLOutputValue,
  type StatementResultingChanges,
  type StatementSync,
} from 'node:sqlite';
import type { Access } from './disk-access.ts';
import { kindOf, tableOf, type Kind } from './disk-statements.ts';

type Row = Record<string, SQLOutputValue>;

const full = 2;
const levels: Readonly<Record<string, number>> = { off: 0, normal: 1, full, extra: 3 };
/** Without meaning where nothing is written to a file. */
const ignored = new Set(['journal_mode', 'secure_delete', 'busy_timeout', 'wal_autocheckpoint']);

/** What one real database is, over the worlds that use it. */
class PooledDatabase {
  readonly raw = new DatabaseSync(':memory:', {
    enableForeignKeyConstraints: true,
    enableDoubleQuotedStringLiterals: false,
  });
  readonly schemas = new Set<string>();
  readonly #statements = new Map<string, StatementSync>();

  constructor(schemas: Iterable<string>) {
    // A savepoint copies each page that is written to: small ones cost less.
    this.raw.exec('PRAGMA page_size = 1024');
    this.#settle(schemas);
  }

  prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.raw.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  /** As `raw.exec`, for what is said again and again. */
  run(sql: string): void {
    this.prepare(sql).run();
  }

  /** As it was before the world, and with the tables that it wanted. */
  reset(schemas: Iterable<string>): void {
    const missing = [...schemas].filter((sql) => !this.schemas.has(sql));
    this.raw.exec('ROLLBACK TO world');
    if (missing.length === 0) return;
    this.raw.exec('RELEASE world');
    this.#settle(missing);
  }

  #settle(schemas: Iterable<string>): void {
    for (const sql of schemas) {
      this.raw.exec(sql);
      this.schemas.add(sql);
    }
    this.raw.exec('SAVEPOINT world');
  }
}

/** Databases that no world uses now. One pool per process; worlds run one after the other. */
export class DatabasePool {
  readonly #idle = new Map<string, PooledDatabase[]>();
  /** What databases of a name begin with. */
  readonly #schemas = new Map<string, Set<string>>();

  take(name: string): PooledDatabase {
    return this.#idle.get(name)?.pop() ?? new PooledDatabase(this.schemasOf(name));
  }

  giveBack(name: string, database: PooledDatabase): void {
    database.reset(this.schemasOf(name));
    const idle = this.#idle.get(name) ?? [];
    this.#idle.set(name, idle);
    idle.push(database);
  }

  schemasOf(name: string): Set<string> {
    const known = this.#schemas.get(name) ?? new Set();
    this.#schemas.set(name, known);
    return known;
  }
}

/** One database of one agent in one world. */
export class SimulatedDatabase {
  readonly name: string;
  readonly #pool: DatabasePool;
  readonly #pooled: PooledDatabase;
  readonly #peek: DatabaseSync;
  #level = full;
  #isInTransaction = false;
  /** The transaction has written something. */
  #hasWritten = false;
  /** Tables of which rows changed since the last commit. */
  #tables = new Set<string>();
  #hasUnsynced = false;
  #isReleased = false;
  /** Commits, and losses of commits. */
  changes = 0;

  constructor(name: string, pool: DatabasePool) {
    this.name = name;
    this.#pool = pool;
    this.#pooled = pool.take(name);
    this.#peek = peekOf(this);
  }

  /** For those who look at what is there; not to be written to. Uncommitted work is seen too. */
  get peek(): DatabaseSync {
    return this.#peek;
  }

  get isInTransaction(): boolean {
    return this.#isInTransaction;
  }

  /** The face of it for one life. */
  open(access: Access): DatabaseSync {
    this.#level = full;
    return new FacedDatabase(this, access) as unknown as DatabaseSync;
  }

  prepare(sql: string): StatementSync {
    this.assertHeld();
    return this.#pooled.prepare(sql);
  }

  /** What outlives its world must not write into the next one. */
  assertHeld(): void {
    if (this.#isReleased) throw new Error(`${this.name} belongs to a world that is over`);
  }

  execute(sql: string, access: Access): void {
    const kind = kindOf(sql);
    if (kind === 'pragma') this.#pragmas(sql);
    else if (kind === 'begin') this.#begin();
    else if (kind === 'commit') this.#commit(access);
    else if (kind === 'rollback') this.#rollback();
    else if (kind === 'read') this.#pooled.raw.exec(sql);
    else this.#write(access, () => this.#run(kind, sql));
  }

  /** In the transaction, or in one of its own. */
  #write<Result>(access: Access, work: () => Result): Result {
    if (!this.#isInTransaction) return this.#writeAlone(access, work);
    if (access.isFull) throw this.#noRoom(access.chance(0.5));
    if (!this.#hasWritten) {
      this.#beforeCommit();
      this.#pooled.run('SAVEPOINT work');
      this.#hasWritten = true;
    }
    return work();
  }

  /** A statement, in its transaction or in one of its own, and how many rows it changed. */
  runWrite(access: Access, sql: string, run: () => StatementResultingChanges) {
    return this.#write(access, () => {
      const result = run();
      if (result.changes !== 0) this.#noteTable(sql);
      return result;
    });
  }

  /** Its owner is gone: what was not committed never was, nor what was not on the disk. */
  lose(): 'committed' | 'nothing' {
    this.#undo();
    if (!this.#hasUnsynced) return 'nothing';
    this.#pooled.raw.exec('ROLLBACK TO unsynced; RELEASE unsynced');
    this.#hasUnsynced = false;
    this.changes += 1;
    return 'committed';
  }

  /** Its owner let go of it in order. */
  close(): void {
    this.#undo();
    this.#sync();
  }

  /** The world is over. */
  release(): void {
    this.assertHeld();
    this.#isReleased = true;
    this.#pool.giveBack(this.name, this.#pooled);
  }

  #run(kind: Kind, sql: string): void {
    if (kind === 'schema') {
      if (this.#pooled.schemas.has(sql)) return;
      this.#pool.schemasOf(this.name).add(sql);
    }
    this.#pooled.raw.exec(sql);
    if (kind === 'write') this.#noteTable(sql);
  }

  #noteTable(sql: string): void {
    const table = tableOf(sql);
    if (table !== undefined) this.#tables.add(table);
  }

  #writeAlone<Result>(access: Access, work: () => Result): Result {
    access.pass(this.#what, 'before');
    if (access.isFull) throw this.#noRoom(false);
    this.#beforeCommit();
    const result = work();
    this.#committed(access);
    return result;
  }

  #begin(): void {
    if (this.#isInTransaction) throw sqliteError(1, 'a transaction within a transaction');
    this.#isInTransaction = true;
    this.#hasWritten = false;
  }

  #commit(access: Access): void {
    if (!this.#isInTransaction) throw sqliteError(1, 'cannot commit: no transaction is active');
    if (!this.#hasWritten) {
      this.#isInTransaction = false;
      return;
    }
    access.pass(this.#what, 'before');
    if (access.isFull) throw this.#noRoom(true);
    this.#pooled.run('RELEASE work');
    this.#isInTransaction = false;
    this.#hasWritten = false;
    this.#committed(access);
  }

  #rollback(): void {
    if (!this.#isInTransaction) throw sqliteError(1, 'cannot rollback: no transaction is active');
    this.#undo();
  }

  #undo(): void {
    if (this.#hasWritten) this.#pooled.raw.exec('ROLLBACK TO work; RELEASE work');
    this.#hasWritten = false;
    this.#isInTransaction = false;
    this.#tables = new Set();
  }

  /** SQLite ends the whole transaction where a commit finds no room, and often already before. */
  #noRoom(endsTransaction: boolean): Error {
    if (endsTransaction) this.#undo();
    return sqliteError(13, 'database or disk is full');
  }

  /** What is committed from here on can be lost, where nobody waits for the disk. */
  #beforeCommit(): void {
    if (this.#level >= full || this.#hasUnsynced) return;
    this.#pooled.run('SAVEPOINT unsynced');
    this.#hasUnsynced = true;
  }

  #committed(access: Access): void {
    if (this.#level >= full) this.#sync();
    this.changes += 1;
    const tables = this.#tables;
    this.#tables = new Set();
    access.written({ kind: 'database', name: this.name, tables });
    access.pass(this.#what, 'after');
  }

  #sync(): void {
    if (this.#hasUnsynced) this.#pooled.run('RELEASE unsynced');
    this.#hasUnsynced = false;
  }

  #pragmas(sql: string): void {
    for (const one of sql.split(';')) {
      if (one.trim() === '') continue;
      const [, name = '', value = ''] = /^\s*PRAGMA\s+(\w+)\s*=\s*(\w+)\s*$/i.exec(one) ?? [];
      const level = levels[value.toLowerCase()] ?? Number(value);
      if (name.toLowerCase() === 'synchronous' && level >= 0) this.#level = level;
      else if (!ignored.has(name.toLowerCase())) throw new Error(`no such simulation: ${one}`);
    }
  }

  /** A checkpoint brings everything to the disk. */
  asked(pragma: string): Row[] {
    if (!/^\s*PRAGMA\s+wal_checkpoint\b/i.test(pragma)) {
      throw new Error(`no such simulation: ${pragma}`);
    }
    if (this.#isInTransaction) return [{ busy: 1, log: 0, checkpointed: 0 }];
    this.#sync();
    return [{ busy: 0, log: 0, checkpointed: 0 }];
  }

  get #what(): string {
    return `database ${this.name}`;
  }
}

/** What production uses of `DatabaseSync`, and nothing else: the rest is missing loudly. */
class FacedDatabase {
  readonly #database: SimulatedDatabase;
  readonly #access: Access;
  #isOpen = true;

  constructor(database: SimulatedDatabase, access: Access) {
    this.#database = database;
    this.#access = access;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get isTransaction(): boolean {
    this.#assertUsable();
    return this.#database.isInTransaction;
  }

  exec(sql: string): void {
    this.#assertUsable();
    this.#database.execute(sql, this.#access);
  }

  prepare(sql: string) {
    this.#assertUsable();
    const database = this.#database;
    const kind = kindOf(sql);
    if (kind === 'pragma') return { all: () => database.asked(sql) };
    const real = database.prepare(sql);
    const write = (...values: SQLInputValue[]) => {
      this.#assertUsable();
      return database.runWrite(this.#access, sql, () => real.run(...values));
    };
    if (kind !== 'read') return { run: write };
    const all = (...values: SQLInputValue[]): Row[] => {
      this.#assertUsable();
      return real.all(...values);
    };
    return {
      all,
      get: (...values: SQLInputValue[]) => {
        this.#assertUsable();
        return real.get(...values);
      },
      iterate: (...values: SQLInputValue[]) => all(...values)[Symbol.iterator](),
    };
  }

  close(): void {
    this.#assertUsable();
    this.#isOpen = false;
    this.#database.close();
  }

  #assertUsable(): void {
    this.#access.assertAlive();
    this.#database.assertHeld();
    if (!this.#isOpen) throw new Error('database is not open');
  }
}

function peekOf(database: SimulatedDatabase): DatabaseSync {
  const peek = {
    isOpen: true,
    prepare: (sql: string) => database.prepare(sql),
    get isTransaction() {
      return database.isInTransaction;
    },
  };
  return peek as unknown as DatabaseSync;
}

function sqliteError(errcode: number, errstr: string): Error {
  return Object.assign(new Error(errstr), { code: 'ERR_SQLITE_ERROR', errcode, errstr });
}
