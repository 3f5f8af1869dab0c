/**
 * What an entry of a saga rests on. Everything that an entry consumed must be an accepted leaf before
 * it and must say what the entry makes of it: reports equal the report events, an approval is by the
 * operator and over the plan's exact digest, documents are signed and about this plan. An orchestrator
 * that was stolen cannot make up any of it (invariants 2, 5 and 10).
 */

import type {
  ExecutionRequested,
  PlanApproved,
  RecoveryApproved,
  RecoveryRequested,
  RollbackRequested,
  RotationRequested,
  StepReported,
} from '#schemas/steps.ts';
import type { SignedDocument } from '#schemas/document.ts';
import type { HealingActionRequested } from '#schemas/healing.ts';
import type { RotationEvent, SagaEntry, StepReport } from '#schemas/saga.ts';
import { sameData } from './equality.ts';

/** Bodies of the events that entries consume; others are known by name alone. */
export type ConsumableBody =
  | { readonly type: 'rotation-requested'; readonly body: RotationRequested }
  | { readonly type: 'healing-action-requested'; readonly body: HealingActionRequested }
  | { readonly type: 'plan-approved'; readonly body: PlanApproved }
  | { readonly type: 'execution-requested'; readonly body: ExecutionRequested }
  | { readonly type: 'rollback-requested'; readonly body: RollbackRequested }
  | { readonly type: 'recovery-requested'; readonly body: RecoveryRequested }
  | { readonly type: 'recovery-approved'; readonly body: RecoveryApproved }
  | { readonly type: 'step-reported'; readonly body: ReportFacts };

/** A report as entries repeat it: without public keys and proofs. */
export type ReportFacts = Omit<StepReport, 'report' | 'agentId'> & {
  readonly sagaId: string;
  readonly planDigest: string;
};

/** An accepted leaf. */
export interface KnownLeaf {
  readonly leafIndex: number;
  readonly type: string;
  readonly senderId: string;
  /** Of the event, by its sender. */
  readonly timeMs: number;
  /** Undefined for types that no entry takes anything from, and for leaves without content. */
  readonly consumable?: ConsumableBody;
}

export type EvidenceCode =
  /** A consumed event is not an accepted leaf before the entry. */
  | 'CONSUMED_UNKNOWN'
  /** What the entry says of a consumed event is not what the event says. */
  | 'CONSUMED_DIFFERS'
  /** The entry does not name the event that it rests on. */
  | 'CONSUMED_MISSING'
  /** The entry names an event that it does not rest on. */
  | 'CONSUMED_SURPLUS'
  /** A document is not signed by the orchestration role, or is about something else. */
  | 'DOCUMENT_INVALID'
  /** A member is said to be revoked that no document before the entry revokes. */
  | 'NOT_REVOKED';

export interface EvidenceMisfit {
  readonly code: EvidenceCode;
  readonly reason: string;
}

export interface EvidenceContext {
  readonly leafOf: (hash: string) => KnownLeaf | undefined;
  /** Whether the orchestration role signed the document. */
  readonly isSigned: (document: SignedDocument<{ kind: string }>) => boolean;
  /** SHA3-256 of a document's body, hexadecimal. */
  readonly digestOf: (document: SignedDocument<{ kind: string }>) => string;
  /** Digest of the saga's plan, and the event that asked for it; undefined before its first entry. */
  readonly planDigest: string | undefined;
  readonly request: string | undefined;
  /** Times that the saga was locked out so far. */
  readonly lockouts: number;
  /** Whether a revocation of the agent was adopted before the entry. */
  readonly isRevoked: (agentId: string) => boolean;
}

type RotationEntry = Extract<SagaEntry, { saga: 'rotation' }>;
type OperatorEvent = Exclude<
  ConsumableBody['type'],
  'step-reported' | 'rotation-requested' | 'healing-action-requested'
>;

/** The facts of a report event, without what only its receiver needs. */
export function reportFacts(body: StepReported): ReportFacts {
  const { commandId, sagaId, planDigest, operation, status, code, reason, slots } = body;
  return {
    commandId,
    sagaId,
    planDigest,
    operation,
    status,
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason }),
    slots: slots.map(({ publicKey: _key, proof: _proof, ...outcome }) => outcome),
  };
}

