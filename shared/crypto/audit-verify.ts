/**
 * Checks an audit, record by record, with public keys alone: no bus, no secret, no clock. Records may
 * come from an export or from an auditor's answers; the same code checks both. Results come in three
 * levels that are never mixed (`audit-verdict.ts`), each with the first thing that does not hold.
 *
 * A checkpoint covers the records under its tree size. Without one there is no order that anyone but
 * the sender of the file vouches for, so that is a failure of integrity; records behind the last
 * checkpoint are counted as uncovered.
 */

import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import type { AgentKind, TrustBundle } from '#schemas/trust.ts';
import type { AddressOf } from '#shared/core/entitlement.ts';
import { AuditTree } from '#shared/core/audit-tree.ts';
import type { DocumentNote } from '#shared/core/audit-judge.ts';
import {
  firstFailure,
  nothingChecked,
  holds,
  type AdoptedAtLeaf,
  type AuditFailure,
  type AuditFailureCode,
  type AuditResult,
  type AuditVerdict,
} from '#shared/core/audit-verdict.ts';
import {
  auditEvent,
  decodeBody,
  isContentOf,
  isSealedBySender,
  readAuditedFrame,
} from './audit-event.ts';
import type { AuditedFrame } from './audit-event.ts';
import { readExport, type ExportHeader } from './audit-export.ts';
import { auditLeafHash } from './audit-leaf.ts';
import { AuditMeaning } from './audit-meaning.ts';
import { isSignedStrictly, strictSigners, type StrictSigners } from './audit-trust.ts';
import { toHex } from './bytes.ts';
import type { CryptoProvider } from './provider.ts';
import { openTrust, type TrustView } from './trust.ts';

/** How subjects of a mesh are read: `subjectsOf(mesh).parse`. */
export type AddressesOf = (mesh: string) => AddressOf;

export interface VerifierOptions {
  /** The verifier's own, at genesis: it adopts what the log offers. */
  readonly trust: TrustView;
  readonly auditor: string;
  readonly addressOf: AddressOf;
}

type Where = Pick<AuditFailure, 'leafIndex' | 'event' | 'offset'>;

/** Kinds of agents that send again until they have a receipt: nothing of theirs stays missing. */
const withOutbox: ReadonlySet<AgentKind> = new Set(['layer', 'signer']);

export class AuditVerifier {
  readonly #crypto: CryptoProvider;
  readonly #options: VerifierOptions;
  readonly #tree: AuditTree;
  readonly #meaningOf: AuditMeaning;
  readonly #places = new Map<string, Where>();
  #integrity: AuditResult = holds;
  #content: AuditResult = holds;
  #meaning: AuditResult = holds;
  #records = 0;
  #covered = 0;
  #checkpoints = 0;
  #disclosed = 0;
  #refused = 0;
  #restorations = 0;
  readonly #documents: AdoptedAtLeaf[] = [];
  /** Who signs checkpoints, by the leaf from which on; the last one is by the newest root. */
  readonly #auditRoles: { readonly fromLeaf: number; readonly signers: StrictSigners }[];

  constructor(crypto: CryptoProvider, options: VerifierOptions) {
    this.#crypto = crypto;
    this.#options = options;
    this.#auditRoles = [{ fromLeaf: 0, signers: strictSigners(options.trust, 'audit') }];
    this.#tree = new AuditTree((bytes) => crypto.sha256(bytes));
    this.#meaningOf = new AuditMeaning(crypto, { ...options, tree: this.#tree });
  }

