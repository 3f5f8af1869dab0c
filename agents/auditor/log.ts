/**
 * The auditor's append-only log: the second copy of the control stream, on disk, in the order in
 * which the bus delivered it. It carries invariants 5 (an entry is held twice) and 15 (what the bus
 * lost can be put back).
 *
 * The file is the 16 bytes `gyre-audit-log/1`, then records, each of them
 *
 *     payload length (4, big-endian) ‖ CRC-32 of the payload (4) ‖ CRC-32 of those 8 bytes (4) ‖ payload
 *
 * with the payload a canonical MessagePack map of exactly { frame, leafIndex, receivedAtMs, sequence,
 * verdict } and, where the policy has content kept, `archived`: salt and body under the archive key. The head has a check of its own so that a damaged length cannot pass for a torn tail.
 * At start-up only a last record that the file ends inside of is cut: it was never acknowledged.
 * Whatever else does not check is `AUDIT_LOG_DAMAGED`, at its position.
 */

import { crc32 } from 'node:zlib';
import { bodyBytesMax, frameBytesMax, saltBytes } from '#schemas/frame.ts';
import {
  BytesMax,
  BytesRange,
  OneOf,
  StrictObject,
  TimeMs,
  Type,
  Uint,
  compile,
  type Static,
} from '#schemas/primitives.ts';
import { archiveOverheadBytes } from '#shared/crypto/audit-archive.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { LogFile } from '#shared/runtime/disk.ts';
import { AuditLogError, isDiskFull } from './log-error.ts';

const archivedBytesMax = saltBytes + bodyBytesMax + archiveOverheadBytes;

const LogRecordSchema = StrictObject({
  leafIndex: Uint(),
  /** Sequence of the message in the control stream. */
  sequence: Uint(),
  receivedAtMs: TimeMs(),
  verdict: OneOf(['accepted', 'refused']),
  frame: BytesRange({ bytesMin: 1, bytesMax: frameBytesMax }),
  /** Never in clear: `shared/crypto/audit-archive.ts`. */
  archived: Type.Optional(BytesMax(archivedBytesMax)),
});
export type LogRecord = Static<typeof LogRecordSchema>;

const recordCheck = compile(LogRecordSchema);
const magic = new TextEncoder().encode('gyre-audit-log/1');
const headBytes = 12;
/** A frame, its content, and the fields around them. */
const payloadBytesMax = frameBytesMax + archivedBytesMax + 256;
/** Bytes read at once when the log is gone through from the start. */
const windowBytes = 4 * 1024 * 1024;

export class AuditLog {
  readonly #file: LogFile;
  /** Byte offset of every record, and the end of the last one behind them. */
  readonly #offsets: number[];
  #broken: AuditLogError | undefined;
  /** Bytes of a torn last record that were cut when the log was opened. */
  readonly cutBytes: number;

  private constructor(file: LogFile, offsets: number[], cutBytes: number) {
    this.#file = file;
    this.#offsets = offsets;
    this.cutBytes = cutBytes;
  }

  /**
   * Goes through the whole log, hands every record to `visit` in order, and cuts a torn tail. The
   * file is the log's from here on: it is closed where this fails.
   * @throws AuditLogError AUDIT_LOG_DAMAGED; whatever `visit` throws
   */
  static async open(file: LogFile, visit: (record: LogRecord) => void): Promise<AuditLog> {
    try {
      return await AuditLog.#read(file, visit);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  static async #read(file: LogFile, visit: (record: LogRecord) => void): Promise<AuditLog> {
    const size = await file.size();
    if (size < magic.length) {
      const start = await file.read(0, size);
      if (!startsLike(start)) throw damaged(0, 'this is not an audit log');
      await restart(file);
      return new AuditLog(file, [magic.length], size);
    }
    if (!startsLike(await file.read(0, magic.length))) throw damaged(0, 'this is not an audit log');
    const offsets = [magic.length];
    const window = new ReadWindow(file);
    let position = magic.length;
    for (;;) {
      const found = await readRecord(window, position);
      if (found === 'end') break;
      if (found.record.leafIndex !== offsets.length - 1) {
        throw damaged(position, 'a record is out of its place');
      }
      visit(found.record);
      position = found.end;
      offsets.push(position);
    }
    const cutBytes = size - position;
    if (cutBytes > 0) {
      await file.truncate(position);
      await file.sync();
    }
    return new AuditLog(file, offsets, cutBytes);
  }

  /** Records in the log: also the index of the next leaf. */
  get size(): number {
    return this.#offsets.length - 1;
  }

  /**
   * Appends all the records with one barrier; when it resolves they are on the disk. Their leaf
   * indices must follow each other from `size`. After AUDIT_DISK_FULL the log is as it was.
   * @throws AuditLogError AUDIT_DISK_FULL, AUDIT_LOG_UNWRITABLE
   */
  async append(records: readonly LogRecord[]): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    if (records.length === 0) return;
    const start = this.#end();
    const parts: Uint8Array[] = [];
    const ends: number[] = [];
    let end = start;
    for (const [offset, record] of records.entries()) {
      invariant(record.leafIndex === this.size + offset, 'leaves follow each other');
      const encoded = encodeRecord(record);
      parts.push(encoded);
      end += encoded.length;
      ends.push(end);
    }
    try {
      await this.#file.write(start, joined(parts, end - start));
      await this.#file.sync();
    } catch (cause) {
      throw await this.#undo(start, cause);
    }
    this.#offsets.push(...ends);
  }

