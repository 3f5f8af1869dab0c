/**
 * How many approvals something needs, and whose count. The plan says it and the policy says it; the
 * higher number counts, so that neither a careless plan nor a policy that was relaxed afterwards lowers
 * it. Where identity keys are turned, the policy may ask for operators with more than one factor.
 */

import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';

/** Approvers beside the requester, who never counts. */
export function approvalsRequired(plan: RotationPlanBody, policy: PolicyBody): number {
  return Math.max(plan.approvals_required, policy.policies.rotation.approvals[plan.rotation_type]);
}

/** Approvers of a recovery beside the one who requested it. */
export function recoveryApprovalsRequired(policy: PolicyBody): number {
  return Math.max(1, policy.policies.rotation.approvals.recovery);
}

/** As many as documents can name. */
export const approvalsMax = 16;

/** Capability in the enrolment of an operator whose key is used with a second factor. */
export const factorsCapability = 'mfa';

/** An operator and what the enrolment says of it. */
export interface OperatorFactors {
  readonly agentId: string;
  readonly capabilities: readonly string[];
}

/**
 * Why an operator may neither ask for, approve nor execute a rotation of these layers (ORCH-8015), or
 * undefined. Asking for a rollback needs no second factor: it only leads back.
 */
export function factorShortfall(
  { agentId, capabilities }: OperatorFactors,
  layers: readonly number[],
  policy: PolicyBody,
): string | undefined {
  const isAsked = policy.policies.layer_specific.layer_1.mfa_required && layers.includes(1);
  return isAsked && !capabilities.includes(factorsCapability)
    ? `${agentId} is not enrolled with ${factorsCapability}, which rotations of layer 1 ask for`
    : undefined;
}
