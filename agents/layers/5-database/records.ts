/**
 * Records: columns under encryption, each write signed and chained. A write says what the record shall
 * be, so it may be repeated; the same again makes no entry. Entries of all owners are one chain, written
 * under a lock on its end. What is read is verified first: entry, signature, and every column.
 */

import { concat, equalConstantTime } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { Refused } from '../service/http-app.ts';
import { openCell, sealCell } from './cells.ts';
import type { ChainAnchor } from './chain-anchor.ts';
import { columnKeyStatus, columnSlot, type ColumnKeys } from './column-keys.ts';
import { bytesOf, numberOf, textOf, type Database, type Row, type Statements } from './database.ts';
import type { HeldVersions } from './held-versions.ts';
import {
  blindBytes,
  commitmentOf,
  entryOf,
  hashOf,
  writtenCommitments,
  type Entry,
} from './record-entry.ts';
import { signatureSlot, type RecordSignatures } from './record-signatures.ts';

/** 404: not of this owner; 409: something else is there; 500: the database is not what was written. */
export const recordStatus = {
  ...columnKeyStatus,
  RECORD_UNKNOWN: 404,
  RECORD_CONFLICT: 409,
  REVISION_CONFLICT: 409,
  RECORD_TAMPERED: 409,
  CHAIN_ROLLED_BACK: 500,
  DATABASE_UNAVAILABLE: 503,
} as const;
export type RecordCode = keyof typeof recordStatus;

const attemptsMax = 8;
/** What a key that was retired in the midst of a read looks like. */
const goneKeyCodes: ReadonlySet<string> = new Set(['RECORD_TAMPERED', 'COLUMN_KEY_LOST']);

export type Columns = ReadonlyMap<string, Uint8Array>;

export interface RecordInput {
  readonly id: string;
  readonly owner: string;
  readonly kind: string;
  readonly links: readonly string[];
  readonly columns: Columns;
  /** What the record's revision shall be; refused where it cannot be that. */
  readonly revision?: number;
}

export interface StoredRecord {
  readonly entry: Entry;
  readonly columns: Columns;
}

export interface ListQuery {
  readonly owner: string;
  readonly kind?: string;
  /** Names are listed in order; those behind this one. */
  readonly after?: string;
  readonly limit: number;
}

export interface RecordsOptions {
  readonly database: Database;
  readonly keys: EmbeddedAdapter;
  readonly columnKeys: ColumnKeys;
  readonly signatures: RecordSignatures;
  readonly held: HeldVersions;
  readonly anchor: ChainAnchor;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

interface Found {
  readonly entry: Entry | undefined;
  readonly cells: readonly Row[];
}

/** All of it is refused with a code, or fails with AdapterError or ServiceError. */
export class Records {
  readonly #options: RecordsOptions;

  constructor(options: RecordsOptions) {
    this.#options = options;
  }

  async put(input: RecordInput): Promise<Entry> {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const current = await this.#current(input.owner, input.id);
      const revision = current?.entry.revision ?? 0;
      const isSame = current !== undefined && says(current, input);
      if (isSame && (input.revision === undefined || input.revision === revision)) {
        return current.entry;
      }
      if (input.revision !== undefined && input.revision !== revision + 1) {
        throw refused('REVISION_CONFLICT', `the record is at revision ${revision}`);
      }
      const written = await this.#append(input, revision + 1);
      if (written !== undefined) return written;
    }
    throw refused('OVERLOADED', 'others write the same record again and again');
  }

  async get(owner: string, id: string): Promise<StoredRecord> {
    const current = await this.#current(owner, id);
    if (current !== undefined) return current;
    throw refused('RECORD_UNKNOWN', 'there is no such record');
  }

