/** By which policy a rotation is judged: the one that it began under, unless a later one applies at once. */

import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RotationInput, RotationState, RotationStep } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import type { TrustView } from '#shared/crypto/trust.ts';

export function policyOfSaga(trust: TrustView, { basis }: RotationPlanBody): PolicyBody {
  return trust.policyFor(basis.policy_digest) ?? trust.policy;
}

/**
 * What an entry led to that an auditor took: by the policy that was in force at its leaf, which need not
 * be the one by which the rotation is judged now. Of those that it was judged by at some time, it is
 * the one that leads to the phase which the receipt names.
 */
export function stepTaken(
  trust: TrustView,
  state: RotationState,
  { input, phase }: { readonly input: RotationInput; readonly phase: string | undefined },
): RotationStep {
  const policies = trust.policiesFor(state.plan.body.basis.policy_digest);
  const newest = stepRotation(state, input, policies.at(-1) ?? trust.policy);
  if (policies.length < 2) return newest;
  const steps = policies.map((policy) => stepRotation(state, input, policy));
  const isTaken = (step: RotationStep): boolean =>
    !('rejected' in step) && (phase === undefined || step.state.phase === phase);
  return steps.find(isTaken) ?? newest;
}
