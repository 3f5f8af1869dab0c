/**
 * A record's place in the chain. Every write of a record is an entry: what was written, its number in the
 * whole database, and the hash of the entry before it. The hash, SHA3-384 (FIPS 202), covers columns by
 * commitments to their plaintext, each blinded by 32 random bytes that lie inside the sealed cell: so a
 * column can be encrypted anew without the chain noticing, and a commitment tells nothing without
 * the column's key. Signatures are made over the hash and lie beside the chain, so they can be
 * replaced too.
 */

import {
  concat,
  fromHex,
  lengthPrefixed,
  samePublicBytes,
  toHex,
  uint64,
  utf8,
} from '#shared/crypto/bytes.ts';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Row } from './database.ts';

const namespaces: readonly Namespace[] = [
  'public',
  ...layerNumbers.map((layer) => `layer-${layer}` as const),
];

export const hashBytes = 48;
export const blindBytes = 32;

/** By whom records are written: everybody with a capability, or one of the other layers. */
export type Namespace = 'public' | `layer-${LayerNumber}`;

/** Which record it is. Of two namespaces or two owners nobody meets the other's by any name. */
export interface RecordKey {
  readonly namespace: Namespace;
  readonly owner: string;
  readonly id: string;
}

/** What an entry says. */
export interface EntryContent extends RecordKey {
  readonly sequence: number;
  readonly revision: number;
  /** From here on there is no such record; it has no columns and no links. */
  readonly isDeleted: boolean;
  readonly kind: string;
  /** Names of other records of the same owner in the same namespace, in the clear. */
  readonly links: readonly string[];
  /** Column to the hexadecimal commitment to its content. */
  readonly commitments: Readonly<Record<string, string>>;
  readonly writtenAtMs: number;
  readonly previous: Uint8Array;
}

export interface Entry extends EntryContent {
  readonly hash: Uint8Array;
  readonly signature: Uint8Array;
  readonly signatureVersion: number;
}

export function hashOf(crypto: CryptoProvider, entry: EntryContent): Uint8Array {
  const { sequence, revision, isDeleted, kind, links, commitments, writtenAtMs, previous } = entry;
  const names = Object.keys(commitments).toSorted();
  const columns = names.flatMap((name) => [utf8(name), utf8(commitments[name] ?? '')]);
  return crypto.sha3_384(
    lengthPrefixed(
      utf8('gyre/v1/record-entry'),
      uint64(sequence),
      previous,
      ...keyParts(entry),
      uint64(revision),
      utf8(isDeleted ? 'deleted' : 'written'),
      utf8(kind),
      uint64(writtenAtMs),
      lengthPrefixed(...links.map(utf8)),
      lengthPrefixed(...columns),
    ),
  );
}

/** A record's key in what is hashed and sealed. */
export function keyParts({ namespace, owner, id }: RecordKey): Uint8Array[] {
  return [namespace, owner, id].map(utf8);
}

/** The key alone, of what has more to it. */
export function placeOf({ namespace, owner, id }: RecordKey): RecordKey {
  return { namespace, owner, id };
}

export function isWhole(crypto: CryptoProvider, entry: Entry): boolean {
  return samePublicBytes(hashOf(crypto, entry), entry.hash);
}

/** `blinded`: the blind (32 bytes) and the column's content behind it. */
export function commitmentOf(
  crypto: CryptoProvider,
  place: RecordKey & { readonly name: string },
  blinded: Uint8Array,
): string {
  const head = lengthPrefixed(utf8('gyre/v1/column'), ...keyParts(place), utf8(place.name));
  return toHex(crypto.sha3_384(concat(head, blinded)));
}

/** Longest text of a row that was ever written. */
const textCharsMax = 16_384;

/** An entry as the database has it; undefined where a field is of no form that was ever written. */
export function entryOf(row: Row): Entry | undefined {
  const { is_deleted: isDeleted } = row;
  const entry = {
    ...keyOf(row),
    sequence: wholeIn(row, 'sequence'),
    revision: wholeIn(row, 'revision'),
    isDeleted: typeof isDeleted === 'boolean' ? isDeleted : undefined,
    kind: textIn(row, 'kind'),
    links: listOf(textIn(row, 'links')),
    commitments: commitmentsOf(textIn(row, 'commitments')),
    writtenAtMs: wholeIn(row, 'written_at_ms'),
    previous: bytesIn(row, 'previous'),
    hash: bytesIn(row, 'hash'),
    signature: bytesIn(row, 'signature'),
    signatureVersion: wholeIn(row, 'signature_version'),
  };
  return isEntry(entry) ? entry : undefined;
}

/** Which record an entry or a cell is of; undefined where it is in no namespace that there is. */
export function keyOf(row: Row): RecordKey | undefined {
  const name = textIn(row, 'namespace');
  const namespace = namespaces.find((known) => known === name);
  const owner = textIn(row, 'owner');
  const id = textIn(row, 'record_id');
  const isKey = namespace !== undefined && owner !== undefined && id !== undefined;
  return isKey ? { namespace, owner, id } : undefined;
}

function isEntry(entry: { [Name in keyof Entry]?: Entry[Name] | undefined }): entry is Entry {
  return entry.namespace !== undefined && Object.values(entry).every((each) => each !== undefined);
}

/** Undefined for what is no text of a row that was ever written, as are the two below. */
export function textIn(row: Row, name: string): string | undefined {
  const value = row[name];
  return typeof value === 'string' && value.length <= textCharsMax ? value : undefined;
}

/** Also of a bigint, which one driver gives as text. */
export function wholeIn(row: Row, name: string): number | undefined {
  const value = row[name];
  if (typeof value !== 'number' && typeof value !== 'string') return undefined;
  const whole = Number(value);
  return Number.isSafeInteger(whole) && whole >= 0 ? whole : undefined;
}

export function bytesIn(row: Row, name: string): Uint8Array | undefined {
  const value = row[name];
  return value instanceof Uint8Array ? value : undefined;
}

function listOf(text: string | undefined): string[] | undefined {
  const value = json(text);
  if (!Array.isArray(value)) return undefined;
  const links = value.filter((each): each is string => typeof each === 'string');
  return links.length === value.length && JSON.stringify(links) === text ? links : undefined;
}

/** Pairs, not an object: no name of a column is special in a list. */
function commitmentsOf(text: string | undefined): Record<string, string> | undefined {
  const value = json(text);
  if (!Array.isArray(value)) return undefined;
  const pairs: [string, string][] = [];
  for (const pair of value) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const [name, commitment]: unknown[] = pair;
    if (typeof name !== 'string' || typeof commitment !== 'string') return undefined;
    if (fromHex(commitment)?.length !== hashBytes) return undefined;
    pairs.push([name, commitment]);
  }
  return writtenCommitments(Object.fromEntries(pairs)) === text
    ? Object.fromEntries(pairs)
    : undefined;
}

export function writtenCommitments(commitments: Readonly<Record<string, string>>): string {
  const names = Object.keys(commitments).toSorted();
  return JSON.stringify(names.map((name) => [name, commitments[name]]));
}

function json(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
