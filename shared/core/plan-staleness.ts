/**
 * Why a plan that waits to be approved or executed can no longer run, by what an orchestrator knows
 * without asking anybody: its time is over, documents that it was made from have changed, or another
 * rotation has turned one of its keys since. An execution would be refused for it (ORCH-8004), so
 * people are told before they approve. Nothing is decided by it: what is live decides at execution.
 */

import type { PlanFault } from './plan-faults.ts';
import { digestDifferences, timeDifferences, type DocumentDigests } from './planner.ts';
import type { RotationState } from './rotation/state.ts';

/**
 * Of each slot the commit that was decided last. Versions alone say nothing: those of a slot begin again
 * where it is another adapter's or another owner's by now.
 */
export type TurnedSlots = ReadonlyMap<string, Turn>;

interface Turn {
  readonly planId: string;
  readonly version: number;
  readonly decidedAtMs: number;
}

const waiting: ReadonlySet<RotationState['phase']> = new Set(['drafted', 'validated', 'approved']);

export function turnedSlots(rotations: readonly RotationState[]): TurnedSlots {
  const turned = new Map<string, Turn>();
  for (const { decision, decidedAtMs, sagaId: planId, slots } of rotations) {
    if (decision !== 'commit' || decidedAtMs === null) continue;
    for (const { slot, candidate } of slots) {
      if (candidate === null || decidedAtMs < (turned.get(slot)?.decidedAtMs ?? 0)) continue;
      turned.set(slot, { planId, version: candidate.version, decidedAtMs });
    }
  }
  return turned;
}

/** The first reason, or undefined while the plan may still run. */
export function staleness(
  { phase, beganAtMs, plan: { body } }: RotationState,
  {
    turned,
    digests,
    nowMs,
  }: {
    /** Asked for only where it matters. */
    readonly turned: () => TurnedSlots;
    readonly digests: DocumentDigests;
    readonly nowMs: number;
  },
): PlanFault | undefined {
  if (!waiting.has(phase)) return undefined;
  const [late] = [...timeDifferences(body, nowMs), ...digestDifferences(body, digests)];
  if (late !== undefined) return late;
  const turnedSince = turned();
  for (const { slot, version } of body.affected_keys) {
    const since = turnedSince.get(slot);
    if (since === undefined || since.decidedAtMs < beganAtMs || since.version <= version) continue;
    const reason = `${since.planId} has turned ${slot} since, to version ${since.version}`;
    return { code: 'ORCH-8004', subject: slot, reason };
  }
  return undefined;
}
