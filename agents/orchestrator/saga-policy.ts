/** By which policy a rotation is judged: the one that it began under, unless a later one applies at once. */

import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { TrustView } from '#shared/crypto/trust.ts';

export function policyOfSaga(trust: TrustView, { basis }: RotationPlanBody): PolicyBody {
  return trust.policyFor(basis.policy_digest) ?? trust.policy;
}
