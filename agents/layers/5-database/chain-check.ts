/**
 * The verification of the chain: every number there, every link, every hash, every signature, every
 * column of every record as it is now, and the end of the chain where it was last seen. It goes through the
 * database in pages, from any entry on, and reports what is wrong instead of stopping at the first.
 */

import { samePublicBytes, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Refused } from '../service/http-app.ts';
import type { ChainAnchor } from './chain-anchor.ts';
import type { Database, Row, Statements } from './database.ts';
import { bytesIn, entryOf, hashBytes, isWhole, wholeIn, type Entry } from './record-entry.ts';
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
  /** A cell without an entry of its record, or an entry of no possible number. */
  'CELL_STRAY',
  /** The chain ends elsewhere than it says. */
  'END_CHANGED',
  /** The chain ends before, or elsewhere than, it was last seen to end; a record's newest entry is gone. */
  'ROLLED_BACK',
] as const;
export type ChainFaultCode = (typeof chainFaultCodes)[number];

export interface ChainFault {
  readonly code: ChainFaultCode;
  readonly sequence: number;
}

export interface ChainPlace {
  readonly sequence: number;
  /** 48 bytes. */
  readonly hash: Uint8Array;
}

export interface ChainReport {
  readonly verified: number;
  /** Where the next page begins. */
  readonly last: ChainPlace;
  /** Whether this page reached the end. */
  readonly isDone: boolean;
  /** The first 64. */
  readonly faults: readonly ChainFault[];
}

const faultsMax = 64;
const keeper = { role: 'gyre_keeper', isSnapshot: true } as const;
export const chainBegin: ChainPlace = { sequence: 0, hash: new Uint8Array(hashBytes) };

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
   * Verifies the entries behind `after`, at most `limit`, and calls `holds` with each that is sound.
   * @throws AdapterError, ServiceError
   */
  async page(
    after: ChainPlace,
    limit: number,
    holds: (entry: Entry) => void = () => undefined,
  ): Promise<ChainReport> {
    const report = await this.#page(after, limit, holds);
    // A key may have been retired between reading and opening; what is really wrong is so again.
    return report.faults.length === 0 ? report : await this.#page(after, limit, holds);
  }

  /** What is wrong with the entry of this number, or at the end behind it. @throws as `page` */
  async at(sequence: number): Promise<readonly ChainFault[]> {
    const [before] = await this.#options.database.transact(keeper, (on) =>
      on.rows(
        `SELECT sequence, hash FROM gyre.entries WHERE sequence < $1 AND sequence > 0
         ORDER BY sequence DESC LIMIT 1`,
        [sequence],
      ),
    );
    const { faults } = await this.page(before === undefined ? chainBegin : placeOf(before), 2);
    return faults.filter((fault) => fault.sequence === sequence);
  }

  async #page(
    after: ChainPlace,
    limit: number,
    holds: (entry: Entry) => void,
  ): Promise<ChainReport> {
    const seen = this.#options.anchor.current;
    const { rows, cells, end, hasStrays } = await this.#read(after, limit);
    const faults: ChainFault[] = [];
    const fault = (code: ChainFaultCode, sequence: number): void => {
      if (faults.length < faultsMax) faults.push({ code, sequence });
    };
    let last = after;
    for (const row of rows) {
      const entry = entryOf(row);
      const place = placeOf(row);
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
    const isDone = rows.length < limit;
    if (isDone) {
      const isEnd = end?.sequence === last.sequence && samePublicBytes(end.hash, last.hash);
      if (!isEnd) fault('END_CHANGED', last.sequence);
      if (seen !== undefined && last.sequence < seen.sequence) fault('ROLLED_BACK', last.sequence);
      if (hasStrays) fault('CELL_STRAY', last.sequence);
    }
    return { verified: rows.length, last, isDone, faults };
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
      const cells = await cellsOfAll(on, latest);
      const [end] = await on.rows('SELECT sequence, hash FROM gyre.chain WHERE one = 1');
      // Once in a pass: it goes through all cells.
      const hasStrays = rows.length < limit && (await strayIn(on));
      return { rows, cells, end: end === undefined ? undefined : placeOf(end), hasStrays };
    });
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

/** A number or a hash of no form that was ever written is that of no entry. */
function placeOf(row: Row): ChainPlace {
  const hash = bytesIn(row, 'hash');
  return {
    sequence: wholeIn(row, 'sequence') ?? 0,
    hash: hash?.length === hashBytes ? hash : new Uint8Array(),
  };
}

async function strayIn(on: Statements): Promise<boolean> {
  const [row] = await on.rows(
    `SELECT EXISTS (
       SELECT FROM gyre.cells AS cell WHERE NOT EXISTS (
         SELECT FROM gyre.entries AS entry WHERE entry.namespace = cell.namespace
           AND entry.owner = cell.owner AND entry.record_id = cell.record_id)
     ) OR EXISTS (SELECT FROM gyre.entries WHERE sequence < 1 OR sequence > $1) AS strays`,
    [Number.MAX_SAFE_INTEGER],
  );
  return row?.['strays'] === true;
}
