/**
 * The auditor's verdicts, as a fold over the leaves of its log: sender chains, entitlement, offered
 * documents, and for entries of sagas the evidence and the state machines themselves. A document counts
 * from the leaf of its offer on, and a saga is judged by the policy that it began with. The auditor that issued the
 * receipts and everyone who checks them later run this same code over the same leaves, so a verdict
 * that does not follow shows (invariants 2, 5, 7, 10).
 *
 * A refused leaf stays in the log, changes nothing, and cannot be consumed.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import type { SignedDocument } from '#schemas/document.ts';
import type { RotationPhase, SagaEntry, SlotsEvent } from '#schemas/saga.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { ChainBook, noPrevious, type ChainFinding, type ChainLink } from './audit-chain.ts';
import {
  entitlementMisfit,
  misfitsOfDocuments,
  namedVersion,
  type AmendedKind,
  type AnnouncedEvent,
  type AuditedSender,
  type InForce,
} from './entitlement.ts';
import {
  consumedMisfit,
  evidenceMisfit,
  type EvidenceCode,
  type KnownLeaf,
} from './audit-evidence.ts';
import { consumableOf, isBody } from './audit-bodies.ts';
import { healingMisfit, type HealingCode } from './audit-healing.ts';
import { AuditedEpochs, type EpochCode } from './audit-epochs.ts';
import type { OfferedKind } from './document-review.ts';
import { sameMembers } from './equality.ts';
import { beginRotation } from './rotation/begin.ts';
import type { RejectionCode, RotationState } from './rotation/state.ts';
import { stepRotation } from './rotation/step.ts';
import { initialSlots, stepSlots, type SlotsRejection, type SlotsState } from './slots.ts';

export type AuditContent =
  | { readonly status: 'read'; readonly body: unknown }
  /** Readable, and not of the type's schema. */
  | { readonly status: 'malformed' }
  /** Not sealed under the channel's secret, or not disclosed. */
  | { readonly status: 'unreadable' };

/** One authentic event: signed by its enrolled sender. */
export interface AuditEvent {
  readonly hash: string;
  readonly leafIndex: number;
  readonly sender: AuditedSender;
  readonly link: ChainLink;
  readonly announced: AnnouncedEvent;
  readonly content: AuditContent;
  /** Hash of the event inside an `event-restored`. */
  readonly restored?: string;
}

export type JudgementCode =
  | Exclude<ChainFinding, 'linked'>
  | RefusalCode
  | EvidenceCode
  | EpochCode
  | RejectionCode
  | SlotsRejection['rejected']
  | HealingCode
  /** Index or link of the entry is not the next of its saga, or the subject is another saga's. */
  | 'SAGA_CHAIN'
  /** A reservation or release that its rotation does not wait for. */
  | 'SLOTS_NOT_COMMANDED'
  /** A rotation goes on as if it held slots that the ledger does not give it. */
  | 'SLOTS_NOT_HELD'
  | 'CONTENT_UNREADABLE'
  /** An `event-restored` that does not carry the leaf it names. */
  | 'RESTORED_UNKNOWN'
  /** The offered document does not hold: it changes nothing. */
  | 'DOCUMENT_REFUSED';

/** Where a saga stands once an accepted entry has taken effect. */
export interface SagaPosition {
  readonly sagaId: string;
  readonly sagaIndex: number;
  /** Absent for the ledger of slots. */
  readonly phase?: RotationPhase;
}

/** A document that came into force with the leaf of its offer. */
export interface DocumentNote {
  readonly kind: OfferedKind;
  /** 0 for revocations, which have none. */
  readonly version: number;
  readonly digest: string;
}

export type Judgement =
  | {
      readonly verdict: 'accepted';
      readonly saga?: SagaPosition;
      readonly adopted?: DocumentNote;
    }
  | { readonly verdict: 'refused'; readonly code: JudgementCode; readonly reason: string };

/** Who offers a document, and when it says that it does. */
export interface DocumentOffer {
  readonly kind: AgentKind;
  readonly timeMs: number;
}