  /** The next record. `offset`: where it begins in a file. */
  add(record: AuditRecord, offset?: number): void {
    const leafIndex = this.#records;
    const place = { leafIndex, ...(offset === undefined ? {} : { offset }) };
    this.#records += 1;
    if (record.leafIndex !== leafIndex) {
      this.#breach(place, 'RECORD_ORDER', `leaf ${record.leafIndex} stands at place ${leafIndex}`);
      return;
    }
    const audited = this.#frameOf(record, place);
    if (audited === undefined) return;
    if (record.verdict === 'refused') this.#refused += 1;
    this.#tree.append(auditLeafHash(this.#crypto, audited.frame, record.verdict));
    const where = { ...place, event: audited.hash };
    if (this.#places.has(audited.hash)) {
      this.#breach(where, 'RECORD_REPEATED', 'the event is in the log already');
      return;
    }
    this.#places.set(audited.hash, where);
    if (!isSealedBySender(this.#crypto, audited)) {
      this.#breach(where, 'SIGNATURE_INVALID', `${audited.sender.agentId} did not sign this`);
      return;
    }
    this.#judge(record, audited, where);
  }

  /** The next checkpoint, once all records that it covers have been added. */
  checkpoint(document: AuditCheckpoint, offset?: number): void {
    const where = offset === undefined ? {} : { offset };
    const { trust, auditor } = this.#options;
    const { tree_size: size, root_hash: rootHash, mesh, auditor: author } = document.body;
    this.#checkpoints += 1;
    if (!this.#isByAuditor(document)) {
      this.#breach(where, 'CHECKPOINT_INVALID', 'the checkpoint is not signed by the audit role');
    } else if (mesh !== trust.mesh || author !== auditor) {
      this.#breach(where, 'CHECKPOINT_INVALID', 'the checkpoint is of another log');
    } else if (size < this.#covered) {
      this.#breach(where, 'CHECKPOINT_INVALID', 'the checkpoints do not follow each other');
    } else if (size > this.#records) {
      const reason = `the checkpoint covers ${size} records, and there are ${this.#records}`;
      this.#breach({ ...where, leafIndex: this.#records }, 'RECORDS_MISSING', reason);
    } else if (size > this.#tree.size || toHex(this.#tree.root(size)) !== rootHash) {
      this.#breach(this.#suspect(where), 'TREE_MISMATCH', 'the checkpoint is of another tree');
    } else {
      this.#covered = size;
    }
  }

  /** Something about the file as a whole does not hold. */
  fail(failure: AuditFailure): void {
    this.#integrity = firstFailure(this.#integrity, failure);
  }

  finish(): AuditVerdict {
    if (this.#checkpoints === 0) {
      this.#breach({}, 'CHECKPOINT_MISSING', 'no checkpoint vouches for the records');
    }
    const gaps = this.#gapsTolerated();
    const [integrity, content, meaning] = [this.#integrity, this.#content, this.#meaning];
    const { trust } = this.#options;
    return {
      ok: integrity.ok && content.ok && meaning.ok,
      integrity,
      content,
      meaning,
      mesh: trust.mesh,
      rootDigest: trust.rootDigest,
      records: this.#records,
      covered: this.#covered,
      uncovered: this.#records - this.#covered,
      checkpoints: this.#checkpoints,
      disclosed: this.#disclosed,
      undisclosed: this.#records - this.#disclosed,
      refused: this.#refused,
      unsound: this.#meaningOf.unsound,
      gaps,
      documents: this.#documents,
      rotations: this.#meaningOf.judge.rotations().map(({ sagaId, phase }) => ({ sagaId, phase })),
    };
  }

  #frameOf(record: AuditRecord, place: Where): AuditedFrame | undefined {
    const reading = readAuditedFrame(this.#crypto, this.#options.trust, record.frame);
    if (reading.ok) return reading.audited;
    const isUnknown = reading.code === 'SENDER_UNKNOWN';
    const code = isUnknown ? 'SENDER_UNKNOWN' : 'RECORD_MALFORMED';
    this.#breach(place, code, `the frame is refused: ${reading.code}`);
    return undefined;
  }

  #judge(record: AuditRecord, audited: AuditedFrame, where: Where): void {
    const { trust } = this.#options;
    const body = this.#bodyOf(record, audited, where);
    const { leafIndex, verdict } = record;
    const event = auditEvent(this.#crypto, trust, { audited, leafIndex, body });
    if (event.content.status === 'malformed' && verdict === 'accepted') {
      this.#content = firstFailure(this.#content, {
        ...where,
        ok: false,
        code: 'CONTENT_MALFORMED',
        reason: 'the body is not of its schema',
      });
    }
    if (audited.announced.type === 'event-restored') this.#restorations += 1;
    const { judgement, complaint } = this.#meaningOf.take(event, verdict);
    if (judgement?.verdict === 'accepted' && judgement.adopted !== undefined) {
      this.#noteAdopted(judgement.adopted, leafIndex);
    }
    if (complaint === undefined) return;
    const { code, reason } = complaint;
    if (judgement?.verdict === 'refused' && isChainCode(judgement.code)) {
      this.#breach(where, judgement.code, reason);
      return;
    }
    this.#meaning = firstFailure(this.#meaning, { ...where, ok: false, code, reason });
  }