  /**
   * One record, checked again.
   * @throws AuditLogError AUDIT_LOG_DAMAGED
   */
  async read(leafIndex: number): Promise<LogRecord> {
    const position = this.#offsets[leafIndex];
    invariant(position !== undefined && leafIndex < this.size, 'the record is in the log');
    const found = await readRecord(
      new ReadWindow(this.#file, this.#recordBytes(leafIndex)),
      position,
    );
    if (found === 'end') throw damaged(position, 'a record is no longer there');
    return found.record;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #end(): number {
    const end = this.#offsets.at(-1);
    invariant(end !== undefined, 'a log has an end');
    return end;
  }

  #recordBytes(leafIndex: number): number {
    return (this.#offsets[leafIndex + 1] ?? 0) - (this.#offsets[leafIndex] ?? 0);
  }

  /** Takes a failed write back, so that nothing of it stays. */
  async #undo(start: number, cause: unknown): Promise<AuditLogError> {
    try {
      await this.#file.truncate(start);
      await this.#file.sync();
    } catch (undoCause) {
      this.#broken = unwritable(new AggregateError([cause, undoCause], 'write and undo failed'));
      return this.#broken;
    }
    if (isDiskFull(cause)) {
      return new AuditLogError('AUDIT_DISK_FULL', 'no room for the audit log', { cause });
    }
    this.#broken = unwritable(cause);
    return this.#broken;
  }
}

/** Bytes from the file through a buffer, so that small records do not cost a read each. */
class ReadWindow {
  readonly #file: LogFile;
  readonly #bytes: number;
  #start = 0;
  #buffer: Uint8Array = new Uint8Array(0);

  constructor(file: LogFile, bytes: number = windowBytes) {
    this.#file = file;
    this.#bytes = bytes;
  }

  /** `length` bytes from `position`, fewer at the end of the file; a view until the next call. */
  async at(position: number, length: number): Promise<Uint8Array> {
    const offset = position - this.#start;
    if (offset < 0 || offset + length > this.#buffer.length) {
      this.#start = position;
      this.#buffer = await this.#file.read(position, Math.max(length, this.#bytes));
      return this.#buffer.subarray(0, length);
    }
    return this.#buffer.subarray(offset, offset + length);
  }
}

async function readRecord(
  window: ReadWindow,
  position: number,
): Promise<{ record: LogRecord; end: number } | 'end'> {
  const head = await window.at(position, headBytes);
  if (head.length < headBytes) return 'end';
  const view = new DataView(head.buffer, head.byteOffset, headBytes);
  const length = view.getUint32(0);
  const payloadCheck = view.getUint32(4);
  if (crc32(head.subarray(0, 8)) !== view.getUint32(8) || length > payloadBytesMax) {
    throw damaged(position, 'the head of a record does not check');
  }
  const payload = await window.at(position + headBytes, length);
  if (payload.length < length) return 'end';
  if (crc32(payload) !== payloadCheck) throw damaged(position, 'a record does not check');
  const decoded = decodeCanonical(payload.slice());
  if (!decoded.ok || !recordCheck.check(decoded.value)) {
    throw damaged(position, 'a record is not of its schema');
  }
  return { record: decoded.value, end: position + headBytes + length };
}

function encodeRecord(record: LogRecord): Uint8Array {
  const { leafIndex, sequence, receivedAtMs, verdict, frame, archived } = record;
  const kept = archived === undefined ? {} : { archived };
  const payload = encodeCanonical({ leafIndex, sequence, receivedAtMs, verdict, frame, ...kept });
  const encoded = new Uint8Array(headBytes + payload.length);
  const view = new DataView(encoded.buffer);
  view.setUint32(0, payload.length);
  view.setUint32(4, crc32(payload));
  view.setUint32(8, crc32(encoded.subarray(0, 8)));
  encoded.set(payload, headBytes);
  return encoded;
}

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const all = new Uint8Array(bytes);
  let position = 0;
  for (const part of parts) {
    all.set(part, position);
    position += part.length;
  }
  return all;
}

function startsLike(start: Uint8Array): boolean {
  return start.every((byte, index) => byte === magic[index]);
}

/** A file that is empty, or torn inside its first 16 bytes, holds no record yet. */
async function restart(file: LogFile): Promise<void> {
  await file.truncate(0);
  try {
    await file.write(0, magic);
    await file.sync();
  } catch (cause) {
    if (!isDiskFull(cause)) throw unwritable(cause);
    throw new AuditLogError('AUDIT_DISK_FULL', 'no room for the audit log', { cause });
  }
}

function damaged(position: number, what: string): AuditLogError {
  return new AuditLogError('AUDIT_LOG_DAMAGED', `${what} (byte ${position})`, { position });
}

function unwritable(cause: unknown): AuditLogError {
  return new AuditLogError('AUDIT_LOG_UNWRITABLE', 'the audit log cannot be written', { cause });
}
