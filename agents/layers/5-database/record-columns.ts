/**
 * The columns of a record: sealed one by one when it is written, with commitments to what is in them, and
 * opened against those commitments when it is read.
 */

import { concat } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { openCell, sealCell } from './cells.ts';
import { columnSlot, type ColumnKeys } from './column-keys.ts';
import type { Row } from './database.ts';
import {
  blindBytes,
  bytesIn,
  commitmentOf,
  placeOf,
  textIn,
  wholeIn,
  type Entry,
  type RecordKey,
} from './record-entry.ts';
import type { SealedCell } from './record-rows.ts';

export type Columns = ReadonlyMap<string, Uint8Array>;

export interface SealedInput extends RecordKey {
  readonly columns: Columns;
}

export interface SealedColumns {
  /** Of the column key. */
  readonly version: number;
  readonly cells: readonly SealedCell[];
  readonly commitments: Readonly<Record<string, string>>;
}

export interface RecordColumnsOptions {
  readonly keys: EmbeddedAdapter;
  readonly columnKeys: ColumnKeys;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

export class RecordColumns {
  readonly #options: RecordColumnsOptions;

  constructor(options: RecordColumnsOptions) {
    this.#options = options;
  }

  /** Under a version of the column key, each content behind a blind of its own. */
  seal(input: SealedInput, { version, key }: { version: number; key: Uint8Array }): SealedColumns {
    const { crypto, clock, keys } = this.#options;
    const place = placeOf(input);
    const cells: SealedCell[] = [];
    const commitments: Record<string, string> = {};
    for (const [name, content] of input.columns) {
      const beganMs = clock.monotonicMs();
      const blinded = concat(crypto.randomBytes(blindBytes), content);
      commitments[name] = commitmentOf(crypto, { ...place, name }, blinded);
      const bytes = sealCell(crypto, key, { ...place, name, version }, blinded);
      cells.push({ name, sealed: bytes });
      const durationMs = clock.monotonicMs() - beganMs;
      const use = { slot: columnSlot, version, operation: 'encrypt', durationMs };
      keys.usage.record({ ...use, failed: false });
    }
    return { version, cells, commitments };
  }

  /** What the cells hold; undefined where that is not what the entry commits to. */
  async open(entry: Entry, cells: readonly Row[]): Promise<Columns | undefined> {
    const names = Object.keys(entry.commitments).toSorted();
    const byName = new Map(cells.map((cell) => [textIn(cell, 'name'), cell]));
    if (names.length !== cells.length) return undefined;
    const columns = new Map<string, Uint8Array>();
    for (const name of names) {
      const cell = byName.get(name);
      if (cell === undefined) return undefined;
      const blinded = await this.#blinded(entry, name, cell);
      if (blinded === undefined) return undefined;
      const commitment = commitmentOf(this.#options.crypto, { ...placeOf(entry), name }, blinded);
      if (commitment !== entry.commitments[name]) return undefined;
      columns.set(name, blinded.slice(blindBytes));
    }
    return columns;
  }

  async #blinded(entry: Entry, name: string, cell: Row): Promise<Uint8Array | undefined> {
    const { columnKeys, crypto, clock, keys } = this.#options;
    const version = wholeIn(cell, 'key_version');
    const sealed = bytesIn(cell, 'sealed');
    // Nothing that was ever written is under a key that is gone.
    if (version === undefined || !columnKeys.has(version)) return undefined;
    if (sealed === undefined) return undefined;
    const secret = await columnKeys.open(version);
    if (secret.wiped) return undefined;
    const place = { ...placeOf(entry), name, version };
    const beganMs = clock.monotonicMs();
    const blinded = openCell(crypto, secret.reveal(), place, sealed);
    const durationMs = clock.monotonicMs() - beganMs;
    const use = { slot: columnSlot, version, operation: 'decrypt', durationMs };
    if (blinded !== undefined) keys.usage.record({ ...use, failed: false });
    return blinded;
  }
}
