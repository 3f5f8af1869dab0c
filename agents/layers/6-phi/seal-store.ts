/**
 * The seals of all resources, in phi.db: what the resource itself is lies in layer 5, so neither layer
 * can change it alone without the other noticing. A write adds the seal of the new content before layer
 * 5 gets it and takes the older ones away afterwards; whichever content a crash leaves has its seal.
 */

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import type { Disk } from '#shared/runtime/disk.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';
import type { Seal } from './sealing.ts';

export interface SealRow {
  readonly name: string;
  readonly generation: number;
  readonly patient: string;
  readonly tag: Seal;
  /** Of consents. */
  readonly signature?: Seal;
  readonly addedAtMs: number;
}

export type SealKind = 'tag' | 'signature';

const schema = `
  CREATE TABLE IF NOT EXISTS seals (
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    patient TEXT NOT NULL,
    tag BLOB NOT NULL,
    tag_version INTEGER NOT NULL,
    signature BLOB,
    signature_version INTEGER,
    added_at_ms INTEGER NOT NULL,
    PRIMARY KEY (name, generation),
    CHECK ((signature IS NULL) = (signature_version IS NULL))
  ) STRICT;
  CREATE INDEX IF NOT EXISTS seals_patient ON seals (patient, name);
  CREATE INDEX IF NOT EXISTS seals_tag_version ON seals (tag_version);
  CREATE INDEX IF NOT EXISTS seals_signature_version ON seals (signature_version);
`;

const columns =
  'name, generation, patient, tag, tag_version, signature, signature_version, added_at_ms';

export class SealStore {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws AdapterError */
  static open(disk: Pick<Disk, 'database'>): SealStore {
    const database = openDatabase(disk, 'phi.db');
    translated('the seals cannot be opened', () => database.exec(schema));
    return new SealStore(database);
  }

  /** Newest first; more than one only where a write was interrupted. */
  of(name: string): SealRow[] {
    return this.#read('WHERE name = ? ORDER BY generation DESC', name);
  }

  /** Names of a patient's resources of one type, from `after` on. */
  namesOf(patient: string, type: string, limit: number, after = ''): string[] {
    const rows = this.#rows(
      `SELECT DISTINCT name FROM seals WHERE patient = ? AND name > ? AND name LIKE ? ORDER BY name LIMIT ?`,
      patient,
      after,
      `${type}/%`,
      limit,
    );
    return rows.map(({ name }) => String(name));
  }

  /** The seal of what is about to be written. */
  add(row: Omit<SealRow, 'generation'>): number {
    return transact(this.#database, 'the seal was not kept', () => {
      const generation = (this.of(row.name)[0]?.generation ?? 0) + 1;
      this.#rows(
        `INSERT INTO seals (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        row.name,
        generation,
        row.patient,
        row.tag.bytes,
        row.tag.version,
        row.signature?.bytes ?? null,
        row.signature?.version ?? null,
        row.addedAtMs,
      );
      return generation;
    });
  }

  /** What was written is there: seals of older content go. */
  settle(name: string, generation: number): void {
    translated('older seals were not removed', () =>
      this.#rows('DELETE FROM seals WHERE name = ? AND generation < ?', name, generation),
    );
  }

  /**
   * Seals of content that never came to layer 5 go, if they are older than `beforeMs`: a write that was
   * given up may still arrive. Returns how many stay.
   */
  dropStray(name: string, generation: number, beforeMs: number): void {
    translated('stray seals were not removed', () =>
      this.#rows(
        'DELETE FROM seals WHERE name = ? AND generation <> ? AND added_at_ms < ?',
        name,
        generation,
        beforeMs,
      ),
    );
  }

  /** Another seal of the same content. */
  replace({ name, generation }: SealRow, kind: SealKind, seal: Seal): void {
    translated('the new seal was not kept', () =>
      this.#rows(
        `UPDATE seals SET ${kind} = ?, ${kind}_version = ? WHERE name = ? AND generation = ?`,
        seal.bytes,
        seal.version,
        name,
        generation,
      ),
    );
  }

  /** Seals under a version of the key. */
  countUnder(kind: SealKind, version: number): number {
    const where = `${kind}_version = ?`;
    const [row] = this.#rows(`SELECT count(*) AS count FROM seals WHERE ${where}`, version);
    return Number(row?.['count'] ?? 0);
  }

  /** Names whose seal is under another version than this, after `after`, by name. */
  namesNotUnder(kind: SealKind, version: number, limit: number, after: string): string[] {
    const rows = this.#rows(
      `SELECT DISTINCT name FROM seals
       WHERE ${kind}_version IS NOT NULL AND ${kind}_version <> ? AND name > ? ORDER BY name LIMIT ?`,
      version,
      after,
      limit,
    );
    return rows.map(({ name }) => String(name));
  }

  count(): number {
    return Number(this.#rows('SELECT count(*) AS count FROM seals')[0]?.['count'] ?? 0);
  }

  close(): void {
    this.#database.close();
  }

  #read(where: string, ...values: (string | number)[]): SealRow[] {
    return this.#rows(`SELECT ${columns} FROM seals ${where}`, ...values).map(rowOf);
  }

  #rows(sql: string, ...values: (string | number | Uint8Array | null)[]) {
    return translated('the seals cannot be read', () => this.#database.prepare(sql).all(...values));
  }
}

function rowOf(row: Record<string, SQLOutputValue>): SealRow {
  const tag = sealOf(row, 'tag');
  const signature = sealOf(row, 'signature');
  if (tag === undefined) throw new Error('assertion: a seal without a tag');
  return {
    name: String(row['name']),
    generation: Number(row['generation']),
    patient: String(row['patient']),
    tag,
    addedAtMs: Number(row['added_at_ms']),
    ...(signature === undefined ? {} : { signature }),
  };
}

function sealOf(row: Record<string, SQLOutputValue>, kind: SealKind): Seal | undefined {
  const bytes = row[kind];
  if (!(bytes instanceof Uint8Array)) return undefined;
  return { bytes, version: Number(row[`${kind}_version`]) };
}
