/**
 * Records: columns under encryption, each write signed and chained. A write says what the record shall
 * be, so it may be repeated; the same again makes no entry. A deletion is an entry too: its columns are
 * gone, and that it was deleted stays. Entries of all namespaces and owners are one chain, written under
 * a lock on its end. What is read is verified first: entry, signature, and every column.
 */

import { equalConstantTime } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { Refused } from '../service/http-app.ts';
import type { ChainAnchor } from './chain-anchor.ts';
import type { ChainEnd } from './chain-end.ts';
import { chainPlaceOf, type ChainPlace } from './chain-place.ts';
import { columnKeyStatus, columnSlot, type ColumnKeys } from './column-keys.ts';
import { numberOf, type Database, type Row, type Statements } from './database.ts';
import type { HeldVersions } from './held-versions.ts';
import {
  entryOf,
  hashOf,
  placeOf,
  type Entry,
  type Namespace,
  type RecordKey,
} from './record-entry.ts';
import type { Columns, RecordColumns, SealedColumns } from './record-columns.ts';
import { isNewest, type Head, type RecordHeads } from './record-heads.ts';
import {
  cellsAmong,
  cellsOf,
  cellsOfAll,
  insertEntry,
  latestOf,
  replaceCells,
} from './record-rows.ts';
import { signatureSlot, type RecordSignatures } from './record-signatures.ts';

/** 404: not of this owner; 409: something else is there; 500: the database is not what was written. */
export const recordStatus = {
  ...columnKeyStatus,
  RECORD_UNKNOWN: 404,
  REVISION_CONFLICT: 409,
  RECORD_TAMPERED: 409,
  CHAIN_ROLLED_BACK: 500,
  CHAIN_BROKEN: 500,
  DATABASE_UNAVAILABLE: 503,
} as const;
export type RecordCode = keyof typeof recordStatus;

const attemptsMax = 8;
/** What a key that was retired in the midst of a read looks like. */
const goneKeyCodes: ReadonlySet<string> = new Set(['RECORD_TAMPERED', 'COLUMN_KEY_LOST']);

export interface RecordInput extends RecordKey {
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
  readonly namespace: Namespace;
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
  readonly columns: RecordColumns;
  readonly signatures: RecordSignatures;
  readonly held: HeldVersions;
  readonly anchor: ChainAnchor;
  readonly end: ChainEnd;
  readonly heads: RecordHeads;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

interface Found {
  readonly entry: Entry | undefined;
  readonly cells: readonly Row[];
  /** What was known before the database was asked. */
  readonly head?: Head | undefined;
}

/** All of it is refused with a code, or fails with AdapterError or ServiceError. */
export class Records {
  readonly #options: RecordsOptions;

  constructor(options: RecordsOptions) {
    this.#options = options;
  }

  async put(input: RecordInput): Promise<Entry> {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const current = await this.#current(input);
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

  async get(key: RecordKey): Promise<StoredRecord> {
    const current = await this.#current(key);
    if (current !== undefined && !current.entry.isDeleted) return current;
    throw unknown();
  }

  /** The entry by which it is deleted: now, or since when. Nothing is read for it but the last entry. */
  async remove(key: RecordKey): Promise<Entry> {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const last = await this.#lastEntry(key);
      if (last.isDeleted) return last;
      const { signatures, held } = this.#options;
      const signatureVersion = signatures.primary();
      const { kind, revision: before } = last;
      const nothing = { version: 0, cells: [], commitments: {} };
      const write = { revision: before + 1, signatureVersion, sealed: nothing, isDeleted: true };
      const { namespace, owner, id } = key;
      const written = await held.while(signatureSlot, signatureVersion, () =>
        this.#commit({ namespace, owner, id, kind, links: [] }, write),
      );
      if (written !== undefined) return written;
    }
    throw refused('OVERLOADED', 'others write the same record again and again');
  }

  async list({ namespace, owner, kind, after, limit }: ListQuery): Promise<StoredRecord[]> {
    const actor = { role: 'gyre_rows', namespace, owner, isSnapshot: true } as const;
    const read = () =>
      this.#options.database.transact(actor, async (on) => {
        const rows = await on.rows(
          `SELECT * FROM (
             SELECT DISTINCT ON (record_id) * FROM gyre.entries
             WHERE namespace = $1 AND owner = $2 AND record_id > $3
             ORDER BY record_id, revision DESC
           ) AS latest WHERE NOT is_deleted AND ($4 = '' OR kind = $4)
           ORDER BY record_id LIMIT $5`,
          [namespace, owner, after ?? '', kind ?? '', limit],
        );
        const cells = await cellsOfAll(on, rows);
        return rows.map((row) => ({ entry: entryOf(row), cells: cellsAmong(cells, row) }));
      });
    const newest: StoredRecord[] = [];
    for (const record of await this.#openedTwice(read)) {
      // Older than the head: written meanwhile, or put back. Read by itself it is one or the other.
      const isHead = isNewest(record.entry, this.#options.heads.of(record.entry));
      const read = isHead ? record : await this.#current(record.entry);
      if (read?.entry.isDeleted === false) newest.push(read);
    }
    return newest;
  }