/** Whether every consumed event of any entry is an accepted leaf before it. */
export function consumedMisfit(
  consumed: readonly string[],
  leafOf: EvidenceContext['leafOf'],
): EvidenceMisfit | undefined {
  if (new Set(consumed).size !== consumed.length) {
    return misfit('CONSUMED_DIFFERS', 'an event is consumed twice');
  }
  const unknown = consumed.find((hash) => leafOf(hash) === undefined);
  return unknown === undefined
    ? undefined
    : misfit('CONSUMED_UNKNOWN', `the consumed event ${unknown} is not known`);
}

/** The first thing about a rotation's entry that its evidence does not bear out, or undefined. */
export function evidenceMisfit(
  entry: RotationEntry,
  context: EvidenceContext,
): EvidenceMisfit | undefined {
  const misfitting = contentMisfit(entry, context);
  if (misfitting !== undefined) return misfitting;
  const surplus = entry.consumed.find((hash) => !restsOn(entry, context, hash));
  return surplus === undefined
    ? undefined
    : misfit('CONSUMED_SURPLUS', `the entry does not rest on ${surplus}`);
}

/**
 * Whether an entry can rest on a consumed event. What is consumed counts as answered, so that an entry
 * that names the request of somebody else would make it vanish.
 */
function restsOn(
  { sagaId, event }: RotationEntry,
  context: EvidenceContext,
  hash: string,
): boolean {
  const consumable = context.leafOf(hash)?.consumable;
  switch (event.type) {
    case 'plan-drafted':
      return hash === event.plan.body.request;
    case 'reports-received':
      return event.reports.some(({ report }) => report === hash);
    case 'commit-decided':
      return event.commit.body.reports.includes(hash);
    case 'approval-recorded':
    case 'execution-requested':
    case 'dry-run-completed':
    case 'rollback-requested':
    case 'recovery-requested':
    case 'recovery-approved':
    case 'execution-authorized':
    case 'recovery-authorized':
      // A healing action asks for the plan and for its execution in one.
      if (consumable?.type === 'healing-action-requested') return hash === context.request;
      return (
        consumable !== undefined && 'planId' in consumable.body && consumable.body.planId === sagaId
      );
    case 'plan-validated':
    case 'plan-refused':
    case 'execution-refused':
    case 'slots-reserved':
    case 'statement-refused':
    case 'timer-fired':
    case 'slots-released':
    case 'members-revoked':
      return false;
  }
}

function contentMisfit(entry: RotationEntry, context: EvidenceContext): EvidenceMisfit | undefined {
  const { event } = entry;
  switch (event.type) {
    case 'plan-drafted':
      return planMisfit(entry, event, context);
    case 'approval-recorded':
      return operatorMisfit(entry, context, 'plan-approved', event.operatorId);
    case 'execution-requested':
      return executionMisfit(entry, context, event.operatorId);
    case 'dry-run-completed':
      return operatorMisfit(entry, context, 'execution-requested', event.operatorId, true);
    case 'rollback-requested':
      return operatorMisfit(entry, context, 'rollback-requested', event.operatorId);
    case 'recovery-requested':
      return operatorMisfit(entry, context, 'recovery-requested', event.operatorId);
    case 'recovery-approved':
      return operatorMisfit(entry, context, 'recovery-approved', event.operatorId);
    case 'reports-received':
      return reportsMisfit(entry, event.reports, context);
    case 'execution-authorized':
    case 'recovery-authorized':
      return statementMisfit(event.authorization, context, approvalsOf(event.authorization.body));
    case 'commit-decided':
      return statementMisfit(event.commit, context, event.commit.body.reports);
    case 'members-revoked':
      return revocationMisfit(event.agentIds, context);
    case 'plan-validated':
    case 'plan-refused':
    case 'execution-refused':
    case 'slots-reserved':
    case 'statement-refused':
    case 'timer-fired':
    case 'slots-released':
      return undefined;
  }
}

function planMisfit(
  entry: RotationEntry,
  { plan }: Extract<RotationEvent, { type: 'plan-drafted' }>,
  context: EvidenceContext,
): EvidenceMisfit | undefined {
  if (!context.isSigned(plan)) return misfit('DOCUMENT_INVALID', 'the plan is not signed');
  if (plan.body.rotation_plan_id !== entry.sagaId) {
    return misfit('DOCUMENT_INVALID', 'the plan is of another saga');
  }
  if (!entry.consumed.includes(plan.body.request)) {
    return misfit('CONSUMED_MISSING', 'the request of the plan is not consumed');
  }
  const request = context.leafOf(plan.body.request);
  const asked =
    request?.consumable?.type === 'rotation-requested' ||
    request?.consumable?.type === 'healing-action-requested';
  return asked && request.senderId === plan.body.requested_by
    ? undefined
    : misfit('CONSUMED_DIFFERS', 'the request is not the one that the plan names');
}

