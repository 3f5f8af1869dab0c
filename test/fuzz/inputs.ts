/**
 * What is thrown at decoders: canonical values, JSON of any shape, and valid bytes with something done
 * to them. Mutations know MessagePack enough to change lengths, swap parts, and write maps that no
 * encoder would: keys twice, keys out of order, containers without end.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { concat } from '#shared/crypto/bytes.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import type { CaseKind } from '../testkit/case.ts';

export interface FrameCase {
  readonly name: string;
  readonly kind: CaseKind;
  readonly bytes: Uint8Array;
}

const folder = join(import.meta.dirname, '../testkit/cases');

/** Every case of the testkit that is a file of bytes, valid or not. */
export const frameCases: readonly FrameCase[] = readdirSync(folder).flatMap((name) => {
  const content = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
    name: string;
    kind: CaseKind;
    bytes?: string;
  };
  if (content.bytes === undefined) return [];
  const bytes = new Uint8Array(Buffer.from(content.bytes, 'base64'));
  return [{ name: content.name, kind: content.kind, bytes }];
});

/** Lengths that no buffer here has: 255 to 4 GiB - 1, as `bin`, `str`, array, map. */
export const hugeHeads: readonly Uint8Array[] = [
  [0xc4, 0xff],
  [0xc5, 0xff, 0xff],
  [0xc6, 0xff, 0xff, 0xff, 0xff],
  [0xc6, 0x7f, 0xff, 0xff, 0xff],
  [0xc6, 0x01, 0xff, 0xff, 0xff],
  [0xdb, 0xff, 0xff, 0xff, 0xff],
  [0xdc, 0xff, 0xff],
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0xdd, 0x01, 0xff, 0xff, 0xff],
  [0xde, 0xff, 0xff],
  [0xdf, 0xff, 0xff, 0xff, 0xff],
  [0xdf, 0x01, 0xff, 0xff, 0xff],
].map((head) => Uint8Array.from(head));

const text = fc
  .string({ unit: 'grapheme', maxLength: 40 })
  .filter((made) => !made.startsWith('\ufeff'));
const key = fc
  .string({ unit: 'grapheme', maxLength: 12 })
  .filter(
    (made) =>
      !made.startsWith('\ufeff') && !['__proto__', 'constructor', 'prototype'].includes(made),
  );

/** Whatever has a canonical encoding. */
export const canonicalValue: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false, 0, 1, -1, -33, 127, 128, 255, 256, 65_536, 2 ** 32),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((made) => !Number.isInteger(made)),
    text,
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 18 }),
    fc.dictionary(key, tie('value'), { maxKeys: 18 }),
  ),
})).value;

/** What a peer can put where a value of a schema is read. */
export const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  canonicalValue,
  fc.jsonValue({ maxDepth: 6 }),
  fc.anything({ withBigInt: true, withTypedArray: true, withNullPrototype: true, maxDepth: 3 }),
);

/** JSON text, or something like it. */
export const jsonText: fc.Arbitrary<string> = fc.oneof(
  fc.json({ maxDepth: 5 }),
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.tuple(fc.json({ maxDepth: 3 }), fc.nat()).map(([made, at]) => made.slice(0, at % made.length)),
  fc.integer({ min: 1, max: 20_000 }).map((depth) => '['.repeat(depth)),
  fc.integer({ min: 1, max: 20_000 }).map((depth) => `${'['.repeat(depth)}${']'.repeat(depth)}`),
  fc
    .integer({ min: 1, max: 5_000 })
    .map((depth) => `${'{"body":'.repeat(depth)}1${'}'.repeat(depth)}`),
);

export const anyBytes: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 16 }),
  fc.uint8Array({ maxLength: 2_000 }),
  fc.tuple(fc.constantFrom(...hugeHeads), fc.uint8Array({ maxLength: 40 })).map(joined),
  fc
    .tuple(fc.constantFrom(0x81, 0x91, 0xc6, 0xdd), fc.integer({ min: 1, max: 60_000 }))
    .map(([byte, length]) => new Uint8Array(length).fill(byte)),
  fc.integer({ min: 1, max: 60 }).map(deepMap),
  canonicalValue.map((made) => encodeCanonical(made, { floats: true })),
);

/** Bytes of one of `valid`, changed by one to three mutations. */
export function mutated(valid: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const one = fc.constantFrom(...valid);
  return fc
    .tuple(one, fc.array(fc.tuple(fc.nat(kinds.length - 1), fc.nat(), fc.nat(), one), lengths))
    .map(([base, steps]) =>
      steps.reduce((bytes, [kind, at, amount, other]) => {
        const change = kinds[kind];
        return change === undefined ? bytes : change(bytes, { at, amount, other });
      }, base),
    );
}

