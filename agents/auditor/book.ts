/**
 * What the auditor knows of its leaves, rebuilt from the log at every start and from nothing else:
 * names and verdicts, the tree, the folded sagas, and where on the bus each event was last seen.
 *
 * Judging comes before the log and noting after it: `judge` decides the verdicts of a batch, the log
 * makes them durable, `note` then makes them visible. Nothing that is not on the disk is ever told.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { AuditJudge, type Judgement } from '#shared/core/audit-judge.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { isOfferedStill } from '#shared/core/document-review.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { AddressOf } from '#shared/core/entitlement.ts';
import { AuditTree } from '#shared/core/audit-tree.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import {
  auditEvent,
  decodeBody,
  isSealedBySender,
  readAuditedFrame,
} from '#shared/crypto/audit-event.ts';
import type { AuditedFrame } from '#shared/crypto/audit-event.ts';
import { auditLeafHash } from '#shared/crypto/audit-leaf.ts';
import { judgeOptions } from '#shared/crypto/audit-trust.ts';
import { disclose, openFrame } from '#shared/crypto/envelope.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import { versionsOf } from '#shared/crypto/known-versions.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { AmendedDocument, TrustView } from '#shared/crypto/trust.ts';
import type { Archive } from './archive.ts';
import { noteFrom, type LeafNote } from './leaf-note.ts';
import { AuditLogError } from './log-error.ts';
import type { LogRecord } from './log.ts';

export interface BookOptions {
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly keyring: ChannelKeyring;
  readonly archive: Archive;
  readonly addressOf: AddressOf;
}

/** A judged event that is not in the log yet. */
export interface Judged {
  readonly audited: AuditedFrame;
  readonly judgement: Judgement;
  readonly note: LeafNote;
  readonly leafHash: Uint8Array;
  /** What the archive keeps of it. */
  readonly archived?: Uint8Array;
}

export interface OpenedContent {
  readonly body: unknown;
  readonly salt: Uint8Array;
  readonly bodyBytes: Uint8Array;
  readonly disclosure: Disclosure;
}

export type Examination =
  | { readonly status: 'authentic'; readonly audited: AuditedFrame }
  | { readonly status: 'refused'; readonly code: RefusalCode };

export class AuditBook {
  readonly tree: AuditTree;
  readonly judge: AuditJudge;
  readonly #options: BookOptions;
  readonly #notes: LeafNote[] = [];
  readonly #byHash = new Map<string, LeafNote>();
  /** Sequence at which the event, or what put it back, was last delivered; by hash. */
  readonly #places = new Map<string, number>();
  #lastPlace = 0;
  readonly #bySaga = new Map<string, LeafNote[]>();
  readonly #ledger: LeafNote[] = [];
  readonly #openRequests = new Map<string, LeafNote>();

  constructor(options: BookOptions) {
    // The book's own view: documents count from the leaf of their offer on, whatever is in force now.
    const trust = options.trust.atGenesis();
    this.#options = { ...options, trust };
    const { crypto, addressOf } = options;
    this.judge = new AuditJudge(judgeOptions(crypto, trust, addressOf));
    this.tree = new AuditTree((bytes) => crypto.sha256(bytes));
  }

  get size(): number {
    return this.#notes.length;
  }

  /** Leaves that count towards the next checkpoint, from `leafIndex` on. */
  hasSubstanceFrom(leafIndex: number): boolean {
    return this.#notes.slice(leafIndex).some(({ isCheckpointNote }) => !isCheckpointNote);
  }

  noteOf(hash: string): LeafNote | undefined {
    return this.#byHash.get(hash);
  }

  notes(from: number, to: number): readonly LeafNote[] {
    return this.#notes.slice(from, to);
  }

  /** Where the event was last seen on the bus: a sequence of the control stream. */
  placeOf(hash: string): number {
    return this.#places.get(hash) ?? 0;
  }

  seenAt(hash: string, sequence: number): void {
    this.#places.set(hash, Math.max(sequence, this.placeOf(hash)));
  }

  /**
   * The next message of the stream, in its order. Where it stands no further than the one before, the
   * stream went back: what it said of this place and those behind it holds no more.
   */
  arrivesAt(sequence: number): void {
    if (sequence <= this.#lastPlace) {
      for (const [hash, place] of this.#places) {
        if (place >= sequence) this.#places.delete(hash);
      }
    }
    this.#lastPlace = sequence;
  }

  /** Rotations that are not at rest: what the bus must not forget. */
  liveSagas(): string[] {
    return this.judge
      .rotations()
      .filter(isLive)
      .map(({ sagaId }) => sagaId);
  }