  async list({ owner, kind, after, limit }: ListQuery): Promise<StoredRecord[]> {
    const actor = { role: 'gyre_rows', owner, isSnapshot: true } as const;
    const read = () =>
      this.#options.database.transact(actor, async (on) => {
        const rows = await on.rows(
          `SELECT * FROM (
             SELECT DISTINCT ON (record_id) * FROM gyre.entries
             WHERE record_id > $1 ORDER BY record_id, revision DESC
           ) AS latest WHERE $2 = '' OR kind = $2 ORDER BY record_id LIMIT $3`,
          [after ?? '', kind ?? '', limit],
        );
        const ids = rows.map((row) => textOf(row, 'record_id'));
        const cells = await on.rows('SELECT * FROM gyre.cells WHERE record_id = ANY($1)', [ids]);
        return rows.map((row) => ({ entry: entryOf(row), cells: cellsOf(row, cells) }));
      });
    return await this.#openedTwice(read);
  }

  /** A record with its columns. @throws Refused RECORD_TAMPERED */
  async #opened({ entry, cells }: Found): Promise<StoredRecord> {
    if (entry === undefined || !(await this.#options.signatures.isGenuine(entry))) {
      throw refused('RECORD_TAMPERED', 'the record is not what was written');
    }
    const columns = await this.columnsOf(entry, cells);
    if (columns !== undefined) return { entry, columns };
    throw refused('RECORD_TAMPERED', 'a column of the record is not what was written');
  }

  /** What the cells hold; undefined where that is not what the entry commits to. */
  async columnsOf(entry: Entry, cells: readonly Row[]): Promise<Columns | undefined> {
    const names = Object.keys(entry.commitments).toSorted();
    const sorted = cells.toSorted((left, right) =>
      textOf(left, 'name') < textOf(right, 'name') ? -1 : 1,
    );
    if (names.length !== sorted.length) return undefined;
    const columns = new Map<string, Uint8Array>();
    for (const [index, name] of names.entries()) {
      const cell = sorted[index];
      if (cell === undefined || textOf(cell, 'name') !== name) return undefined;
      const blinded = await this.#blinded(entry, cell);
      if (blinded === undefined) return undefined;
      const commitment = commitmentOf(this.#options.crypto, { id: entry.id, name }, blinded);
      if (commitment !== entry.commitments[name]) return undefined;
      columns.set(name, blinded.slice(blindBytes));
    }
    return columns;
  }

  async #current(owner: string, id: string): Promise<StoredRecord | undefined> {
    const actor = { role: 'gyre_rows', owner, isSnapshot: true } as const;
    const read = () =>
      this.#options.database.transact(actor, async (on) => {
        const row = await latestOf(on, id);
        if (row === undefined) return [];
        const cells = await on.rows('SELECT * FROM gyre.cells WHERE record_id = $1', [id]);
        return [{ entry: entryOf(row), cells }];
      });
    return (await this.#openedTwice(read))[0];
  }

  /**
   * What was read under a key that was retired before it could be opened is under another key by then: so
   * what does not open is read once more before anybody calls it tampered with.
   */
  async #openedTwice(read: () => Promise<readonly Found[]>): Promise<StoredRecord[]> {
    try {
      return await this.#openedAll(await read());
    } catch (error) {
      if (!(error instanceof Refused) || !goneKeyCodes.has(error.code)) throw error;
    }
    return await this.#openedAll(await read());
  }

  async #openedAll(found: readonly Found[]): Promise<StoredRecord[]> {
    const records: StoredRecord[] = [];
    for (const each of found) records.push(await this.#opened(each));
    return records;
  }

  async #blinded(entry: Entry, cell: Row): Promise<Uint8Array | undefined> {
    const { columnKeys, crypto, clock, keys } = this.#options;
    const version = numberOf(cell, 'key_version');
    // Nothing that was ever written is under a key that is gone.
    if (!columnKeys.has(version)) return undefined;
    const secret = await columnKeys.open(version);
    if (secret.wiped) return undefined;
    const { id, owner } = entry;
    const place = { id, owner, name: textOf(cell, 'name'), version };
    const beganMs = clock.monotonicMs();
    const blinded = openCell(crypto, secret.reveal(), place, bytesOf(cell, 'sealed'));
    const durationMs = clock.monotonicMs() - beganMs;
    const use = { slot: columnSlot, version, operation: 'decrypt', durationMs };
    if (blinded !== undefined) keys.usage.record({ ...use, failed: false });
    return blinded;
  }

  /** Undefined where somebody else wrote this revision first. */
  async #append(input: RecordInput, revision: number): Promise<Entry | undefined> {
    const { columnKeys, held, signatures } = this.#options;
    const cellVersion = columnKeys.primary();
    const signatureVersion = signatures.primary();
    return await held.while(columnSlot, cellVersion, () =>
      held.while(signatureSlot, signatureVersion, async () => {
        const secret = await columnKeys.open(cellVersion);
        const sealed = this.#seal(input, { version: cellVersion, key: secret.reveal() });
        return await this.#commit(input, { revision, signatureVersion, sealed });
      }),
    );
  }

  #seal(input: RecordInput, { version, key }: { version: number; key: Uint8Array }): SealedColumns {
    const { crypto, clock, keys } = this.#options;
    const { id, owner } = input;
    const cells: SealedColumns['cells'][number][] = [];
    const commitments: Record<string, string> = {};
    for (const [name, content] of input.columns) {
      const beganMs = clock.monotonicMs();
      const blinded = concat(crypto.randomBytes(blindBytes), content);
      commitments[name] = commitmentOf(crypto, { id, name }, blinded);
      const bytes = sealCell(crypto, key, { id, name, owner, version }, blinded);
      cells.push({ name, sealed: bytes });
      const durationMs = clock.monotonicMs() - beganMs;
      const use = { slot: columnSlot, version, operation: 'encrypt', durationMs };
      keys.usage.record({ ...use, failed: false });
    }
    return { version, cells, commitments };
  }

  async #commit(input: RecordInput, write: Write): Promise<Entry | undefined> {
    const { database, anchor } = this.#options;
    const { id, owner } = input;
    const entry = await database.transact({ role: 'gyre_rows', owner }, async (on) => {
      const [end] = await on.rows('SELECT sequence, hash FROM gyre.chain WHERE one = 1 FOR UPDATE');
      const last = {
        sequence: end === undefined ? -1 : numberOf(end, 'sequence'),
        hash: end === undefined ? new Uint8Array() : bytesOf(end, 'hash'),
      };
      if (!anchor.allows(last)) {
        throw refused('CHAIN_ROLLED_BACK', 'the database ends before what was committed');
      }
      const latest = await latestOf(on, id);
      if ((latest === undefined ? 0 : numberOf(latest, 'revision')) !== write.revision - 1) {
        return undefined;
      }
      const made = this.#entryAfter(last, input, write);
      await insertEntry(on, made);
      await on.rows('DELETE FROM gyre.cells WHERE record_id = $1', [id]);
      for (const { name, sealed } of write.sealed.cells) {
        const values = [id, name, owner, write.sealed.version, sealed];
        await on.rows('INSERT INTO gyre.cells VALUES ($1, $2, $3, $4, $5)', values);
      }
      await on.rows('UPDATE gyre.chain SET sequence = $1, hash = $2 WHERE one = 1', [
        made.sequence,
        made.hash,
      ]);
      return made;
    });
    if (entry !== undefined) anchor.note(entry);
    return entry;
  }

  #entryAfter(
    last: { readonly sequence: number; readonly hash: Uint8Array },
    { id, owner, kind, links }: RecordInput,
    { revision, signatureVersion, sealed }: Write,
  ): Entry {
    const { crypto, clock, signatures } = this.#options;
    const content = {
      sequence: last.sequence + 1,
      previous: last.hash,
      id,
      owner,
      kind,
      links,
      revision,
      commitments: sealed.commitments,
      writtenAtMs: Math.floor(clock.nowMs()),
    };
    const hash = hashOf(crypto, content);
    return {
      ...content,
      hash,
      signature: signatures.sign(signatureVersion, hash),
      signatureVersion,
    };
  }
}

