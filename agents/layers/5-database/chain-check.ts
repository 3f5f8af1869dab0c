/**
 * The verification of the chain: every number there, every link, every hash, every signature, every
 * column of every record as it is now, the end of the chain where it was last seen, and whether every
 * cell is one of a record. It goes through the database in pages, first of entries and then of cells, each
 * in a transaction of its own, and reports what is wrong instead of stopping at the first.
 */

import { samePublicBytes, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Refused } from '../service/http-app.ts';
import type { ChainAnchor } from './chain-anchor.ts';
import {
  cellsBegin,
  chainBegin,
  chainPlaceOf,
  isSamePlace,
  type CellPlace,
  type ChainPlace,
} from './chain-place.ts';
import { textOf, truthOf, type Database, type Row } from './database.ts';
import { bytesIn, entryOf, isWhole, type Entry } from './record-entry.ts';
import type { RecordColumns } from './record-columns.ts';
import { isNewest, type RecordHeads } from './record-heads.ts';
import { cellsAmong, cellsOfAll } from './record-rows.ts';
import type { RecordSignatures } from './record-signatures.ts';

export const chainFaultCodes = [
  /** Entries are not there, or numbers are taken twice. */
  'SEQUENCE_BROKEN',
  /** The entry does not follow the one before it. */
  'LINK_BROKEN',
  /** What the entry says is not what was hashed. */
  'CONTENT_CHANGED',
  'SIGNATURE_INVALID',
  /** A column of the record is not what its last entry commits to. */
  'COLUMN_CHANGED',
  /** Layer 4's half of a column's key is destroyed: nobody can tell. */
  'COLUMN_UNREADABLE',
  /** A cell without an entry of its record, or an entry of no possible number; of no number itself. */
  'CELL_STRAY',
  /** The chain ends elsewhere than it says; of no number. */
  'END_CHANGED',
  /** The chain ends before, or elsewhere than, it was last seen to end; a record's newest entry is gone. */
  'ROLLED_BACK',
] as const;
export type ChainFaultCode = (typeof chainFaultCodes)[number];

export interface ChainFault {
  readonly code: ChainFaultCode;
  readonly sequence: number;
}

export interface ChainReport {
  readonly verified: number;
  /** Where the next page begins. */
  readonly last: ChainPlace;
  /** Whether nothing is left, neither of the entries nor of the cells. */
  readonly isDone: boolean;
  /** The first 64. */
  readonly faults: readonly ChainFault[];
  /** Of the page with the last entry: what is wrong with the end, whatever its number is. */
  readonly ends: readonly ChainFaultCode[];
  /** The first cell of the page that is of no record. */
  readonly stray: CellPlace | undefined;
}

const faultsMax = 64;
const keeper = { role: 'gyre_keeper', isSnapshot: true } as const;
/** Cells of one page: nothing of them is opened. */
const pageCells = 1_024;

export interface ChainCheckOptions {
  readonly database: Database;
  readonly columns: RecordColumns;
  readonly signatures: RecordSignatures;
  readonly anchor: ChainAnchor;
  readonly heads: RecordHeads;
  readonly crypto: CryptoProvider;
}

export class ChainCheck {
  readonly #options: ChainCheckOptions;

  constructor(options: ChainCheckOptions) {
    this.#options = options;
  }

  /**
   * Verifies the entries behind `after`, at most `limit`, and calls `holds` with each that is sound; behind
   * the last of them it goes through the cells.
   * @throws AdapterError, ServiceError
   */
  async page(
    after: ChainPlace,
    limit: number,
    holds: (entry: Entry) => void = () => undefined,
  ): Promise<ChainReport> {
    if (after.cell !== undefined) return await this.#cells(after, after.cell);
    const report = await this.#page(after, limit, holds);
    // A key may have been retired between reading and opening; what is really wrong is so again.
    return report.faults.length === 0 ? report : await this.#page(after, limit, holds);
  }