/** Asked for by an operator, or by the healing action that the plan rests on. */
function executionMisfit(
  entry: RotationEntry,
  context: EvidenceContext,
  operatorId: string,
): EvidenceMisfit | undefined {
  const [hash, ...others] = entry.consumed;
  const leaf = hash === undefined ? undefined : context.leafOf(hash);
  if (leaf?.consumable?.type !== 'healing-action-requested') {
    return operatorMisfit(entry, context, 'execution-requested', operatorId, false);
  }
  return others.length === 0 && hash === context.request && leaf.senderId === operatorId
    ? undefined
    : misfit('CONSUMED_DIFFERS', 'the healing action asked for another plan');
}

/** The entry names exactly one event of that type, by that operator, over this exact plan. */
function operatorMisfit(
  entry: RotationEntry,
  context: EvidenceContext,
  type: OperatorEvent,
  operatorId: string,
  dryRun?: boolean,
): EvidenceMisfit | undefined {
  const leaves = entry.consumed.map((hash) => context.leafOf(hash));
  const [leaf, ...others] = leaves.filter((known) => known?.type === type);
  if (leaf?.consumable === undefined || others.length > 0 || leaves.length > 1) {
    return misfit('CONSUMED_MISSING', `the entry rests on one ${type} event`);
  }
  const { consumable } = leaf;
  if (!('planId' in consumable.body)) {
    return misfit('CONSUMED_DIFFERS', `the consumed event is no ${type}`);
  }
  const { planId, planDigest } = consumable.body;
  const isDryRun = consumable.type === 'execution-requested' ? consumable.body.dryRun : undefined;
  const isOfLockout =
    consumable.type !== 'recovery-approved' || consumable.body.lockout === context.lockouts;
  const holds =
    isOfLockout &&
    leaf.senderId === operatorId &&
    planId === entry.sagaId &&
    planDigest === context.planDigest &&
    isDryRun === dryRun;
  return holds
    ? undefined
    : misfit('CONSUMED_DIFFERS', `the ${type} event is not over this plan, or by someone else`);
}

function reportsMisfit(
  entry: RotationEntry,
  reports: readonly StepReport[],
  context: EvidenceContext,
): EvidenceMisfit | undefined {
  const consumed = new Set(entry.consumed);
  for (const { report, agentId, ...facts } of reports) {
    if (!consumed.has(report))
      return misfit('CONSUMED_MISSING', `report ${report} is not consumed`);
    const leaf = context.leafOf(report);
    if (leaf?.consumable?.type !== 'step-reported' || leaf.senderId !== agentId) {
      return misfit('CONSUMED_DIFFERS', `${report} is no report of ${agentId}`);
    }
    const { sagaId, planDigest, ...reported } = leaf.consumable.body;
    const isOurs = sagaId === entry.sagaId && planDigest === context.planDigest;
    if (!isOurs || !sameData(reported, facts)) {
      return misfit('CONSUMED_DIFFERS', `the entry differs from report ${report}`);
    }
  }
  return undefined;
}

function statementMisfit(
  document: SignedDocument<{ kind: string; plan_digest: string; rotation_plan_id: string }>,
  context: EvidenceContext,
  events: readonly string[],
): EvidenceMisfit | undefined {
  const { kind, plan_digest: planDigest } = document.body;
  if (!context.isSigned(document)) return misfit('DOCUMENT_INVALID', `the ${kind} is not signed`);
  if (planDigest !== context.planDigest) {
    return misfit('DOCUMENT_INVALID', `the ${kind} is about another plan`);
  }
  return consumedMisfit(events, context.leafOf);
}

/** An orchestrator's word puts nobody out: the trust documents of the log do. */
function revocationMisfit(
  agentIds: readonly string[],
  { isRevoked }: EvidenceContext,
): EvidenceMisfit | undefined {
  const other = agentIds.find((agentId) => !isRevoked(agentId));
  return other === undefined
    ? undefined
    : misfit('NOT_REVOKED', `no document before the entry revokes ${other}`);
}

function approvalsOf(body: { approvals: readonly { event: string }[] }): string[] {
  return body.approvals.map(({ event }) => event);
}

function misfit(code: EvidenceCode, reason: string): EvidenceMisfit {
  return { code, reason };
}