  /** Accepted events of a saga, in the order of the leaves. */
  eventsOf(sagaId: string): readonly LeafNote[] {
    return this.#bySaga.get(sagaId) ?? [];
  }

  /** Whether a verdict on this leaf is what somebody may still be waiting for. */
  isOpen({ saga }: LeafNote): boolean {
    const rotation = saga === undefined ? null : this.judge.rotation(saga.sagaId);
    return rotation !== null && isLive(rotation);
  }

  /** Entries of unfinished sagas, and the end of the ledger. */
  openVerdicts(): LeafNote[] {
    const entries = this.liveSagas().flatMap((sagaId) => this.eventsOf(sagaId));
    return [...this.#ledger.slice(-ledgerEntriesOpen), ...entries].filter(
      ({ saga }) => saga !== undefined,
    );
  }

  /** Accepted entries of the slots' ledger. */
  ledger(): readonly LeafNote[] {
    return this.#ledger;
  }

  /** Accepted entries of all sagas and of the ledger, from a leaf index on. */
  *entriesFrom(leafIndex: number): Iterable<LeafNote> {
    for (let at = leafIndex; at < this.#notes.length; at += 1) {
      const note = this.#notes[at];
      if (note?.type === 'saga-entry' && note.verdict === 'accepted') yield note;
    }
  }

  /** Requests for a rotation that no plan and no refusal has answered. */
  openRequests(): LeafNote[] {
    return [...this.#openRequests.values()];
  }

  /**
   * What is in force by `live` and was offered at no leaf, in an order in which it holds. Of registry and
   * policy only the newest: what it has replaced by now is offered by nobody.
   */
  unofferedOf(live: TrustView): AmendedDocument[] {
    const { trust } = this.#options;
    const newest = live.highest();
    return live.documentsSince(versionsOf(trust.highest())).filter(({ body }) => {
      if (body.kind === 'revocation') return trust.agent(body.agent_id)?.revokedAtMs === undefined;
      return isOfferedStill(body, newest);
    });
  }

  /** What was offered at a leaf that counts and `live` has not taken, in an order in which it holds. */
  untakenBy(live: TrustView): AmendedDocument[] {
    return this.#options.trust
      .documentsSince(versionsOf(live.highest()))
      .filter(({ body }) => body.kind !== 'revocation' || !live.isRevoked(body.agent_id));
  }

  /** Structure, sender and seal of a received frame. What fails here is no leaf. */
  examine(frame: Uint8Array, subject: string): Examination {
    const { crypto, trust } = this.#options;
    const reading = readAuditedFrame(crypto, trust, frame);
    if (!reading.ok) return { status: 'refused', code: reading.code };
    const { audited } = reading;
    // A copy on another subject must not take the place of the original.
    if (audited.announced.subject !== subject)
      return { status: 'refused', code: 'SUBJECT_MISMATCH' };
    if (!isSealedBySender(crypto, audited)) return { status: 'refused', code: 'SIGNATURE_INVALID' };
    return { status: 'authentic', audited };
  }

  /** The verdict on the next leaf. The caller must see it into the log, or stop. */
  judgeNext(audited: AuditedFrame, leafIndex: number): Judged {
    return this.#judge(audited, leafIndex, this.open(audited, leafIndex));
  }

  #judge(audited: AuditedFrame, leafIndex: number, content: OpenedContent | undefined): Judged {
    const { crypto, trust, archive } = this.#options;
    const event = auditEvent(crypto, trust, { audited, leafIndex, body: content?.body });
    const judgement = this.judge.judge(event);
    const readable = event.content.status === 'read' ? event.content.body : undefined;
    const note = noteFrom(audited, leafIndex, judgement, readable);
    const leafHash = auditLeafHash(crypto, audited.frame, judgement.verdict);
    const archived = archive.seal(audited, leafIndex, content);
    return { audited, judgement, note, leafHash, ...(archived && { archived }) };
  }

  /** The event is in the log: it becomes visible. */
  note({ note, leafHash }: Judged, sequence: number): void {
    this.tree.append(leafHash);
    this.#notes.push(note);
    this.#byHash.set(note.hash, note);
    this.seenAt(note.hash, sequence);
    if (note.verdict === 'accepted') this.#file(note, sequence);
  }

