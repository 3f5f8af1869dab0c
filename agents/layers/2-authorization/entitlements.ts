/** Roles, and who has them: authorization.db, written by administrators and held in memory to be asked. */

import type { DatabaseSync } from 'node:sqlite';
import { roleEntryCheck, subjectEntryCheck, type Scope } from '#schemas/authorization.ts';
import { scopeNotGiven } from '#shared/core/entitled-scopes.ts';
import { AdapterError } from '../adapter.ts';
import { storedJson } from '../service/stored-json.ts';
import { transact, translated } from '../sqlite.ts';

export const rolesMax = 256;
export const subjectsMax = 100_000;

const schema = `
  CREATE TABLE IF NOT EXISTS roles (role TEXT PRIMARY KEY, scopes TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS subjects (subject TEXT PRIMARY KEY, roles TEXT NOT NULL) STRICT;
`;

export class Entitlements {
  readonly #database: DatabaseSync;
  readonly #roles = new Map<string, readonly Scope[]>();
  readonly #subjects = new Map<string, readonly string[]>();

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws AdapterError STORE_FAILED where what is stored is damaged */
  static restore(database: DatabaseSync): Entitlements {
    const entitlements = new Entitlements(database);
    transact(database, 'the roles cannot be used', () => database.exec(schema));
    const read = (sql: string) =>
      translated('the roles cannot be read', () => database.prepare(sql).all());
    for (const { role, scopes } of read('SELECT role, scopes FROM roles')) {
      const entry = { scopes: storedJson(String(scopes)) };
      if (!roleEntryCheck.check(entry)) throw damaged();
      entitlements.#roles.set(String(role), entry.scopes);
    }
    for (const { subject, roles } of read('SELECT subject, roles FROM subjects')) {
      const entry = { roles: storedJson(String(roles)) };
      if (!subjectEntryCheck.check(entry)) throw damaged();
      entitlements.#subjects.set(String(subject), entry.roles);
    }
    return entitlements;
  }

  get subjects(): number {
    return this.#subjects.size;
  }

  hasRole(role: string): boolean {
    return this.#roles.has(role);
  }

  rolesOf(subject: string): readonly string[] {
    return this.#subjects.get(subject) ?? [];
  }

  /** The first scope that a subject does not have. */
  missing(subject: string, wanted: readonly Scope[]): Scope | undefined {
    return scopeNotGiven(wanted, this.rolesOf(subject), this.#roles);
  }

  /** False where there is no room. @throws AdapterError */
  setRole(role: string, scopes: readonly Scope[]): boolean {
    if (!this.#roles.has(role) && this.#roles.size >= rolesMax) return false;
    this.#run('INSERT OR REPLACE INTO roles VALUES (?, ?)', role, JSON.stringify(scopes));
    this.#roles.set(role, scopes);
    return true;
  }

  removeRole(role: string): void {
    this.#run('DELETE FROM roles WHERE role = ?', role);
    this.#roles.delete(role);
  }

  /** False where there is no room. @throws AdapterError */
  setSubject(subject: string, roles: readonly string[]): boolean {
    if (!this.#subjects.has(subject) && this.#subjects.size >= subjectsMax) return false;
    this.#run('INSERT OR REPLACE INTO subjects VALUES (?, ?)', subject, JSON.stringify(roles));
    this.#subjects.set(subject, roles);
    return true;
  }

  removeSubject(subject: string): void {
    this.#run('DELETE FROM subjects WHERE subject = ?', subject);
    this.#subjects.delete(subject);
  }

  #run(sql: string, ...values: readonly string[]): void {
    translated('the roles were not kept', () => this.#database.prepare(sql).run(...values));
  }
}

function damaged(): AdapterError {
  return new AdapterError('STORE_FAILED', 'the stored roles are damaged');
}
