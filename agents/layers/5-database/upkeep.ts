/**
 * What turning the keys of layer 5 means for what is there: entries are signed anew, cells are encrypted
 * anew, in bounded batches, each of them one transaction, so that a crash leaves every row under
 * one key or the other. Nothing is signed anew that its old signature does not hold for, and nothing
 * encrypted anew that does not open: what somebody changed stays as it is, under its old key, and is
 * counted.
 */

import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Secret } from '#shared/crypto/secret.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { Refused } from '../service/http-app.ts';
import type { BatchOutcome } from '../service/background-work.ts';
import { openCell, sealCell } from './cells.ts';
import { columnSlot, type ColumnKeys } from './column-keys.ts';
import { bytesOf, numberOf, textOf, type Database, type Row, type Statements } from './database.ts';
import type { HeldVersions } from './held-versions.ts';
import { entryOf, keyOf, type Entry } from './record-entry.ts';
import { signatureSlot, type RecordSignatures } from './record-signatures.ts';

/** Rows of one batch. */
export const batchRows = 32;
const keeper = { role: 'gyre_keeper' } as const;

/** What is counted at the most: whatever the tables have, counting ends in time. */
export const countMax = 10_000;
const countOf = {
  [signatureSlot]: `SELECT count(*) AS n FROM (
    SELECT FROM gyre.entries WHERE signature_version = ANY($1) LIMIT $2) AS counted`,
  [columnSlot]: `SELECT count(*) AS n FROM (
    SELECT FROM gyre.cells WHERE key_version = ANY($1) LIMIT $2) AS counted`,
} as const;
export type UpkeepSlot = keyof typeof countOf;

/** Namespace, owner, record and column. */
type CellsFrom = readonly [string, string, string, string];
const cellsBegin: CellsFrom = ['', '', '', ''];

export interface UpkeepOptions {
  readonly database: Database;
  readonly keys: EmbeddedAdapter;
  readonly columnKeys: ColumnKeys;
  readonly signatures: RecordSignatures;
  readonly held: HeldVersions;
  readonly crypto: CryptoProvider;
}

