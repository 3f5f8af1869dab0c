/**
 * The audit in one file: everything that a verifier needs beside the pinned digest of the root.
 *
 * The file is the 16 bytes `gyre-audit/1` with four zero bytes behind, then items; an item is its
 * length (4 bytes, big-endian) and that many bytes of canonical MessagePack, a map with `kind`:
 *
 *     header      { auditor, bundle, format: 1, kind, mesh }   once, first
 *     record      { body?, frame, kind, leafIndex, salt?, verdict }   in order from leaf 0
 *     checkpoint  { checkpoint, kind }   after the records, by rising tree size; the last one covers
 *     trailer     { checkpoints, kind, records }   once, last: how many of each there were
 *
 * Nothing may stand between, behind, or beside these fields, and every byte has one reading: what
 * does not encode back to the same bytes is refused. `bundle` holds the trust documents with the
 * enrolments in order of agent id. Items are bounded, so that reading needs memory for one at a time.
 */

import { AuditRecord } from '#schemas/queries.ts';
import { AuditCheckpoint } from '#schemas/plan.ts';
import {
  AgentId,
  KebabName,
  StrictObject,
  Type,
  Uint,
  compile,
  type Static,
} from '#schemas/primitives.ts';
import { TrustBundle } from '#schemas/trust.ts';
import { concat, utf8 } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './canonical-msgpack.ts';

/** Header: 64 MiB, room for 5,000 enrolments. Other items: 1 MiB. */
export const headerItemBytesMax = 64 * 1024 * 1024;
export const itemBytesMax = 1024 * 1024;

const HeaderItem = StrictObject({
  kind: Type.Literal('header'),
  format: Type.Literal(1),
  mesh: KebabName(),
  auditor: AgentId(),
  bundle: TrustBundle,
});
const RecordItem = StrictObject({ kind: Type.Literal('record'), ...AuditRecord.properties });
const CheckpointItem = StrictObject({
  kind: Type.Literal('checkpoint'),
  checkpoint: AuditCheckpoint,
});
const TrailerItem = StrictObject({
  kind: Type.Literal('trailer'),
  records: Uint(),
  checkpoints: Uint(),
});

export type ExportHeader = Static<typeof HeaderItem>;
export type ExportItem =
  | ExportHeader
  | Static<typeof RecordItem>
  | Static<typeof CheckpointItem>
  | Static<typeof TrailerItem>;

export type ExportFault = 'FILE_MALFORMED' | 'FILE_TRUNCATED' | 'FILE_TRAILING';

/** An item and the byte at which it begins, or what is wrong there; nothing follows a fault. */
export type ExportReading =
  | { readonly offset: number; readonly item: ExportItem }
  | { readonly offset: number; readonly fault: ExportFault; readonly reason: string };

export interface ExportInput {
  readonly auditor: string;
  readonly mesh: string;
  readonly bundle: TrustBundle;
  /** In order from leaf 0. */
  readonly records: AsyncIterable<AuditRecord> | Iterable<AuditRecord>;
  /** By rising tree size; asked for when the records have been written. */
  readonly checkpoints: () => readonly AuditCheckpoint[];
}

const checks = {
  header: compile(HeaderItem),
  record: compile(RecordItem),
  checkpoint: compile(CheckpointItem),
  trailer: compile(TrailerItem),
};
const order = ['header', 'record', 'checkpoint', 'trailer'] as const;
type Kind = (typeof order)[number];

const magic = concat(utf8('gyre-audit/1'), new Uint8Array(4));
const lengthBytes = 4;

/** The file, piece by piece. Throws what the records throw. */
export async function* writeExport(input: ExportInput): AsyncGenerator<Uint8Array> {
  const { auditor, mesh, bundle } = input;
  const enrolments = bundle.enrolments.toSorted((left, right) =>
    left.body.agent_id < right.body.agent_id ? -1 : 1,
  );
  yield magic;
  const header = { auditor, bundle: { ...bundle, enrolments }, format: 1, mesh } as const;
  yield encodeItem({ kind: 'header', ...header });
  let records = 0;
  for await (const record of input.records) {
    yield encodeItem({ kind: 'record', ...record });
    records += 1;
  }
  const checkpoints = input.checkpoints();
  for (const checkpoint of checkpoints) yield encodeItem({ kind: 'checkpoint', checkpoint });
  yield encodeItem({ kind: 'trailer', records, checkpoints: checkpoints.length });
}

