/**
 * Whether a plan that rests on a healing action may begin, by what the audit knows of others that did:
 * orchestrators decide by the same rule, each by what it has read so far; this verdict is the one that
 * counts, so that two of them never begin two.
 */

import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { KnownLeaf } from './audit-evidence.ts';
import { healingRotationOf, healingShortfall } from './healing.ts';
import type { RotationState } from './rotation/state.ts';

export interface HealingContext {
  readonly leafOf: (hash: string) => KnownLeaf | undefined;
  readonly rotations: readonly RotationState[];
  readonly policy: PolicyBody;
  /** Time of the entry. */
  readonly nowMs: number;
}

/** Why it may not, or undefined. */
export function healingMisfit(
  plan: RotationPlanBody,
  { leafOf, rotations, policy, nowMs }: HealingContext,
): string | undefined {
  const isHealing = ({ request }: RotationPlanBody): boolean =>
    leafOf(request)?.type === 'healing-action-requested';
  if (!isHealing(plan)) return undefined;
  const others = rotations.filter((each) => isHealing(each.plan.body)).map(healingRotationOf);
  return healingShortfall(plan.affected_layers, { others, policy, nowMs })?.reason;
}