  /** A record with its columns. @throws Refused RECORD_TAMPERED */
  async #opened(found: Found): Promise<StoredRecord> {
    const entry = await this.#verified(found);
    const columns = await this.#options.columns.open(entry, found.cells);
    if (columns !== undefined) return { entry, columns };
    throw refused('RECORD_TAMPERED', 'a column of the record is not what was written');
  }

  /** Signed, and the newest of its record that is known. @throws Refused RECORD_TAMPERED */
  async #verified({ entry, head }: Omit<Found, 'cells'>): Promise<Entry> {
    const { heads, signatures } = this.#options;
    if (entry === undefined || !(await signatures.isGenuine(entry))) {
      throw refused('RECORD_TAMPERED', 'the record is not what was written');
    }
    if (!isNewest(entry, head)) {
      throw refused('RECORD_TAMPERED', 'the record is not what was written last');
    }
    if (head === undefined || entry.sequence > head.sequence) heads.note(entry);
    return entry;
  }

  /** What the last entry of a record leaves: also of one that is deleted. */
  async #current(key: RecordKey): Promise<StoredRecord | undefined> {
    const read = async (): Promise<Found[]> => {
      // Before the database is asked: what is known now it has to show.
      const head = this.#options.heads.of(key);
      return await this.#options.database.transact(readerOf(key), async (on) => {
        const row = await latestOf(on, key);
        if (row === undefined) return head === undefined ? [] : [{ entry: row, cells: [], head }];
        return [{ entry: entryOf(row), cells: await cellsOf(on, key), head }];
      });
    };
    return (await this.#openedTwice(read))[0];
  }

  /** @throws Refused RECORD_UNKNOWN, RECORD_TAMPERED */
  async #lastEntry(key: RecordKey): Promise<Entry> {
    const { database, heads } = this.#options;
    const head = heads.of(key);
    const row = await database.transact(readerOf(key), (on) => latestOf(on, key));
    if (row === undefined && head === undefined) throw unknown();
    return await this.#verified({ entry: row === undefined ? row : entryOf(row), head });
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

  /** Undefined where somebody else wrote this revision first. */
  async #append(input: RecordInput, revision: number): Promise<Entry | undefined> {
    const { columnKeys, columns, held, signatures } = this.#options;
    const cellVersion = columnKeys.primary();
    const signatureVersion = signatures.primary();
    return await held.while(columnSlot, cellVersion, () =>
      held.while(signatureSlot, signatureVersion, async () => {
        const secret = await columnKeys.open(cellVersion);
        const sealed = columns.seal(input, { version: cellVersion, key: secret.reveal() });
        const write = { revision, signatureVersion, sealed, isDeleted: false };
        return await this.#commit(input, write);
      }),
    );
  }

  async #commit(about: About, write: Write): Promise<Entry | undefined> {
    const { database, anchor, end, heads } = this.#options;
    const { namespace, owner } = about;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const made = await database.transact({ role: 'gyre_rows', namespace, owner }, (on) =>
        this.#write(on, about, write),
      );
      if (made === undefined) return undefined;
      if (made !== 'end-unknown') {
        anchor.note(made);
        heads.note(made);
        return made;
      }
      await end.verify();
    }
    throw refused('OVERLOADED', 'others write at the end of the chain again and again');
  }

  async #write(
    on: Statements,
    about: About,
    write: Write,
  ): Promise<Entry | 'end-unknown' | undefined> {
    const [row] = await on.rows('SELECT sequence, hash FROM gyre.chain WHERE one = 1 FOR UPDATE');
    const last = chainPlaceOf(row ?? {});
    if (!this.#options.end.isKnown(last)) return 'end-unknown';
    const latest = await latestOf(on, about);
    if ((latest === undefined ? 0 : numberOf(latest, 'revision')) !== write.revision - 1) {
      return undefined;
    }
    const made = this.#entryAfter(last, about, write);
    await insertEntry(on, made);
    await replaceCells(on, about, write.sealed);
    await on.rows('UPDATE gyre.chain SET sequence = $1, hash = $2 WHERE one = 1', [
      made.sequence,
      made.hash,
    ]);
    return made;
  }

  #entryAfter(
    last: ChainPlace,
    about: About,
    { revision, signatureVersion, sealed, isDeleted }: Write,
  ): Entry {
    const { crypto, clock, signatures } = this.#options;
    const content = {
      sequence: last.sequence + 1,
      previous: last.hash,
      ...placeOf(about),
      kind: about.kind,
      links: about.links,
      revision,
      isDeleted,
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

/** What an entry says of its record. */
type About = Pick<RecordInput, keyof RecordKey | 'kind' | 'links'>;

interface Write {
  readonly isDeleted: boolean;
  readonly revision: number;
  readonly signatureVersion: number;
  readonly sealed: SealedColumns;
}

export function refused(code: RecordCode | 'OVERLOADED', reason: string): Refused<RecordCode> {
  return new Refused<RecordCode>(code, reason, { retryable: code === 'OVERLOADED' });
}

function unknown(): Refused {
  return refused('RECORD_UNKNOWN', 'there is no such record');
}

function readerOf({ namespace, owner }: RecordKey) {
  return { role: 'gyre_rows', namespace, owner, isSnapshot: true } as const;
}

function says({ entry, columns }: StoredRecord, input: RecordInput): boolean {
  return (
    !entry.isDeleted &&
    entry.kind === input.kind &&
    JSON.stringify(entry.links) === JSON.stringify(input.links) &&
    columns.size === input.columns.size &&
    [...input.columns].every(([name, content]) => {
      const there = columns.get(name);
      return there !== undefined && equalConstantTime(there, content);
    })
  );
}
