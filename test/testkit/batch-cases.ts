/** Cases of batches and of the proofs of single events. */
import type { Header } from '#schemas/frame.ts';
import { openBatch, parseBatch, proveEvent, sealBatch } from '#shared/crypto/batch.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { caseOf, type Case, type Outcome } from './case.ts';
import { eventForgery } from './event-cases.ts';
import { batchDigestOf, forge, type Forgery } from './forge.ts';
import { batchHeader, channelSecret, crypto, labelled, signingKey, withSalt } from './material.ts';

const batchOfThree = [
  { kind: 'heartbeat', atMs: 1_800_000_000_000, sequence: 41 },
  { kind: 'measurement', atMs: 1_800_000_000_001, metric: 'sign-ms', value: 1.5 },
  { kind: 'heartbeat', atMs: 1_800_000_001_000, sequence: 42 },
].map((event) => encodeCanonical(event, { floats: true }));

const batch = (name: string, open: Outcome, about: string, forgery: Partial<Forgery> = {}): Case =>
  caseOf(
    {
      name: `batch-${name}`,
      kind: 'batch',
      about,
      open,
      ...(forgery.content === undefined ? { events: batchOfThree } : {}),
    },
    encodeCanonical(forge({ ...batchForgery, ...forgery })),
  );

const batchForgery: Forgery = {
  header: batchHeader,
  content: encodeCanonical(batchOfThree),
  label: 'batch',
  digest: batchDigestOf(batchOfThree),
};

function sealedBatch(events: readonly Uint8Array[]): Uint8Array {
  const input = { header: batchHeader, events, signingKey, channelSecret };
  return withSalt(() => sealBatch(crypto, input)).frame;
}

export function batchCases(): Case[] {
  const valid = (name: string, about: string, events: readonly Uint8Array[]): Case =>
    caseOf(
      { name: `batch-${name}`, kind: 'batch', about, open: 'ok', events },
      sealedBatch(events),
    );
  const many = Array.from({ length: 256 }, (_, index) => encodeCanonical(index));
  const list = (name: string, about: string, bytes: readonly number[]): Case =>
    batch(name, 'BATCH_MALFORMED', about, { content: Uint8Array.from(bytes) });
  const inHeader = (changes: object): Partial<Forgery> => ({
    header: { ...batchHeader, ...changes } as Header,
  });
  return [
    valid('of-three', 'two heartbeats and a measurement', batchOfThree),
    valid('of-one', 'the smallest: its root is its leaf', batchOfThree.slice(0, 1)),
    valid('of-256', 'as many events as there may be', many),
    batch('unknown-field', 'FRAME_MALFORMED', 'a field more in the header', inHeader({ more: 1 })),
    caseOf(
      {
        name: 'batch-too-large',
        kind: 'batch',
        about: 'more than 512 KiB',
        open: 'FRAME_TOO_LARGE',
        encode: 'refused',
      },
      new Uint8Array(512 * 1024 + 1),
    ),
    batch('version-2', 'VERSION_UNKNOWN', 'another version', inHeader({ version: 2 })),
    batch('suite-2', 'SUITE_UNKNOWN', 'another suite', inHeader({ suite: 2 })),
    batch('event', 'LANE_MISMATCH', 'an event where a batch is read', { ...eventForgery }),
    batch('other-signer', 'SIGNATURE_INVALID', 'signed by another key', { isSignedByOther: true }),
    batch('event-label', 'SIGNATURE_INVALID', 'signed as an event', { label: 'event' }),
    batch('other-commitment', 'COMMITMENT_MISMATCH', 'commits to another key', {
      commitment: labelled('commitment'),
    }),
    batch('other-nonce', 'TAG_INVALID', 'encrypted under another counter', { counter: 8 }),
    list('no-list', 'a number instead of a list', [1]),
    list('no-event', 'an empty list', [0x90]),
    list('text', 'an event that is text', [0x91, 0xa1, 0x61]),
    list('empty-event', 'an event without bytes', [0x91, 0xc4, 0]),
    list('long-length', 'a length in its long form', [0x91, 0xc5, 0, 1, 1]),
    list('long-count', 'a count in its long form', [0xdc, 0, 1, 0xc4, 1, 1]),
    list('cut', 'an event cut short', [0x91, 0xc4, 2, 1]),
    list('longer', 'a byte behind the list', [0x91, 0xc4, 1, 1, 1]),
    list('of-257', 'more events than there may be', [
      0xdc,
      1,
      1,
      ...Array.from({ length: 257 }, () => [0xc4, 1, 1]).flat(),
    ]),
    list('large-event', 'an event beyond 4 KiB', [0x91, 0xc5, 0x10, 1, ...new Uint8Array(4097)]),
    batch('other-digest', 'DIGEST_MISMATCH', 'the digest of something else', {
      digest: labelled('digest'),
    }),
    batch('other-count', 'DIGEST_MISMATCH', 'the right root, and one event too many', {
      digest: batchDigestOf(batchOfThree, 4),
    }),
  ];
}

function provenOf(events: readonly Uint8Array[], index: number) {
  const parsed = parseBatch(sealedBatch(events));
  if (!parsed.ok) throw new Error(`a batch of the testkit does not parse: ${parsed.code}`);
  const opened = openBatch(crypto, parsed.batch, channelSecret);
  if (!opened.ok) throw new Error(`a batch of the testkit does not open: ${opened.code}`);
  return proveEvent(crypto, parsed.batch, { ...opened, index });
}

export function proofCases(): Case[] {
  const made = (name: string, open: Outcome, about: string, content: object): Case =>
    caseOf({ name: `proof-${name}`, kind: 'proof', about, open }, encodeCanonical(content));
  const valid = provenOf(batchOfThree, 1);
  const headed = (changes: object) => ({
    ...valid,
    header: encodeCanonical({ ...batchHeader, ...changes }),
  });
  const flipped = valid.path.map((hash) => hash.map((byte) => byte ^ 1));
  return [
    made('valid', 'ok', 'the measurement of the batch of three', valid),
    made('alone', 'ok', 'of a batch of one: no path', provenOf(batchOfThree.slice(0, 1), 0)),
    made(
      'last-of-three',
      'ok',
      'a leaf without a sibling: a path of one',
      provenOf(batchOfThree, 2),
    ),
    made('count-zero', 'FRAME_MALFORMED', 'of no events', { ...valid, count: 0 }),
    made('version-2', 'VERSION_UNKNOWN', 'another version', headed({ version: 2 })),
    made('suite-2', 'SUITE_UNKNOWN', 'another suite', headed({ suite: 2 })),
    made('of-an-event', 'LANE_MISMATCH', 'the header of an event', headed({ lane: 'control' })),
    made('short-path', 'PROOF_MALFORMED', 'a hash too few', {
      ...valid,
      path: valid.path.slice(1),
    }),
    made('beyond', 'PROOF_MALFORMED', 'a place behind the last', { ...valid, index: 3 }),
    made('other-path', 'SIGNATURE_INVALID', 'other hashes', { ...valid, path: flipped }),
    made('other-event', 'SIGNATURE_INVALID', 'another event', { ...valid, event: batchOfThree[0] }),
    made('other-place', 'SIGNATURE_INVALID', 'another place of the same depth', {
      ...valid,
      index: 0,
    }),
    made('other-count', 'SIGNATURE_INVALID', 'another count of the same depth', {
      ...valid,
      count: 4,
    }),
    made(
      'event-long-form',
      'BODY_MALFORMED',
      'an event that is not canonical, though signed',
      provenOf([Uint8Array.of(0xcc, 1)], 0),
    ),
  ];
}