export interface JudgeOptions {
  readonly inForce: InForce;
  /** The policy of a saga that began under that digest; undefined where it never was in force. */
  readonly policyFor: (basisDigest: string) => PolicyBody | undefined;
  /** Whether a version was adopted after another, or is the same. */
  readonly isNotOlder: (kind: AmendedKind, digest: string, earlier: string) => boolean;
  /**
   * Takes an offered document (UTF-8 JSON) at the time of its offer: the one thing that the fold changes
   * beside itself.
   */
  readonly adopt: (document: Uint8Array, offer: DocumentOffer) => AdoptionNote;
  /** Whether a revocation of the agent was adopted so far. */
  readonly isRevoked: (agentId: string) => boolean;
  /** Whether the orchestration role signed the document. */
  readonly isSigned: (document: SignedDocument<{ kind: string }>) => boolean;
  /** SHA3-256 of the document's body, hexadecimal. */
  readonly digestOf: (document: SignedDocument<{ kind: string }>) => string;
}

export type AdoptionNote =
  | { readonly status: 'adopted'; readonly note: DocumentNote }
  | { readonly status: 'known' }
  | { readonly status: 'refused'; readonly reason: string };

interface Saga {
  /** Accepted entries, by hash. */
  readonly entries: string[];
  readonly phases: RotationPhase[];
  state: RotationState | null;
}

type RotationEntry = Extract<SagaEntry, { saga: 'rotation' }>;
type SlotsEntry = Extract<SagaEntry, { saga: 'slots' }>;