const lengths = { minLength: 1, maxLength: 3 };

interface Step {
  readonly at: number;
  readonly amount: number;
  readonly other: Uint8Array;
}

const kinds: readonly ((bytes: Uint8Array, step: Step) => Uint8Array)[] = [
  /** One bit. */
  (bytes, { at, amount }) => changed(bytes, at, (byte) => byte ^ (1 << (amount % 8))),
  /** One byte. */
  (bytes, { at, amount }) => changed(bytes, at, () => amount % 256),
  /** Near the begin, where heads and lengths are. */
  (bytes, { at, amount }) => changed(bytes, at % 48, (byte) => byte + (amount % 5) - 2),
  /** Truncation. */
  (bytes, { at }) => bytes.subarray(0, at % (bytes.length + 1)),
  /** Extension. */
  (bytes, { amount, other }) => concat(bytes, other.subarray(0, 1 + (amount % 64))),
  /** Something left out. */
  (bytes, { at, amount }) => {
    const from = at % (bytes.length + 1);
    return concat(bytes.subarray(0, from), bytes.subarray(from + 1 + (amount % 40)));
  },
  /** Two cases spliced. */
  (bytes, { at, amount, other }) =>
    concat(bytes.subarray(0, at % (bytes.length + 1)), other.subarray(amount % (other.length + 1))),
  /** A length that is not there. */
  (bytes, { at, amount }) => {
    const head = hugeHeads[amount % hugeHeads.length] ?? new Uint8Array();
    const place = headAt(bytes, at);
    return concat(bytes.subarray(0, place), head, bytes.subarray(place + 1));
  },
  /** Inside of many containers. */
  (bytes, { amount }) => concat(new Uint8Array(amount % 80).fill(0x91), bytes),
  (bytes, { at, amount, other }) => remapped(bytes, { at, amount, other }),
];

/** A map written anew: parts swapped, taken from another case, keys twice or in another order. */
function remapped(bytes: Uint8Array, { at, amount, other }: Step): Uint8Array {
  const entries = entriesOf(bytes);
  const others = entriesOf(other);
  if (entries === undefined || entries.length < 2) return bytes;
  const [one, two] = [at % entries.length, amount % entries.length];
  const [left, right] = [entries[one], entries[two]];
  if (left === undefined || right === undefined) return bytes;
  switch (amount % 5) {
    case 0:
      return rawMap(entries.with(one, [left[0], right[1]]).with(two, [right[0], left[1]]));
    case 1:
      return rawMap(entries.with(one, right).with(two, left));
    case 2:
      return rawMap([...entries.slice(0, one + 1), ...entries.slice(one)]);
    case 3:
      return rawMap(entries.toSpliced(one, 1));
    default: {
      const taken = others?.find(([name]) => name === left[0]);
      return rawMap(taken === undefined ? entries : entries.with(one, taken));
    }
  }
}

type Entry = readonly [key: string, value: unknown];

function entriesOf(bytes: Uint8Array): Entry[] | undefined {
  const decoded = decodeCanonical(bytes, { floats: true });
  const value = decoded.ok ? decoded.value : undefined;
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  return !isMap || value instanceof Uint8Array ? undefined : Object.entries(value);
}

/** At most 65,535 entries, as they come. */
export function rawMap(entries: readonly Entry[]): Uint8Array {
  const { length } = entries;
  const head = length <= 15 ? [0x80 | length] : [0xde, length >> 8, length & 0xff];
  const encode = (value: unknown) => encodeCanonical(value, { floats: true });
  return concat(
    Uint8Array.from(head),
    ...entries.flatMap(([name, value]) => [encode(name), encode(value)]),
  );
}

/** Maps inside each other. */
export function deepMap(depth: number): Uint8Array {
  return new Uint8Array(3 * depth + 1)
    .fill(1)
    .map((byte, at) => (at === 3 * depth ? byte : ([0x81, 0xa1, 0x61][at % 3] ?? byte)));
}

/** Where a `bin` or `str` with a length of its own begins, near a place. */
function headAt(bytes: Uint8Array, at: number): number {
  const { length } = bytes;
  if (length === 0) return 0;
  const found = bytes.findIndex(
    (byte, index) => index >= at % length && byte >= 0xc4 && byte <= 0xc6,
  );
  return found === -1 ? at % length : found;
}

function changed(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  if (bytes.length === 0) return bytes;
  const index = at % bytes.length;
  return bytes.with(index, change(bytes[index] ?? 0) & 0xff);
}

function joined([one, other]: [Uint8Array, Uint8Array]): Uint8Array {
  return concat(one, other);
}
