/**
 * An event whose signature, sender and body were checked by whoever hands it in, and what such events
 * prove: reports of the right agents about the right plan, and approvals of operators.
 */

import type { EventBody, EventTypeName } from '#schemas/events.ts';
import type { ReportedSlot, StepReported } from '#schemas/steps.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPlanBody, SlotMember } from '#schemas/plan.ts';
import type { StepOperation } from '#schemas/saga.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { approvalsRequired, factorShortfall, type OperatorFactors } from './approvals.ts';
import type { PolicyBody } from '#schemas/policy.ts';

interface VerifiedHead {
  /** Statement hash, hexadecimal. */
  readonly hash: string;
  readonly senderId: string;
  readonly senderKind: AgentKind;
  /** For layer agents. */
  readonly senderLayer?: number;
  /** As enrolled; absent where there are none. */
  readonly senderCapabilities?: readonly string[];
  readonly timeMs: number;
}

type VerifiedOf<Name extends EventTypeName> = VerifiedHead & {
  readonly type: Name;
  readonly body: EventBody<Name>;
};

export type VerifiedEvent = { [Name in EventTypeName]: VerifiedOf<Name> }[EventTypeName];

/** What a plan's reports and approvals must name. */
export interface PlanIdentity {
  readonly plan: RotationPlanBody;
  readonly planDigest: string;
}

/** One member's word on one slot. */
export interface MemberReport {
  readonly hash: string;
  readonly agentId: string;
  readonly outcome: ReportedSlot;
}

/** Reports `done` of an operation on a slot by those members of it whom the plan names. */
export function memberReports(
  evidence: readonly VerifiedEvent[],
  { plan, planDigest }: PlanIdentity,
  { slot, operation }: { readonly slot: string; readonly operation: StepOperation },
): MemberReport[] {
  const members = membersOf(plan, slot);
  return evidence.flatMap((event) => {
    if (event.type !== 'step-reported' || event.senderKind !== 'layer') return [];
    const member = members.find(({ agent_id }) => agent_id === event.senderId);
    if (member === undefined || member.layer !== event.senderLayer) return [];
    if (!isDone(event.body, { plan, planDigest }) || event.body.operation !== operation) return [];
    return event.body.slots
      .filter((outcome) => outcome.slot === slot)
      .map((outcome) => ({ hash: event.hash, agentId: event.senderId, outcome }));
  });
}

export function membersOf(plan: RotationPlanBody, slot: string): readonly SlotMember[] {
  return plan.affected_keys.find((key) => key.slot === slot)?.members ?? [];
}

/** The layer whose agent owns the slot, and its owner. */
export function ownerOf(plan: RotationPlanBody, slot: string): string | undefined {
  return membersOf(plan, slot).find(({ role }) => role === 'owner')?.agent_id;
}

/** A slot's new key as its owner reported it, or undefined when reports are missing or differ. */
export function preparedKey(
  evidence: readonly VerifiedEvent[],
  identity: PlanIdentity,
  slot: string,
): ReportedSlot | undefined {
  const owner = ownerOf(identity.plan, slot);
  const [first, ...others] = memberReports(evidence, identity, {
    slot,
    operation: 'prepare',
  }).filter(({ agentId }) => agentId === owner);
  if (first === undefined) return undefined;
  return others.every(({ outcome }) => isSameKey(outcome, first.outcome))
    ? first.outcome
    : undefined;
}

export function isSameKey(one: ReportedSlot, other: ReportedSlot): boolean {
  return (
    one.keyId === other.keyId &&
    one.version === other.version &&
    one.publicDigest === other.publicDigest
  );
}

/**
 * Operators who approved this very plan, each once, without the one who requested it and without
 * those whose enrolment lacks what the policy asks for.
 */
export function planApprovals(
  evidence: readonly VerifiedEvent[],
  { plan, planDigest }: PlanIdentity,
  policy: PolicyBody,
): { readonly operator: string; readonly event: string }[] {
  const approvals = new Map<string, string>();
  for (const event of evidence) {
    if (event.type !== 'plan-approved' || event.senderKind !== 'operator') continue;
    const isBound =
      event.body.planDigest === planDigest && event.body.planId === plan.rotation_plan_id;
    if (!isBound || event.senderId === plan.requested_by || approvals.has(event.senderId)) continue;
    if (factorShortfall(operatorOf(event), plan.affected_layers, policy) !== undefined) continue;
    approvals.set(event.senderId, event.hash);
  }
  return [...approvals].map(([operator, event]) => ({ operator, event }));
}

/** Who sent an event, as far as the policy asks about operators. */
export function operatorOf(event: VerifiedEvent): OperatorFactors {
  return { agentId: event.senderId, capabilities: event.senderCapabilities ?? [] };
}

/** Why the approvals do not suffice, or undefined. */
export function approvalShortfall(
  evidence: readonly VerifiedEvent[],
  identity: PlanIdentity,
  policy: PolicyBody,
): string | undefined {
  const needed = approvalsRequired(identity.plan, policy);
  const count = planApprovals(evidence, identity, policy).length;
  return count >= needed ? undefined : `${count} of ${needed} approvals of this plan`;
}

/** Whether a member may be missing: a verifier, where plan and policy fence silent ones out. */
export function mayBeFenced(
  plan: RotationPlanBody,
  policy: PolicyBody,
  { role }: Pick<SlotMember, 'role'>,
): boolean {
  return (
    role === 'verifier' &&
    plan.silent_member === 'fence' &&
    policy.policies.rotation.silent_member === 'fence'
  );
}

export function layerOfSlot(plan: RotationPlanBody, slot: string): LayerNumber | undefined {
  return plan.affected_keys.find((key) => key.slot === slot)?.layer;
}

function isDone(report: StepReported, { plan, planDigest }: PlanIdentity): boolean {
  return (
    report.status === 'done' &&
    report.planDigest === planDigest &&
    report.sagaId === plan.rotation_plan_id
  );
}