/** One item with its length. */
export function encodeItem(item: ExportItem): Uint8Array {
  const bytes = encodeCanonical(item, { floats: true });
  const length = new Uint8Array(lengthBytes);
  new DataView(length.buffer).setUint32(0, bytes.length);
  return concat(length, bytes);
}

/** Reads a file of any origin. Never throws because of what is in it. */
export async function* readExport(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<ExportReading> {
  const source = new ByteSource(chunks);
  try {
    yield* readItems(source);
  } finally {
    await source.close();
  }
}

async function* readItems(source: ByteSource): AsyncGenerator<ExportReading> {
  const start = await source.take(magic.length);
  if (start === undefined || !start.every((byte, index) => byte === magic[index])) {
    yield fault(0, 'FILE_MALFORMED', 'this is not an audit export');
    return;
  }
  const counts: Record<Kind, number> = { header: 0, record: 0, checkpoint: 0, trailer: 0 };
  let stage = 0;
  while (counts.trailer === 0) {
    const { offset } = source;
    const reading = await readItem(source, stage);
    if ('fault' in reading) {
      yield reading;
      return;
    }
    const { item } = reading;
    const next = order.indexOf(item.kind);
    const isMisplaced = next < stage || (item.kind !== 'header' && counts.header === 0);
    if (isMisplaced || (item.kind === 'header' && counts.header > 0)) {
      yield fault(offset, 'FILE_MALFORMED', `a ${item.kind} out of its place`);
      return;
    }
    stage = next;
    counts[item.kind] += 1;
    const isCounted =
      item.kind !== 'trailer' ||
      (item.records === counts.record && item.checkpoints === counts.checkpoint);
    if (!isCounted) {
      yield fault(offset, 'FILE_MALFORMED', 'the trailer counts other items than there are');
      return;
    }
    yield { offset, item };
  }
  if ((await source.take(1)) !== undefined) {
    yield fault(source.offset - 1, 'FILE_TRAILING', 'there are bytes behind the trailer');
  }
}

async function readItem(source: ByteSource, stage: number): Promise<ExportReading> {
  const { offset } = source;
  const head = await source.take(lengthBytes);
  if (head === undefined) return fault(offset, 'FILE_TRUNCATED', 'the file ends without a trailer');
  const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
  if (length > (stage === 0 ? headerItemBytesMax : itemBytesMax)) {
    return fault(offset, 'FILE_MALFORMED', 'an item is larger than allowed');
  }
  const bytes = await source.take(length);
  if (bytes === undefined) return fault(offset, 'FILE_TRUNCATED', 'the file ends inside an item');
  const decoded = decodeCanonical(bytes, { floats: true });
  if (!decoded.ok)
    return fault(offset, 'FILE_MALFORMED', `an item is not canonical: ${decoded.code}`);
  const item = asItem(decoded.value);
  return item === undefined
    ? fault(offset, 'FILE_MALFORMED', 'an item is not of its schema')
    : { offset, item };
}

function asItem(value: unknown): ExportItem | undefined {
  if (checks.record.check(value)) return value;
  if (checks.checkpoint.check(value)) return value;
  if (checks.header.check(value)) return isSorted(value) ? value : undefined;
  return checks.trailer.check(value) ? value : undefined;
}

function isSorted({ bundle }: ExportHeader): boolean {
  const ids = bundle.enrolments.map(({ body }) => body.agent_id);
  return ids.every((id, index) => index === 0 || (ids[index - 1] ?? '') < id);
}

function fault(offset: number, code: ExportFault, reason: string): ExportReading {
  return { offset, fault: code, reason };
}

/** Exactly as many bytes as are asked for, out of chunks of any size. */
class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #pending: Uint8Array[] = [];
  #available = 0;
  /** Bytes taken so far. */
  offset = 0;

  constructor(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#chunks =
      Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
  }

  /** Lets go of a stream that was not read to its end. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** A copy; undefined where the file ends before. */
  async take(count: number): Promise<Uint8Array | undefined> {
    while (this.#available < count) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#pending.push(next.value);
      this.#available += next.value.length;
    }
    const taken = new Uint8Array(count);
    let filled = 0;
    let used = 0;
    // Used chunks go all at once: taking them off one by one is quadratic in their number.
    for (const chunk of this.#pending) {
      if (filled === count) break;
      const part = chunk.subarray(0, count - filled);
      taken.set(part, filled);
      filled += part.length;
      if (part.length < chunk.length) this.#pending[used] = chunk.subarray(part.length);
      else used += 1;
    }
    this.#pending.splice(0, used);
    this.#available -= count;
    this.offset += count;
    return taken;
  }
}
