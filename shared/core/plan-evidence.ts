/**
 * Whether a plan may be stated: an operator, or layer 7 by a healing action, asked for exactly this, it is whole in itself, it rests on
 * the documents in force, it names every member of its slots, every key's algorithm is allowed, and nothing in it is laxer than the policy
 * (ORCH-8002, 8003, 8004, 8008, 8015).
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import type { RotationRequested } from '#schemas/steps.ts';
import { factorShortfall } from './approvals.ts';
import { sameData, sameMembers } from './equality.ts';
import { isHealingRequest, requestOfClaim } from './healing.ts';
import { instantMs } from './instant.ts';
import { planFaults } from './plan-faults.ts';
import { memberShortfall, type LayerAgent } from './plan-members.ts';
import { planningMs, timingFault } from './plan-timing.ts';
import { windowOf } from './plan-window.ts';
import type { DocumentDigests } from './planner.ts';
import { policyAllows } from './policy.ts';
import { operatorOf, type VerifiedEvent } from './verified-event.ts';

export interface PlanCheck {
  readonly evidence: readonly VerifiedEvent[];
  readonly policy: PolicyBody;
  readonly registry: RegistryBody;
  readonly digests: DocumentDigests;
  /** All enrolled layer agents that are not revoked. */
  readonly agents: readonly LayerAgent[];
  readonly nowMs: number;
}

export interface PlanShortfall {
  readonly code: OrchCode;
  readonly reason: string;
}

export function planShortfall(plan: RotationPlanBody, check: PlanCheck): PlanShortfall | undefined {
  const [fault] = planFaults(plan);
  if (fault !== undefined) return refuse(fault.code, `${fault.subject}: ${fault.reason}`);
  return (
    requestShortfall(plan, check) ??
    basisShortfall(plan, check.digests) ??
    membersShortfall(plan, check) ??
    timeShortfall(plan, check) ??
    ruleShortfall(plan, check.policy) ??
    scheduleShortfall(plan, check) ??
    algorithmShortfall(plan, check)
  );
}

function requestShortfall(
  plan: RotationPlanBody,
  { evidence, policy, agents }: PlanCheck,
): PlanShortfall | undefined {
  const event = evidence.find(({ hash }) => hash === plan.request);
  const body = requestIn(event, agents);
  if (event === undefined || body === undefined) {
    return refuse('ORCH-8015', 'nobody who may has asked for this plan');
  }
  const { senderId } = event;
  const isMatching =
    senderId === plan.requested_by &&
    body.rotationType === plan.rotation_type &&
    body.reason === plan.reason &&
    sameMembers([...new Set(body.layers)], plan.affected_layers);
  if (!isMatching) return refuse('ORCH-8015', 'the plan is not what was asked for');
  // Second factors are asked of operators. Whoever approves what layer 7 asked for needs them too.
  const factors = isHealingRequest(event)
    ? undefined
    : factorShortfall(operatorOf(event), plan.affected_layers, policy);
  if (factors !== undefined) return refuse('ORCH-8015', factors);
  const window = windowOf(plan);
  const isInside =
    window.startMs >= (body.windowStartMs ?? 0) &&
    window.endMs <= (body.windowEndMs ?? window.endMs);
  return isInside ? undefined : refuse('ORCH-8004', 'outside of the window that was asked for');
}

/** An operator's request, or what a healing action of layer 7 amounts to. */
function requestIn(
  event: VerifiedEvent | undefined,
  agents: PlanCheck['agents'],
): RotationRequested | undefined {
  if (isHealingRequest(event)) return requestOfClaim(event.body.claim, agents);
  return event?.type === 'rotation-requested' && event.senderKind === 'operator'
    ? event.body
    : undefined;
}

function basisShortfall(
  { basis }: RotationPlanBody,
  digests: DocumentDigests,
): PlanShortfall | undefined {
  const isInForce =
    basis.registry_digest === digests.registry &&
    basis.policy_digest === digests.policy &&
    basis.enrolments_digest === digests.enrolments;
  return isInForce ? undefined : refuse('ORCH-8004', 'the plan rests on other documents');
}

function membersShortfall(
  plan: RotationPlanBody,
  { agents }: PlanCheck,
): PlanShortfall | undefined {
  const reason = memberShortfall(plan, agents);
  return reason === undefined ? undefined : refuse('ORCH-8004', reason);
}

function timeShortfall(
  plan: RotationPlanBody,
  { nowMs, policy }: PlanCheck,
): PlanShortfall | undefined {
  const { clock_skew_ms: skewMs, plan_valid_ms: validMs } = policy.policies.rotation;
  const createdMs = instantMs(plan.created_at);
  const expiresMs = instantMs(plan.expires_at);
  if (createdMs > nowMs + skewMs) return refuse('ORCH-8004', 'the plan is from the future');
  // What is dated back would count as turned long ago, by rules that look at what was turned lately.
  if (createdMs < nowMs - skewMs - planningMs) {
    return refuse('ORCH-8004', 'the plan was made long ago');
  }
  if (expiresMs <= nowMs) return refuse('ORCH-8004', 'the plan has expired');
  return expiresMs - createdMs > validMs
    ? refuse('ORCH-8002', 'the plan would hold longer than the policy allows')
    : undefined;
}

function ruleShortfall(plan: RotationPlanBody, policy: PolicyBody): PlanShortfall | undefined {
  const rules = policy.policies.rotation;
  const planned = {
    approvals: plan.approvals_required,
    timing: plan.timing,
    attempts: plan.rollback_plan.attempts_max,
    triggers: plan.rollback_triggers,
    silentMember: plan.silent_member,
  };
  const ruled = {
    approvals: rules.approvals[plan.rotation_type],
    timing: {
      step_timeout_ms: rules.step_timeout_ms,
      step_attempts_max: rules.step_attempts_max,
      soak_ms: rules.soak_ms,
      soak_samples_min: rules.soak_samples_min,
      overlap_ms: rules.overlap_ms,
    },
    attempts: rules.rollback_attempts_max,
    triggers: rules.rollback_triggers,
    silentMember: rules.silent_member,
  };
  return sameData(planned, ruled)
    ? undefined
    : refuse('ORCH-8002', 'the plan runs by other rules than those of the policy');
}

/** By the time of the operator's request, which the evidence holds. */
function scheduleShortfall(
  plan: RotationPlanBody,
  { evidence, policy }: PlanCheck,
): PlanShortfall | undefined {
  const request = evidence.find(({ hash }) => hash === plan.request);
  const requestedAtMs = request?.timeMs ?? instantMs(plan.created_at);
  const fault = timingFault(plan, { policy, requestedAtMs });
  return fault === undefined ? undefined : refuse(fault.code, fault.reason);
}

function algorithmShortfall(
  plan: RotationPlanBody,
  { policy, registry }: PlanCheck,
): PlanShortfall | undefined {
  for (const { slot, algorithm, key_kind: keyKind, layer } of plan.affected_keys) {
    const verdict = policyAllows({ algorithm, keyKind, layer }, { policy, registry });
    if (!verdict.ok) return refuse(verdict.code, `${slot}: ${verdict.reason}`);
  }
  return undefined;
}

function refuse(code: OrchCode, reason: string): PlanShortfall {
  return { code, reason };
}