export class AuditJudge {
  readonly #options: JudgeOptions;
  readonly #chains = new ChainBook();
  readonly #leaves = new Map<string, KnownLeaf>();
  readonly #sagas = new Map<string, Saga>();
  readonly #ledger: string[] = [];
  readonly #epochs: AuditedEpochs;
  #slots: SlotsState = initialSlots();

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#epochs = new AuditedEpochs(options);
  }

  /** Senders' events whose predecessor is not among the leaves so far. */
  get chains(): ChainBook {
    return this.#chains;
  }

  /** The folded state of a rotation, or null where no entry of it was accepted. */
  rotation(sagaId: string): RotationState | null {
    return this.#sagas.get(sagaId)?.state ?? null;
  }

  rotations(): RotationState[] {
    return [...this.#sagas.values()].flatMap(({ state }) => (state === null ? [] : [state]));
  }

  /** Phase after entry `sagaIndex` of a rotation; undefined where there is no such entry. */
  phaseAt(sagaId: string, sagaIndex: number): RotationPhase | undefined {
    return this.#sagas.get(sagaId)?.phases[sagaIndex];
  }

  /** Judges the next leaf and takes it in. Every event is judged once. */
  judge(event: AuditEvent): Judgement {
    const judgement = this.#judge(event);
    if (judgement.verdict === 'accepted') this.#know(event);
    return judgement;
  }

  /**
   * Takes in an accepted leaf whose content is not at hand, and that is no entry of a saga, unless its
   * header alone speaks against it.
   */
  admit(event: AuditEvent): Judgement {
    const judgement = this.#judgeHeader(event) ?? { verdict: 'accepted' };
    if (judgement.verdict === 'accepted') this.#know(event);
    return judgement;
  }

  #judgeHeader(event: AuditEvent): Judgement | undefined {
    const finding = this.#chains.note(event.link);
    if (finding !== 'linked') return refused(finding, 'the event does not link into its chain');
    // Whoever is revoked by an earlier leaf says nothing more, whatever time it writes.
    if (event.sender.revokedAtMs !== undefined) {
      return refused('SENDER_REVOKED', 'the sender was revoked before');
    }
    const misfit = entitlementMisfit(event.announced, event.sender, this.#options.inForce);
    // Offers are how one learns of documents: whoever makes one may know of more than the log.
    const isOffer = event.announced.type === 'document-offered';
    if (misfit === undefined || (isOffer && misfitsOfDocuments.has(misfit))) return undefined;
    return refused(misfit, 'the sender may not say this');
  }

  #judge(event: AuditEvent): Judgement {
    const misfit = this.#judgeHeader(event);
    if (misfit !== undefined) return misfit;
    const { content } = event;
    if (content.status === 'unreadable') {
      return refused('CONTENT_UNREADABLE', 'the content cannot be read');
    }
    if (content.status === 'malformed') {
      return refused('BODY_MALFORMED', 'the body is not of its schema');
    }
    const { body } = content;
    if (isBody('saga-entry', event, body)) return this.#judgeEntry(event, body);
    if (isBody('epoch-entry', event, body)) {
      const wrong = this.#epochs.entry(body);
      return wrong === undefined ? { verdict: 'accepted' } : refused(wrong.code, wrong.reason);
    }
    if (isBody('epoch-accepted', event, body)) {
      this.#epochs.acceptance(event.hash, event.sender.agentId, body);
    }
    if (isBody('document-offered', event, body)) return this.#judgeOffer(event, body.document);
    if (isBody('step-commanded', event, body) || isBody('step-reported', event, body)) {
      return this.#olderThanSaga(event, body.sagaId) ?? { verdict: 'accepted' };
    }
    if (isBody('event-restored', event, body)) {
      const known = this.#leaves.get(body.statementHash);
      const isSame = known?.leafIndex === body.leafIndex && event.restored === body.statementHash;
      return isSame
        ? { verdict: 'accepted' }
        : refused('RESTORED_UNKNOWN', 'the restored event is no accepted leaf');
    }
    return { verdict: 'accepted' };
  }

  #judgeOffer({ announced, sender }: AuditEvent, document: Uint8Array): Judgement {
    const offer = { kind: sender.kind, timeMs: announced.timeMs };
    const adoption = this.#options.adopt(document, offer);
    if (adoption.status === 'refused') return refused('DOCUMENT_REFUSED', adoption.reason);
    return adoption.status === 'adopted'
      ? { verdict: 'accepted', adopted: adoption.note }
      : { verdict: 'accepted' };
  }

  /** An event of a saga that names an older registry or policy than the saga began with. */
  #olderThanSaga({ announced }: AuditEvent, sagaId: string): Judgement | undefined {
    const basis = this.rotation(sagaId)?.plan.body.basis;
    if (basis === undefined) return undefined;
    const { isNotOlder } = this.#options;
    const policy = namedVersion('policy', announced).digest;
    if (!isNotOlder('policy', policy, basis.policy_digest)) {
      return refused('POLICY_NOT_IN_FORCE', 'the saga began under a later policy');
    }
    const registry = namedVersion('registry', announced).digest;
    return isNotOlder('registry', registry, basis.registry_digest)
      ? undefined
      : refused('REGISTRY_NOT_IN_FORCE', 'the saga began under a later registry');
  }

  #judgeEntry(event: AuditEvent, entry: SagaEntry): Judgement {
    const { addressOf } = this.#options.inForce;
    const address = addressOf(event.announced.subject);
    const isAtHome =
      entry.saga === 'slots'
        ? address?.kind === 'saga-slots'
        : address?.kind === 'saga-rotation' && address.sagaId === entry.sagaId;
    if (!isAtHome) return refused('SAGA_CHAIN', 'the entry is on the subject of another saga');
    const entries = entry.saga === 'slots' ? this.#ledger : this.#entriesOf(entry.sagaId);
    const previous = entries.at(-1) ?? noPrevious;
    if (entry.index !== entries.length || entry.previous !== previous) {
      return refused('SAGA_CHAIN', `the next entry has index ${entries.length}`);
    }
    const unknown = consumedMisfit(entry.consumed, (hash) => this.#leaves.get(hash));
    if (unknown !== undefined) return refused(unknown.code, unknown.reason);
    return entry.saga === 'slots'
      ? this.#judgeSlots(event, entry)
      : this.#judgeRotation(event, entry);
  }

  #judgeRotation(audited: AuditEvent, entry: RotationEntry): Judgement {
    const { isSigned, digestOf, policyFor, isNotOlder, isRevoked } = this.#options;
    const { hash } = audited;
    const { sagaId, index, consumed, event } = entry;
    const saga = this.#sagas.get(sagaId) ?? { entries: [], phases: [], state: null };
    const older = this.#olderThanSaga(audited, sagaId);
    if (older !== undefined) return older;
    if (event.type === 'slots-reserved' && !this.#holdsSlots(sagaId)) {
      return refused('SLOTS_NOT_HELD', 'the ledger does not say so');
    }
    const misfit = evidenceMisfit(entry, {
      leafOf: (leaf) => this.#leaves.get(leaf),
      isSigned,
      digestOf,
      planDigest: saga.state?.planDigest,
      request: saga.state?.plan.body.request,
      lockouts: saga.state?.lockouts ?? 0,
      isRevoked,
    });
    if (misfit !== undefined) return refused(misfit.code, misfit.reason);
    if (saga.state === null) {
      if (event.type !== 'plan-drafted') return refused('SAGA_CHAIN', 'a saga begins with a plan');
      const { policy_digest: policyDigest, registry_digest: registry } = event.plan.body.basis;
      const policy = policyFor(policyDigest);
      if (policy === undefined) {
        return refused('POLICY_NOT_IN_FORCE', 'the plan rests on a policy that never was in force');
      }
      if (!isNotOlder('registry', registry, registry)) {
        return refused('REGISTRY_NOT_IN_FORCE', 'the plan rests on an unknown registry');
      }
      const healing = healingMisfit(event.plan.body, {
        leafOf: (leaf) => this.#leaves.get(leaf),
        rotations: this.rotations(),
        policy,
        atMs: event.atMs,
        announcedMs: audited.announced.timeMs,
      });
      if (healing !== undefined) return refused(healing.code, healing.reason);
      const opening = { sagaId, planDigest: digestOf(event.plan), entryHash: hash };
      saga.state = beginRotation(opening, { index: 0, consumed, event });
      this.#sagas.set(sagaId, saga);
    } else {
      const policy = policyFor(saga.state.plan.body.basis.policy_digest);
      if (policy === undefined) throw new Error('assertion: a saga began under a policy in force');
      const step = stepRotation(saga.state, { index, consumed, event }, policy);
      if ('rejected' in step) return refused(step.rejected, step.reason);
      saga.state = step.state;
    }
    saga.entries.push(hash);
    saga.phases.push(saga.state.phase);
    return { verdict: 'accepted', saga: { sagaId, sagaIndex: index, phase: saga.state.phase } };
  }

  #judgeSlots({ hash }: AuditEvent, { sagaId, index, event }: SlotsEntry): Judgement {
    if (!this.#isCommanded(event)) {
      return refused('SLOTS_NOT_COMMANDED', 'no entry of a rotation commands this');
    }
    const step = stepSlots(this.#slots, event);
    if ('rejected' in step) return refused(step.rejected, step.reason);
    this.#slots = step.state;
    this.#ledger.push(hash);
    return { verdict: 'accepted', saga: { sagaId, sagaIndex: index } };
  }

  /** Whether the rotation waits for exactly this: nobody else takes its slots, or gives them away. */
  #isCommanded(event: SlotsEvent): boolean {
    const outstanding = this.rotation(event.sagaId)?.outstanding ?? [];
    return outstanding.some((command) => {
      if (!('sagaIndex' in command) || command.sagaIndex !== event.sagaIndex) return false;
      return event.type === 'slots-reserved'
        ? command.type === 'reserve-slots' && sameMembers(command.slots, event.slots)
        : command.type === 'release-slots';
    });
  }

  #holdsSlots(sagaId: string): boolean {
    const held = this.#slots.held.filter((hold) => hold.sagaId === sagaId).map(({ slot }) => slot);
    const wanted = this.rotation(sagaId)?.slots ?? [];
    return wanted.every(({ slot }) => held.includes(slot));
  }

  #entriesOf(sagaId: string): readonly string[] {
    return this.#sagas.get(sagaId)?.entries ?? [];
  }

  #know(event: AuditEvent): void {
    const { hash, leafIndex, sender, announced, content } = event;
    const consumable = content.status === 'read' ? consumableOf(event, content.body) : undefined;
    this.#leaves.set(hash, {
      leafIndex,
      type: announced.type,
      senderId: sender.agentId,
      timeMs: announced.timeMs,
      ...(consumable === undefined ? {} : { consumable }),
    });
  }
}

function refused(code: JudgementCode, reason: string): Judgement {
  return { verdict: 'refused', code, reason };
}
