/** Places in the chain: an entry that others follow, and where a walk through all of it has come to. */

import { samePublicBytes } from '#shared/crypto/bytes.ts';
import type { Row } from './database.ts';
import { bytesIn, hashBytes, wholeIn } from './record-entry.ts';

/** Namespace, owner, record and column. */
export type CellPlace = readonly [string, string, string, string];
export const cellsBegin: CellPlace = ['', '', '', ''];

export interface ChainPlace {
  readonly sequence: number;
  /** 48 bytes. */
  readonly hash: Uint8Array;
  /** Once all entries are behind it: the last cell that was looked at. */
  readonly cell?: CellPlace;
}

export const chainBegin: ChainPlace = { sequence: 0, hash: new Uint8Array(hashBytes) };

/** A number or a hash of no form that was ever written is that of no entry. */
export function chainPlaceOf(row: Row): ChainPlace {
  const hash = bytesIn(row, 'hash');
  return {
    sequence: wholeIn(row, 'sequence') ?? 0,
    hash: hash?.length === hashBytes ? hash : new Uint8Array(),
  };
}

export function isSamePlace(one: ChainPlace, other: ChainPlace): boolean {
  return one.sequence === other.sequence && samePublicBytes(one.hash, other.hash);
}
