/**
 * Whether a plan that rests on a healing action may begin, by what the audit knows of others that did:
 * orchestrators decide by the same rules, each by what it has read so far; this verdict is the one that
 * counts, so that two of them never begin two. The pause between two such rotations goes by the times of
 * plans, which the signer holds against its own clock, and an entry that is dated otherwise begins
 * nothing: an orchestrator that was stolen does not make it shorter.
 */

import type { HealingActionRequested } from '#schemas/healing.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { KnownLeaf } from './audit-evidence.ts';
import { claimShortfall, healingKeysGone, healingRotationOf, healingShortfall } from './healing.ts';
import { instantMs } from './instant.ts';
import { planningMs } from './plan-timing.ts';
import type { RotationState } from './rotation/state.ts';

export type HealingCode =
  /** A rotation for a healing action while another one runs, or soon after it. */
  | 'HEALING_CONFLICT'
  /** The action was answered by a plan before, is old, or is signed by a key that is gone. */
  | 'HEALING_SPENT'
  /** The entry is dated otherwise than its event and its plan. */
  | 'HEALING_MISDATED';

export interface HealingMisfit {
  readonly code: HealingCode;
  readonly reason: string;
}

export interface HealingContext {
  readonly leafOf: (hash: string) => KnownLeaf | undefined;
  /** All that have begun before. */
  readonly rotations: readonly RotationState[];
  readonly policy: PolicyBody;
  /** Time of the entry, and of the event that carries it. */
  readonly atMs: number;
  readonly announcedMs: number;
}

/** What speaks against the plan, or undefined; also for plans that rest on no healing action. */
export function healingMisfit(
  plan: RotationPlanBody,
  context: HealingContext,
): HealingMisfit | undefined {
  const { leafOf, rotations, policy, atMs } = context;
  const asked = askedBy(plan, leafOf);
  if (asked === undefined) return undefined;
  const misdated = dateMisfit(plan, context);
  if (misdated !== undefined) return { code: 'HEALING_MISDATED', reason: misdated };
  const others = rotations.filter((each) => askedBy(each.plan.body, leafOf) !== undefined);
  const spent = spentBy(asked, { others, context });
  if (spent !== undefined) return { code: 'HEALING_SPENT', reason: spent };
  const conflict = healingShortfall(plan.affected_layers, {
    others: others.map(healingRotationOf),
    policy,
    nowMs: Math.min(atMs, instantMs(plan.created_at)),
  });
  return conflict && { code: 'HEALING_CONFLICT', reason: conflict.reason };
}

interface Asked {
  readonly timeMs: number;
  readonly body: HealingActionRequested;
}

/** The healing action that a plan rests on, or undefined. */
function askedBy(
  { request }: RotationPlanBody,
  leafOf: HealingContext['leafOf'],
): Asked | undefined {
  const leaf = leafOf(request);
  if (leaf?.consumable?.type !== 'healing-action-requested') return undefined;
  return { timeMs: leaf.timeMs, body: leaf.consumable.body };
}

/** Between a plan, its entry and the event of that lies no more than planning takes. */
function dateMisfit(
  plan: RotationPlanBody,
  { policy, atMs, announcedMs }: HealingContext,
): string | undefined {
  const { clock_skew_ms: skewMs } = policy.policies.rotation;
  const follows = (laterMs: number, earlierMs: number): boolean =>
    laterMs >= earlierMs - skewMs && laterMs <= earlierMs + skewMs + planningMs;
  if (!follows(announcedMs, atMs)) return 'the entry is dated otherwise than its event';
  return follows(atMs, instantMs(plan.created_at))
    ? undefined
    : 'the entry is dated otherwise than its plan';
}

/** Why an action asks for nothing any more, or undefined. */
function spentBy(
  { timeMs, body: { claim, signature } }: Asked,
  {
    others,
    context: { leafOf, rotations, policy },
  }: { readonly others: readonly RotationState[]; readonly context: HealingContext },
): string | undefined {
  const before = others.find(
    ({ plan }) => askedBy(plan.body, leafOf)?.body.claim.actionId === claim.actionId,
  );
  if (before !== undefined) return `${claim.actionId} was answered by ${before.sagaId}`;
  if (healingKeysGone(rotations).has(signature.keyId)) {
    return 'the key that signed the claim is gone';
  }
  return claimShortfall(claim, { timeMs, policy });
}
