/**
 * The end of the chain, before anything is signed onto it. What the database calls the end is believed where
 * this service wrote it, or verified it. What lies beyond that (written by a commit whose answer was lost, or
 * within the last moments before a crash) is verified first, entry by entry: numbers, links, content and
 * signatures, and that there is nothing behind it. So nobody who can change the database has anything
 * signed onto what he made up, and the anchor never goes where no entry is.
 */

import { fromHex, samePublicBytes } from '#shared/crypto/bytes.ts';
import { Refused } from '../service/http-app.ts';
import type { ChainAnchor } from './chain-anchor.ts';
import { chainBegin, chainPlaceOf, isSamePlace, type ChainPlace } from './chain-place.ts';
import type { Database, Row } from './database.ts';
import { entryOf, type Entry } from './record-entry.ts';
import type { RecordSignatures } from './record-signatures.ts';

export type ChainEndCode = 'CHAIN_ROLLED_BACK' | 'CHAIN_BROKEN' | 'OVERLOADED';

/** Of one reading; and as many readings for one write, which is then worth another try. */
const pageEntries = 64;
const pagesMax = 16;
const keeper = { role: 'gyre_keeper', isSnapshot: true } as const;

export interface ChainEndOptions {
  readonly database: Pick<Database, 'transact'>;
  readonly signatures: Pick<RecordSignatures, 'isGenuine'>;
  readonly anchor: ChainAnchor;
}

interface Read {
  /** What the database says. */
  readonly end: ChainPlace | undefined;
  readonly last: Row | undefined;
  /** Behind what is known. */
  readonly rows: readonly Row[];
}

export class ChainEnd {
  readonly #options: ChainEndOptions;
  #verifying: Promise<void> | undefined;

  constructor(options: ChainEndOptions) {
    this.#options = options;
  }

  /**
   * Whether an entry may be signed onto this one; otherwise `verify` has to come first.
   * @throws Refused CHAIN_ROLLED_BACK
   */
  isKnown(end: ChainPlace): boolean {
    const { anchor } = this.#options;
    if (!anchor.allows(end)) {
      throw refused('CHAIN_ROLLED_BACK', 'the database ends before what was committed');
    }
    return anchor.current?.sequence === end.sequence;
  }

  /** Makes the end known. @throws Refused CHAIN_BROKEN, OVERLOADED; AdapterError */
  async verify(): Promise<void> {
    this.#verifying ??= this.#verify().finally(() => {
      this.#verifying = undefined;
    });
    await this.#verifying;
  }

  async #verify(): Promise<void> {
    let isSecond = false;
    for (let page = 0; page < pagesMax; page += 1) {
      const outcome = await this.#page();
      if (outcome === 'known') return;
      // A key may have been retired between reading and verifying: what is really wrong is so again.
      if (outcome === 'broken' && isSecond) {
        throw refused('CHAIN_BROKEN', 'the end of the chain is not what was written');
      }
      isSecond = outcome === 'broken';
    }
    throw refused('OVERLOADED', 'the end of the chain is still being verified');
  }

  async #page(): Promise<'known' | 'more' | 'broken'> {
    const { anchor } = this.#options;
    const kept = anchor.current;
    const seen = kept === undefined ? undefined : placeOf(kept);
    const { end, last, rows } = await this.#read(seen?.sequence ?? Number.MAX_SAFE_INTEGER);
    const isLast = end !== undefined && isSamePlace(end, chainPlaceOr(last));
    if (!isLast) return 'broken';
    if (seen === undefined) return await this.#begin(end, last);
    // Whether it is the same, or before it, is for the write to say.
    if (end.sequence <= seen.sequence) return 'known';
    let at = seen;
    for (const row of rows) {
      const entry = await this.#genuine(row);
      const follows =
        entry?.sequence === at.sequence + 1 && samePublicBytes(entry.previous, at.hash);
      if (entry === undefined || !follows) return 'broken';
      anchor.note(entry);
      at = entry;
    }
    return isSamePlace(at, end) ? 'known' : 'more';
  }

  /** Nothing is known here: what is there is taken for the chain, if its end is an entry of this service. */
  async #begin(end: ChainPlace, last: Row | undefined): Promise<'known' | 'broken'> {
    if (last !== undefined && (await this.#genuine(last)) === undefined) return 'broken';
    this.#options.anchor.note(end);
    return 'known';
  }

  async #genuine(row: Row): Promise<Entry | undefined> {
    const entry = entryOf(row);
    return entry !== undefined && (await this.#options.signatures.isGenuine(entry))
      ? entry
      : undefined;
  }

  /** One moment of the database. */
  async #read(after: number): Promise<Read> {
    return await this.#options.database.transact(keeper, async (on) => {
      const [end] = await on.rows('SELECT sequence, hash FROM gyre.chain WHERE one = 1');
      const [last] = await on.rows('SELECT * FROM gyre.entries ORDER BY sequence DESC LIMIT 1');
      const rows = await on.rows(
        'SELECT * FROM gyre.entries WHERE sequence > $1 ORDER BY sequence LIMIT $2',
        [after, pageEntries],
      );
      return { end: end === undefined ? undefined : chainPlaceOf(end), last, rows };
    });
  }
}

function chainPlaceOr(last: Row | undefined): ChainPlace {
  return last === undefined ? chainBegin : chainPlaceOf(last);
}

function placeOf(kept: { readonly sequence: number; readonly hash: string }): ChainPlace {
  return { sequence: kept.sequence, hash: fromHex(kept.hash) ?? new Uint8Array() };
}

function refused(code: ChainEndCode, reason: string): Refused<ChainEndCode> {
  return new Refused<ChainEndCode>(code, reason, { retryable: code === 'OVERLOADED' });
}