  /** @throws AuditLogError AUDIT_LOG_DAMAGED where the verdict in the log does not follow any more */
  replay(record: LogRecord): void {
    const { crypto, trust } = this.#options;
    const reading = readAuditedFrame(crypto, trust, record.frame);
    if (!reading.ok) throw damaged(record, `the frame is refused now: ${reading.code}`);
    const content = this.#contentIn(reading.audited, record);
    const judged = this.#judge(reading.audited, record.leafIndex, content);
    const { judgement } = judged;
    if (judgement.verdict !== record.verdict) {
      const isGone = judgement.verdict === 'refused' && judgement.code === 'CONTENT_UNREADABLE';
      if (isGone) throw unreadable(record);
      throw damaged(record, 'another verdict follows');
    }
    this.arrivesAt(record.sequence);
    this.note(judged, record.sequence);
  }

  /** Content as an auditor reads it: a member of every channel, and what it kept once an epoch is over. */
  open(audited: AuditedFrame, leafIndex: number, kept?: Uint8Array): OpenedContent | undefined {
    const { crypto, archive } = this.#options;
    const opened = this.#openSealed(audited);
    if (opened !== undefined) return opened;
    const content = archive.open(audited, leafIndex, kept);
    if (content === undefined) return undefined;
    const body = decodeBody(content.bodyBytes);
    if (body === undefined) return undefined;
    return { ...content, body, disclosure: disclose(crypto, audited.frame, content) };
  }

  #openSealed({ frame }: AuditedFrame): OpenedContent | undefined {
    const { crypto, keyring } = this.#options;
    const { channel, epoch } = frame.header;
    const secret = keyring.secretOf({ channel, epoch });
    const opened = secret === undefined ? undefined : openFrame(crypto, frame, secret);
    if (opened === undefined || !opened.ok) return undefined;
    const { body, salt, bodyBytes } = opened;
    return { body, salt, bodyBytes, disclosure: disclose(crypto, frame, opened) };
  }

  /** Content of a leaf of the log, read again. */
  contentOf(record: LogRecord): OpenedContent | undefined {
    return this.#contentIn(this.#reread(record), record);
  }

  /**
   * As it was read when the event came. What was refused because its secret was missing stays unread,
   * whoever gave the secret since: read now, it would be judged otherwise, and the log be damaged.
   */
  #contentIn(audited: AuditedFrame, record: LogRecord): OpenedContent | undefined {
    const { leafIndex, verdict, archived } = record;
    const isPublic = audited.frame.header.channel === noticesChannel;
    const wasUnread = verdict === 'refused' && archived === undefined && !isPublic;
    return wasUnread ? undefined : this.open(audited, leafIndex, archived);
  }

  #reread(record: LogRecord): AuditedFrame {
    const reading = readAuditedFrame(this.#options.crypto, this.#options.trust, record.frame);
    if (!reading.ok) throw damaged(record, `the frame is refused now: ${reading.code}`);
    return reading.audited;
  }

  rootHash(): string {
    return toHex(this.tree.root());
  }

  #file(note: LeafNote, sequence: number): void {
    if (note.restores !== undefined) this.seenAt(note.restores, sequence);
    if (note.answers !== undefined) this.#openRequests.delete(note.answers);
    if (asking.has(note.type)) this.#openRequests.set(note.hash, note);
    if (note.saga !== undefined && note.saga.phase === undefined) this.#ledger.push(note);
    if (note.sagaId === undefined) return;
    for (const hash of note.consumed ?? []) {
      const request = this.#openRequests.get(hash);
      if (request === undefined) continue;
      this.#openRequests.delete(hash);
      this.#fileUnder(note.sagaId, request);
    }
    this.#fileUnder(note.sagaId, note);
  }

  #fileUnder(sagaId: string, note: LeafNote): void {
    const notes = this.#bySaga.get(sagaId);
    if (notes === undefined) this.#bySaga.set(sagaId, [note]);
    else notes.push(note);
  }
}

/** What a rotation may begin with. */
const asking: ReadonlySet<string> = new Set(['rotation-requested', 'healing-action-requested']);

/** Phases from which nothing follows once no command is outstanding. */
const endPhases: ReadonlySet<RotationPhase> = new Set(['refused', 'retired', 'rolled_back']);
/** Entries at the end of the ledger that somebody may be waiting for. */
const ledgerEntriesOpen = 32;

function isLive({ phase, outstanding }: RotationState): boolean {
  return !endPhases.has(phase) || outstanding.length > 0;
}

function unreadable({ leafIndex }: LogRecord): AuditLogError {
  const why = 'its epoch is closed and the archive does not hold, or does not open, its content';
  return new AuditLogError(
    'AUDIT_CONTENT_GONE',
    `leaf ${leafIndex} cannot be judged again: ${why}`,
  );
}

function damaged({ leafIndex }: LogRecord, what: string): AuditLogError {
  return new AuditLogError('AUDIT_LOG_DAMAGED', `leaf ${leafIndex}: ${what}`);
}