  /** What is wrong with the entry of this number. @throws as `page` */
  async at(sequence: number): Promise<readonly ChainFault[]> {
    const [before] = await this.#options.database.transact(keeper, (on) =>
      on.rows(
        `SELECT sequence, hash FROM gyre.entries WHERE sequence < $1 AND sequence > 0
         ORDER BY sequence DESC LIMIT 1`,
        [sequence],
      ),
    );
    const { faults } = await this.page(before === undefined ? chainBegin : chainPlaceOf(before), 2);
    return faults.filter((fault) => fault.sequence === sequence);
  }

  /** What is wrong with the end of the chain. @throws AdapterError */
  async end(): Promise<readonly ChainFaultCode[]> {
    const seen = this.#options.anchor.current;
    return await this.#options.database.transact(keeper, async (on) => {
      const [said] = await on.rows('SELECT sequence, hash FROM gyre.chain WHERE one = 1');
      const [row] = await on.rows(
        `SELECT sequence, hash FROM gyre.entries WHERE sequence <= $1
         ORDER BY sequence DESC LIMIT 1`,
        [Number.MAX_SAFE_INTEGER],
      );
      const [odd] = await on.rows(
        `SELECT EXISTS (SELECT FROM gyre.entries WHERE sequence < 1)
           OR EXISTS (SELECT FROM gyre.entries WHERE sequence > $1) AS odd`,
        [Number.MAX_SAFE_INTEGER],
      );
      const last = row === undefined ? chainBegin : chainPlaceOf(row);
      const faults: ChainFaultCode[] = [];
      if (said === undefined || !isSamePlace(chainPlaceOf(said), last)) faults.push('END_CHANGED');
      if (seen !== undefined && last.sequence < seen.sequence) faults.push('ROLLED_BACK');
      if (odd === undefined || truthOf(odd, 'odd')) faults.push('CELL_STRAY');
      return faults;
    });
  }

  /** Whether this cell is there, and of no record. @throws AdapterError */
  async isStray(cell: CellPlace): Promise<boolean> {
    const [row] = await this.#options.database.transact(keeper, (on) =>
      on.rows(
        `SELECT EXISTS (SELECT FROM gyre.cells
             WHERE namespace = $1 AND owner = $2 AND record_id = $3 AND name = $4)
           AND NOT EXISTS (SELECT FROM gyre.entries
             WHERE namespace = $1 AND owner = $2 AND record_id = $3) AS stray`,
        cell,
      ),
    );
    return row !== undefined && truthOf(row, 'stray');
  }

  async #page(
    after: ChainPlace,
    limit: number,
    holds: (entry: Entry) => void,
  ): Promise<ChainReport> {
    const seen = this.#options.anchor.current;
    const { rows, cells } = await this.#read(after, limit);
    const faults: ChainFault[] = [];
    const fault = (code: ChainFaultCode, sequence: number): void => {
      if (faults.length < faultsMax) faults.push({ code, sequence });
    };
    let last = after;
    for (const row of rows) {
      const entry = entryOf(row);
      const place = chainPlaceOf(row);
      const code =
        (await this.#faultOf({ row, entry, place, last }, cells)) ??
        this.#rollbackOf(row, entry, seen?.sequence ?? 0);
      if (code !== undefined) fault(code, place.sequence);
      else if (entry !== undefined) holds(entry);
      last = place;
      if (seen?.sequence === place.sequence && seen.hash !== toHex(place.hash)) {
        fault('ROLLED_BACK', place.sequence);
      }
    }
    const found = { verified: rows.length, faults, stray: undefined, isDone: false };
    if (rows.length === limit) return { ...found, last, ends: [] };
    return { ...found, last: { ...last, cell: cellsBegin }, ends: await this.end() };
  }

  /** One moment of the database. */
  async #read(after: ChainPlace, limit: number) {
    return await this.#options.database.transact(keeper, async (on) => {
      const rows = await on.rows(
        `SELECT entry.*, NOT EXISTS (
           SELECT FROM gyre.entries AS newer
           WHERE newer.namespace = entry.namespace AND newer.owner = entry.owner
             AND newer.record_id = entry.record_id AND newer.revision > entry.revision
         ) AS is_latest
         FROM gyre.entries AS entry WHERE sequence > $1 AND sequence <= $3 ORDER BY sequence LIMIT $2`,
        [after.sequence, limit, Number.MAX_SAFE_INTEGER],
      );
      const latest = rows.filter((row) => row['is_latest'] === true);
      return { rows, cells: await cellsOfAll(on, latest) };
    });
  }

  /** For each cell one look for an entry: never through all of them at once. */
  async #cells(after: ChainPlace, from: CellPlace): Promise<ChainReport> {
    const rows = await this.#options.database.transact(keeper, (on) =>
      on.rows(
        `WITH page AS MATERIALIZED (
           SELECT namespace, owner, record_id, name FROM gyre.cells
           WHERE (namespace, owner, record_id, name) > ($1, $2, $3, $4)
           ORDER BY namespace, owner, record_id, name LIMIT $5
         )
         SELECT page.*, entry.found IS NULL AS stray FROM page LEFT JOIN LATERAL (
           SELECT true AS found FROM gyre.entries AS entry WHERE entry.namespace = page.namespace
             AND entry.owner = page.owner AND entry.record_id = page.record_id LIMIT 1
         ) AS entry ON true ORDER BY namespace, owner, record_id, name`,
        [...from, pageCells],
      ),
    );
    const stray = rows.find((row) => truthOf(row, 'stray'));
    const last = rows.at(-1);
    return {
      verified: 0,
      last: last === undefined ? after : { ...after, cell: cellOf(last) },
      isDone: rows.length < pageCells,
      faults: [],
      ends: [],
      stray: stray === undefined ? undefined : cellOf(stray),
    };
  }

  async #faultOf(
    read: {
      readonly row: Row;
      readonly entry: Entry | undefined;
      readonly place: ChainPlace;
      readonly last: ChainPlace;
    },
    cells: readonly Row[],
  ): Promise<ChainFaultCode | undefined> {
    const { row, entry, place, last } = read;
    if (place.sequence !== last.sequence + 1) return 'SEQUENCE_BROKEN';
    const previous = bytesIn(row, 'previous');
    if (previous === undefined || !samePublicBytes(previous, last.hash)) return 'LINK_BROKEN';
    if (entry === undefined || !isWhole(this.#options.crypto, entry)) return 'CONTENT_CHANGED';
    if (!(await this.#options.signatures.isGenuine(entry))) return 'SIGNATURE_INVALID';
    return row['is_latest'] === true
      ? await this.#columnFault(entry, cellsAmong(cells, row))
      : undefined;
  }

  async #columnFault(entry: Entry, cells: readonly Row[]): Promise<ChainFaultCode | undefined> {
    try {
      const columns = await this.#options.columns.open(entry, cells);
      return columns === undefined ? 'COLUMN_CHANGED' : undefined;
    } catch (error) {
      if (error instanceof Refused && error.code === 'COLUMN_KEY_LOST') return 'COLUMN_UNREADABLE';
      throw error;
    }
  }

  /** Of a record whose newest entry was seen here, and before this page was read. */
  #rollbackOf(row: Row, entry: Entry | undefined, seen: number): ChainFaultCode | undefined {
    if (entry === undefined || row['is_latest'] !== true) return undefined;
    const head = this.#options.heads.of(entry);
    const isKnown = head !== undefined && head.sequence <= seen;
    return isKnown && !isNewest(entry, head) ? 'ROLLED_BACK' : undefined;
  }
}

function cellOf(row: Row): CellPlace {
  const of = (name: string): string => textOf(row, name);
  return [of('namespace'), of('owner'), of('record_id'), of('name')];
}