  /** By the audit role of a root that was in force when the tree had this size, or later. */
  #isByAuditor(document: AuditCheckpoint): boolean {
    const size = document.body.tree_size;
    return this.#auditRoles.some(({ signers }, index) => {
      const until = this.#auditRoles[index + 1]?.fromLeaf ?? Infinity;
      return until >= size && isSignedStrictly(this.#crypto, document, signers);
    });
  }

  #noteAdopted(adopted: DocumentNote, leafIndex: number): void {
    this.#documents.push({ ...adopted, leafIndex });
    if (adopted.kind !== 'root') return;
    const signers = strictSigners(this.#options.trust, 'audit');
    this.#auditRoles.push({ fromLeaf: leafIndex + 1, signers });
  }

  /** The disclosed body, or undefined where there is none that is the event's. */
  #bodyOf(record: AuditRecord, audited: AuditedFrame, where: Where): unknown {
    const { salt, body } = record;
    if (salt === undefined && body === undefined) return undefined;
    const disclosed = salt === undefined || body === undefined ? undefined : { salt, body };
    const decoded = disclosed === undefined ? undefined : decodeBody(disclosed.body);
    const isContent =
      disclosed !== undefined && isContentOf(this.#crypto, audited.frame, disclosed);
    if (decoded === undefined || !isContent) {
      this.#content = firstFailure(this.#content, {
        ...where,
        ok: false,
        code: isContent ? 'CONTENT_MALFORMED' : 'CONTENT_MISMATCH',
        reason: 'the disclosed content is not what was signed',
      });
      return undefined;
    }
    this.#disclosed += 1;
    return decoded;
  }

  /** Gaps in chains of senders without an outbox; any other gap is a breach. */
  #gapsTolerated(): number {
    const { trust } = this.#options;
    let tolerated = 0;
    for (const { sender, hash, missing } of this.#meaningOf.judge.chains.gaps()) {
      const kind = trust.agent(sender)?.kind;
      // A bus that forgot may also have forgotten what nobody else had seen yet.
      if (kind === undefined || !withOutbox.has(kind) || this.#restorations > 0) tolerated += 1;
      else {
        const where = this.#places.get(hash) ?? {};
        this.#breach(where, 'CHAIN_GAP', `the event before it, ${missing}, is missing`);
      }
    }
    return tolerated;
  }

  /** Where another tree most likely begins: at a gap in a chain, unless something else shows. */
  #suspect(where: Where): Where {
    if (!this.#integrity.ok) return where;
    const [gap] = this.#meaningOf.judge.chains
      .gaps()
      .map(({ hash }) => this.#places.get(hash) ?? {})
      .filter(({ leafIndex = -1 }) => leafIndex >= this.#covered)
      .toSorted((left, right) => (left.leafIndex ?? 0) - (right.leafIndex ?? 0));
    return gap ?? where;
  }

  #breach(where: Where, code: AuditFailureCode, reason: string): void {
    this.#integrity = firstFailure(this.#integrity, { ...where, ok: false, code, reason });
  }
}

export interface VerifyFileInput {
  /** The whole file, in chunks of any size. */
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Pinned digest of the root document, hexadecimal SHA3-256. */
  readonly rootDigest: string;
  readonly addressesOf: AddressesOf;
}