/** All of it fails with AdapterError, ServiceError or Refused, and is then done again. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  /** Of the last look, for telemetry. */
  readonly progress = { toResign: 0, toRekey: 0, tampered: 0 };
  #entriesFrom = 0;
  #cellsFrom: CellsFrom = cellsBegin;
  #tamperedEntries = 0;
  #tamperedCells = 0;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Rows that still need one of these versions, committed ones; `countMax` where there are more. */
  async users(slot: UpkeepSlot, versions: readonly number[]): Promise<number> {
    const [row] = await this.#options.database.transact(keeper, (on) =>
      on.rows(countOf[slot], [versions, countMax]),
    );
    return row === undefined ? 0 : numberOf(row, 'n');
  }

  /** Counts what is there to do: not at every batch. */
  async #look(slot: UpkeepSlot): Promise<void> {
    const name = slot === signatureSlot ? 'toResign' : 'toRekey';
    this.progress[name] = await this.users(slot, this.#old(slot));
  }

  /** Begins again with what was passed over. */
  async resignBatch(): Promise<BatchOutcome> {
    const { database, held, keys, signatures } = this.#options;
    const old = this.#old(signatureSlot);
    if (keys.store.slot(signatureSlot).frozen || old.length === 0) return 'idle';
    const version = signatures.primary();
    const isFirst = this.#entriesFrom === 0;
    return await held.while(signatureSlot, version, async () => {
      const rows = await database.transact(keeper, (on) =>
        on.rows(
          `SELECT * FROM gyre.entries WHERE signature_version = ANY($1) AND sequence > $2
             ORDER BY sequence LIMIT $3`,
          [old, this.#entriesFrom, batchRows],
        ),
      );
      const genuine = await this.#genuine(rows);
      const signed = genuine.map((entry) => ({
        entry,
        signature: signatures.sign(version, entry.hash),
      }));
      await database.transact(keeper, async (on) => {
        for (const { entry, signature } of signed) {
          await replaceSignature(on, entry, { signature, version });
        }
      });
      this.#tamperedEntries += rows.length - signed.length;
      this.#entriesFrom = rows.length < batchRows ? 0 : numberOf(rows.at(-1) ?? {}, 'sequence');
      const done = signed.length;
      return await this.#outcome(signatureSlot, { rows: rows.length, done, isFirst });
    });
  }

  async rekeyBatch(): Promise<BatchOutcome> {
    const { database, held, keys, columnKeys } = this.#options;
    const old = this.#old(columnSlot);
    if (keys.store.slot(columnSlot).frozen || old.length === 0) return 'idle';
    const version = columnKeys.primary();
    const isFirst = this.#cellsFrom === cellsBegin;
    return await held.while(columnSlot, version, async () => {
      const rows = await database.transact(keeper, (on) =>
        on.rows(
          `SELECT * FROM gyre.cells
             WHERE key_version = ANY($1) AND (namespace, owner, record_id, name) > ($2, $3, $4, $5)
             ORDER BY namespace, owner, record_id, name LIMIT $6`,
          [old, ...this.#cellsFrom, batchRows],
        ),
      );
      const sealed: { row: Row; bytes: Uint8Array }[] = [];
      for (const row of rows) {
        const bytes = await this.#sealedAnew(row, version);
        if (bytes !== undefined) sealed.push({ row, bytes });
      }
      await database.transact(keeper, async (on) => {
        for (const { row, bytes } of sealed) await replaceCell(on, row, { bytes, version });
      });
      this.#tamperedCells += rows.length - sealed.length;
      const last = rows.at(-1);
      this.#cellsFrom =
        last === undefined || rows.length < batchRows ? cellsBegin : cellValues(last);
      const done = sealed.length;
      return await this.#outcome(columnSlot, { rows: rows.length, done, isFirst });
    });
  }

  #old(slot: UpkeepSlot): number[] {
    return this.#options.keys.store
      .versions(slot)
      .filter(({ state }) => state === 'accepted' || state === 'withdrawn')
      .map(({ version }) => version);
  }

  /** What is left after a batch; at both ends of a pass it is counted, then known what cannot be done. */
  async #outcome(
    slot: UpkeepSlot,
    batch: { readonly rows: number; readonly done: number; readonly isFirst: boolean },
  ): Promise<BatchOutcome> {
    const name = slot === signatureSlot ? 'toResign' : 'toRekey';
    if (batch.rows === batchRows) {
      this.progress[name] = Math.max(0, this.progress[name] - batch.done);
      // There were more than are counted at once, or nothing was counted yet.
      if (batch.isFirst || this.progress[name] === 0) await this.#look(slot);
      return 'more';
    }
    await this.#look(slot);
    this.progress.tampered = this.#tamperedEntries + this.#tamperedCells;
    if (slot === signatureSlot) this.#tamperedEntries = 0;
    else this.#tamperedCells = 0;
    return 'idle';
  }

  async #genuine(rows: readonly Row[]): Promise<Entry[]> {
    const genuine: Entry[] = [];
    for (const entry of rows.map(entryOf)) {
      const isGenuine = entry !== undefined && (await this.#options.signatures.isGenuine(entry));
      if (isGenuine) genuine.push(entry);
    }
    return genuine;
  }

  /** Undefined where layer 4's half is destroyed: what is under it stays, and holds up no other. */
  async #oldKey(version: number): Promise<Secret | undefined> {
    try {
      return await this.#options.columnKeys.open(version);
    } catch (error) {
      if (error instanceof Refused && error.code === 'COLUMN_KEY_LOST') return undefined;
      throw error;
    }
  }

  async #sealedAnew(row: Row, version: number): Promise<Uint8Array | undefined> {
    const { columnKeys, crypto } = this.#options;
    const key = keyOf(row);
    if (key === undefined) return undefined;
    const place = { ...key, name: textOf(row, 'name') };
    const oldVersion = numberOf(row, 'key_version');
    const old = await this.#oldKey(oldVersion);
    if (old === undefined) return undefined;
    const from = old.reveal();
    const sealed = bytesOf(row, 'sealed');
    const blinded = openCell(crypto, from, { ...place, version: oldVersion }, sealed);
    if (blinded === undefined) return undefined;
    const to = (await columnKeys.open(version)).reveal();
    try {
      return sealCell(crypto, to, { ...place, version }, blinded);
    } finally {
      blinded.fill(0);
    }
  }
}

/** Only where the entry is still the one that was verified. */
async function replaceSignature(
  on: Statements,
  entry: Entry,
  { signature, version }: { readonly signature: Uint8Array; readonly version: number },
): Promise<void> {
  await on.rows(
    `UPDATE gyre.entries SET signature = $1, signature_version = $2
       WHERE sequence = $3 AND hash = $4 AND signature_version = $5`,
    [signature, version, entry.sequence, entry.hash, entry.signatureVersion],
  );
}

/** Only where the cell is still the one that was opened: the record may have been written meanwhile. */
async function replaceCell(
  on: Statements,
  row: Row,
  { bytes, version }: { readonly bytes: Uint8Array; readonly version: number },
): Promise<void> {
  await on.rows(
    `UPDATE gyre.cells SET sealed = $1, key_version = $2
       WHERE namespace = $3 AND owner = $4 AND record_id = $5 AND name = $6 AND sealed = $7`,
    [bytes, version, ...cellValues(row), bytesOf(row, 'sealed')],
  );
}

function cellValues(row: Row): CellsFrom {
  const of = (name: string): string => textOf(row, name);
  return [of('namespace'), of('owner'), of('record_id'), of('name')];
}
