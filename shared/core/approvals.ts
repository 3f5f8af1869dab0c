/**
 * How many approvals something needs. The plan says it and the policy says it; the higher number
 * counts, so that neither a careless plan nor a policy that was relaxed afterwards lowers it.
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