interface SealedColumns {
  /** Of the column key. */
  readonly version: number;
  readonly cells: readonly { readonly name: string; readonly sealed: Uint8Array }[];
  readonly commitments: Readonly<Record<string, string>>;
}

interface Write {
  readonly revision: number;
  readonly signatureVersion: number;
  readonly sealed: SealedColumns;
}

export function refused(code: RecordCode | 'OVERLOADED', reason: string): Refused<RecordCode> {
  return new Refused<RecordCode>(code, reason, { retryable: code === 'OVERLOADED' });
}

async function latestOf(on: Statements, id: string): Promise<Row | undefined> {
  const order = 'ORDER BY revision DESC LIMIT 1';
  return (await on.rows(`SELECT * FROM gyre.entries WHERE record_id = $1 ${order}`, [id]))[0];
}

/** @throws Refused RECORD_CONFLICT where the record is somebody else's */
async function insertEntry(on: Statements, entry: Entry): Promise<void> {
  const inserted = await on.rows(
    `INSERT INTO gyre.entries (sequence, record_id, revision, owner, kind, links, commitments,
       written_at_ms, previous, hash, signature, signature_version)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     ON CONFLICT (record_id, revision) DO NOTHING RETURNING sequence`,
    [
      entry.sequence,
      entry.id,
      entry.revision,
      entry.owner,
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
  if (inserted.length === 0) throw refused('RECORD_CONFLICT', 'the name is taken');
}

function cellsOf(row: Row, cells: readonly Row[]): Row[] {
  const id = textOf(row, 'record_id');
  return cells.filter((cell) => textOf(cell, 'record_id') === id);
}

function says({ entry, columns }: StoredRecord, input: RecordInput): boolean {
  return (
    entry.kind === input.kind &&
    JSON.stringify(entry.links) === JSON.stringify(input.links) &&
    columns.size === input.columns.size &&
    [...input.columns].every(([name, content]) => {
      const there = columns.get(name);
      return there !== undefined && equalConstantTime(there, content);
    })
  );
}
