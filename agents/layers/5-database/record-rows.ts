/** Records as rows: the newest entry of one, its cells, and what a write leaves of both. */

import { textOf, type Row, type Statements } from './database.ts';
import { writtenCommitments, type Entry, type RecordKey } from './record-entry.ts';

export interface SealedCell {
  readonly name: string;
  readonly sealed: Uint8Array;
}

/** Row security shows no others either. */
const ofRecord = 'namespace = $1 AND owner = $2 AND record_id = $3';

export async function latestOf(on: Statements, key: RecordKey): Promise<Row | undefined> {
  const text = `SELECT * FROM gyre.entries WHERE ${ofRecord} ORDER BY revision DESC LIMIT 1`;
  return (await on.rows(text, valuesOf(key)))[0];
}

export async function cellsOf(on: Statements, key: RecordKey): Promise<readonly Row[]> {
  return await on.rows(`SELECT * FROM gyre.cells WHERE ${ofRecord}`, valuesOf(key));
}

/** The cells of many records. */
export async function cellsOfAll(on: Statements, entries: readonly Row[]): Promise<readonly Row[]> {
  const column = (name: string): string[] => entries.map((row) => textOf(row, name));
  return await on.rows(
    `SELECT * FROM gyre.cells WHERE (namespace, owner, record_id) IN
       (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))`,
    [column('namespace'), column('owner'), column('record_id')],
  );
}

/** Those of one record among them. */
export function cellsAmong(cells: readonly Row[], entry: Row): Row[] {
  const names = ['namespace', 'owner', 'record_id'] as const;
  return cells.filter((cell) => names.every((name) => textOf(cell, name) === textOf(entry, name)));
}

export async function insertEntry(on: Statements, entry: Entry): Promise<void> {
  await on.rows(
    `INSERT INTO gyre.entries (namespace, owner, record_id, sequence, revision, is_deleted, kind,
       links, commitments, written_at_ms, previous, hash, signature, signature_version)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      ...valuesOf(entry),
      entry.sequence,
      entry.revision,
      entry.isDeleted,
      entry.kind,
      JSON.stringify(entry.links),
      writtenCommitments(entry.commitments),
      entry.writtenAtMs,
      entry.previous,
      entry.hash,
      entry.signature,
      entry.signatureVersion,
    ],
  );
}

/** What was in the record is gone. */
export async function replaceCells(
  on: Statements,
  key: RecordKey,
  { version, cells }: { readonly version: number; readonly cells: readonly SealedCell[] },
): Promise<void> {
  await on.rows(`DELETE FROM gyre.cells WHERE ${ofRecord}`, valuesOf(key));
  for (const { name, sealed } of cells) {
    await on.rows(
      `INSERT INTO gyre.cells (namespace, owner, record_id, name, key_version, sealed)
         VALUES ($1, $2, $3, $4, $5, $6)`,
      [...valuesOf(key), name, version, sealed],
    );
  }
}

function valuesOf({ namespace, owner, id }: RecordKey): [string, string, string] {
  return [namespace, owner, id];
}