/** Checks an export. Never throws because of what is in it; throws what reading `chunks` throws. */
export async function verifyAuditFile(
  crypto: CryptoProvider,
  { chunks, rootDigest, addressesOf }: VerifyFileInput,
): Promise<AuditVerdict> {
  let verifier: AuditVerifier | undefined;
  for await (const reading of readExport(chunks)) {
    const { offset } = reading;
    if ('fault' in reading) {
      const failure = { ok: false, code: reading.fault, reason: reading.reason, offset } as const;
      if (verifier === undefined) return nothingChecked(failure, { mesh: '', rootDigest });
      verifier.fail(failure);
      break;
    }
    const { item } = reading;
    if (item.kind === 'header') {
      const opened = openHeader(crypto, item, { rootDigest, addressesOf });
      if (!(opened instanceof AuditVerifier)) {
        return nothingChecked({ ...opened, offset }, { mesh: item.mesh, rootDigest });
      }
      verifier = opened;
    } else if (item.kind === 'record') {
      const { kind: _kind, ...record } = item;
      verifier?.add(record, offset);
    } else if (item.kind === 'checkpoint') {
      verifier?.checkpoint(item.checkpoint, offset);
    }
  }
  if (verifier !== undefined) return verifier.finish();
  const reason = 'the file has no header';
  return nothingChecked({ ok: false, code: 'FILE_MALFORMED', reason }, { mesh: '', rootDigest });
}

/** A verifier for records that come from an auditor; a failure where the bundle does not hold. */
export function openVerifier(
  crypto: CryptoProvider,
  input: {
    readonly bundle: TrustBundle;
    readonly auditor: string;
    readonly rootDigest: string;
    readonly addressesOf: AddressesOf;
  },
): AuditVerifier | AuditFailure {
  const { bundle, auditor, rootDigest, addressesOf } = input;
  const opening = openTrust(crypto, { bundle, rootDigest });
  if (opening.status === 'refused') {
    const { code, reason } = opening;
    return { ok: false, code: code === 'TRUST_NOT_YET_VALID' ? 'BUNDLE_MALFORMED' : code, reason };
  }
  const { trust } = opening;
  const unsigned = passedOver(crypto, trust);
  if (unsigned !== undefined) return unsigned;
  if (trust.agent(auditor)?.kind !== 'auditor') {
    return { ok: false, code: 'ENROLMENT_INVALID', reason: `${auditor} is no enrolled auditor` };
  }
  return new AuditVerifier(crypto, { trust, auditor, addressOf: addressesOf(trust.mesh) });
}

function openHeader(
  crypto: CryptoProvider,
  header: ExportHeader,
  input: { readonly rootDigest: string; readonly addressesOf: AddressesOf },
): AuditVerifier | AuditFailure {
  const { bundle, auditor, mesh } = header;
  if (mesh !== bundle.root.body.mesh) {
    return { ok: false, code: 'FILE_MALFORMED', reason: 'the header names another mesh' };
  }
  return openVerifier(crypto, { ...input, bundle, auditor });
}

/** The first document of the bundle that carries a signature which says nothing. */
function passedOver(crypto: CryptoProvider, trust: TrustView): AuditFailure | undefined {
  const { root, registry, policy, enrolments } = trust.bundle;
  const documents = [
    { document: root, role: 'root', code: 'ROOT_INVALID' },
    { document: registry, role: 'registry', code: 'REGISTRY_INVALID' },
    { document: policy, role: 'policy', code: 'POLICY_INVALID' },
    ...enrolments.map(
      (document) => ({ document, role: 'enrolment', code: 'ENROLMENT_INVALID' }) as const,
    ),
  ] as const;
  const loose = documents.find(
    ({ document, role }) => !isSignedStrictly(crypto, document, strictSigners(trust, role)),
  );
  return loose === undefined
    ? undefined
    : {
        ok: false,
        code: loose.code,
        reason: `a signature of the ${loose.role} role does not hold`,
      };
}

function isChainCode(code: string): code is 'CHAIN_FORKED' | 'CHAIN_COUNTER' | 'CHAIN_CROSSED' {
  return code === 'CHAIN_FORKED' || code === 'CHAIN_COUNTER' || code === 'CHAIN_CROSSED';
}
