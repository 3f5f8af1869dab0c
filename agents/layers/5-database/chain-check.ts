/**
 * The verification of the chain: every number there, every link, every hash, every signature, every
 * column of every record as it is now, and the end of the chain where it was last seen. It goes through the
 * database in pages, from any entry on, and reports what is wrong instead of stopping at the first.
 */

import { samePublicBytes, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { ChainAnchor } from './chain-anchor.ts';
import { bytesOf, numberOf, type Database, type Row } from './database.ts';
import { entryOf, hashBytes, isWhole } from './record-entry.ts';
import { cellsAmong, cellsOfAll } from './record-rows.ts';
import type { RecordSignatures } from './record-signatures.ts';
import type { Records } from './records.ts';

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
  /** A cell without an entry of its record. */
  'CELL_STRAY',
  /** The chain ends elsewhere than it says. */
  'END_CHANGED',
  /** The chain ends before, or elsewhere than, it was last seen to end. */
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
  readonly records: Records;
  readonly signatures: RecordSignatures;
  readonly anchor: ChainAnchor;
  readonly crypto: CryptoProvider;
}

export class ChainCheck {
  readonly #options: ChainCheckOptions;

  constructor(options: ChainCheckOptions) {
    this.#options = options;
  }

  /** Verifies the entries behind `after`, at most `limit`. @throws AdapterError, ServiceError */
  async page(after: ChainPlace, limit: number): Promise<ChainReport> {
    const report = await this.#page(after, limit);
    // A key may have been retired between reading and opening; what is really wrong is so again.
    return report.faults.length === 0 ? report : await this.#page(after, limit);
  }

  async #page(after: ChainPlace, limit: number): Promise<ChainReport> {
    const seen = this.#options.anchor.current;
    const { rows, cells, end, strays } = await this.#read(after, limit);
    const faults: ChainFault[] = [];
    const fault = (code: ChainFaultCode, sequence: number): void => {
      if (faults.length < faultsMax) faults.push({ code, sequence });
    };
    let last = after;
    for (const row of rows) {
      const code = await this.#faultOf(row, last, cells);
      const sequence = numberOf(row, 'sequence');
      if (code !== undefined) fault(code, sequence);
      last = { sequence, hash: bytesOf(row, 'hash') };
      if (seen?.sequence === sequence && seen.hash !== toHex(last.hash)) {
        fault('ROLLED_BACK', sequence);
      }
    }
    const isDone = rows.length < limit;
    if (isDone) {
      const isEnd = end?.sequence === last.sequence && samePublicBytes(end.hash, last.hash);
      if (!isEnd) fault('END_CHANGED', last.sequence);
      if (seen !== undefined && last.sequence < seen.sequence) fault('ROLLED_BACK', last.sequence);
      if (strays > 0) fault('CELL_STRAY', last.sequence);
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
         FROM gyre.entries AS entry WHERE sequence > $1 ORDER BY sequence LIMIT $2`,
        [after.sequence, limit],
      );
      const latest = rows.filter((row) => row['is_latest'] === true);
      const cells = await cellsOfAll(on, latest);
      const [end] = await on.rows('SELECT sequence, hash FROM gyre.chain WHERE one = 1');
      const [stray] = await on.rows(
        `SELECT count(*) AS strays FROM gyre.cells AS cell WHERE NOT EXISTS (
           SELECT FROM gyre.entries AS entry WHERE entry.namespace = cell.namespace
             AND entry.owner = cell.owner AND entry.record_id = cell.record_id)`,
      );
      return {
        rows,
        cells,
        end:
          end === undefined
            ? undefined
            : { sequence: numberOf(end, 'sequence'), hash: bytesOf(end, 'hash') },
        strays: stray === undefined ? 0 : numberOf(stray, 'strays'),
      };
    });
  }

  async #faultOf(
    row: Row,
    last: ChainPlace,
    cells: readonly Row[],
  ): Promise<ChainFaultCode | undefined> {
    const entry = entryOf(row);
    if (numberOf(row, 'sequence') !== last.sequence + 1) return 'SEQUENCE_BROKEN';
    if (!samePublicBytes(bytesOf(row, 'previous'), last.hash)) return 'LINK_BROKEN';
    if (entry === undefined || !isWhole(this.#options.crypto, entry)) return 'CONTENT_CHANGED';
    if (!(await this.#options.signatures.isGenuine(entry))) return 'SIGNATURE_INVALID';
    if (row['is_latest'] !== true) return undefined;
    const columns = await this.#options.records.columnsOf(entry, cellsAmong(cells, row));
    return columns === undefined ? 'COLUMN_CHANGED' : undefined;
  }
}
