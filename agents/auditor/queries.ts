/**
 * What the auditor answers: its head, its records with their content, evidence by name, the entries
 * of sagas, a checkpoint; and it issues receipts once more. Operators and orchestrators may ask; layer
 * agents may not, because the records hold what other layers say among themselves, except for documents.
 * Every answer is bounded in bytes.
 */

import type { Disclosure } from '#schemas/frame.ts';
import type { AuditHead, AuditRecord, AuditRecords, Query } from '#schemas/queries.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { lockoutsShown, type Lockout } from '#shared/core/lockout.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { Answer } from '#shared/runtime/exchange.ts';
import { toldDocuments } from '#shared/runtime/told-documents.ts';
import type { AuditBook } from './book.ts';
import type { LeafNote } from './leaf-note.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { AuditLog } from './log.ts';
import type { ReceiptWriter } from './receipts.ts';

/** Bytes of frames and content in one answer: 400 KiB. */
export const pageBytesMax = 400 * 1024;
/** A record's frame and content together, where they stand alone on a page. */
const recordBytesMax = 430 * 1024;
/** Names and lengths around the bytes of one record or disclosure. */
const itemBytes = 128;

export interface QueryPorts {
  readonly auditorId: string;
  /** What is in force here. */
  readonly trust: TrustView;
  readonly book: AuditBook;
  readonly records: AuditLog;
  readonly checkpoints: Checkpoints;
  readonly receipts: Pick<ReceiptWriter, 'issue'>;
  readonly restored: () => number;
  readonly refused: () => number;
  /** Of the message that was taken in last. */
  readonly lastSequence: () => number;
  readonly lockouts: () => readonly Lockout[];
  readonly trouble: () => string | undefined;
}

const askers: ReadonlySet<AgentKind> = new Set(['operator', 'orchestrator']);

export class QueryDesk {
  readonly #ports: QueryPorts;

  constructor(ports: QueryPorts) {
    this.#ports = ports;
  }

  async answer(query: Query, asker: Enrolled): Promise<Answer> {
    if (query.ask === 'trust-documents') return toldDocuments(this.#ports.trust, query);
    if (!askers.has(asker.kind)) {
      return refuse('ORCH-8015', 'operators and orchestrators may ask the auditor');
    }
    switch (query.ask) {
      case 'audit-head':
        return { ok: true, result: this.#head() };
      case 'audit-records': {
        const { book } = this.#ports;
        const notes = book.notes(query.from, query.from + query.recordsMax);
        return { ok: true, result: await this.#page(notes, query.recordsMax) };
      }
      case 'saga-entries': {
        const { book } = this.#ports;
        const entries = book.entriesFrom(query.from);
        return { ok: true, result: await this.#page(entries, query.recordsMax) };
      }
      case 'audit-disclosures':
        return { ok: true, result: await this.#disclosures(query.events) };
      case 'receipts-again': {
        if (asker.kind !== 'orchestrator') {
          return refuse('ORCH-8015', 'receipts are issued again for orchestrators');
        }
        const { book, receipts } = this.#ports;
        const notes = query.events.flatMap((hash) => book.noteOf(hash) ?? []);
        receipts.issue(notes);
        return { ok: true, result: notes.length };
      }
      case 'audit-checkpoint': {
        const outcome = await this.#ports.checkpoints.now();
        return outcome.status === 'signed'
          ? { ok: true, result: { checkpoint: outcome.checkpoint } }
          : refuse('ORCH-8013', `no checkpoint: ${outcome.reason}`);
      }
      default:
        return refuse('ORCH-8012', 'the query is not for an auditor');
    }
  }

  #head(): AuditHead {
    const { auditorId, book, checkpoints, restored, refused, lastSequence } = this.#ports;
    const checkpoint = checkpoints.last;
    const trouble = this.#ports.trouble();
    return {
      auditor: auditorId,
      treeSize: book.size,
      rootHash: book.rootHash(),
      restored: restored(),
      refused: refused(),
      lastSequence: lastSequence(),
      ...(trouble === undefined ? {} : { trouble }),
      ...(checkpoint === undefined ? {} : { checkpoint: { checkpoint } }),
      ...lockoutsShown(this.#ports.lockouts()),
    };
  }

  /** As many of the leaves as fit, at least one. */
  async #page(notes: Iterable<LeafNote>, recordsMax: number): Promise<AuditRecords> {
    const records: AuditRecord[] = [];
    let bytes = 0;
    for (const { leafIndex } of notes) {
      if (records.length >= recordsMax) break;
      const { record, size } = await this.#record(leafIndex);
      if (records.length > 0 && bytes + size > pageBytesMax) break;
      bytes += size;
      records.push(record);
    }
    return { treeSize: this.#ports.book.size, records };
  }

  async #record(leafIndex: number): Promise<{ record: AuditRecord; size: number }> {
    const { book, records } = this.#ports;
    const logged = await records.read(leafIndex);
    const { verdict, frame } = logged;
    const content = book.contentOf(logged);
    const bare = { record: { leafIndex, verdict, frame }, size: frame.length + itemBytes };
    if (content === undefined) return bare;
    const { salt, bodyBytes: body } = content;
    const size = bare.size + salt.length + body.length;
    return size > recordBytesMax ? bare : { record: { ...bare.record, salt, body }, size };
  }

  /** In the order asked for; what is not known, refused, or does not fit any more is left out. */
  async #disclosures(hashes: readonly string[]): Promise<Disclosure[]> {
    const { book, records } = this.#ports;
    const found: Disclosure[] = [];
    let bytes = 0;
    for (const hash of hashes) {
      const note = book.noteOf(hash);
      if (note?.verdict !== 'accepted') continue;
      const logged = await records.read(note.leafIndex);
      const disclosure = book.contentOf(logged)?.disclosure;
      if (disclosure === undefined) continue;
      bytes += logged.frame.length + itemBytes;
      if (bytes > pageBytesMax) break;
      found.push(disclosure);
    }
    return found;
  }
}

function refuse(code: 'ORCH-8012' | 'ORCH-8013' | 'ORCH-8015', reason: string): Answer {
  return { ok: false, code, reason };
}
