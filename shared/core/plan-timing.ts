/**
 * When a plan may run at all, by the policy: a scheduled rotation where the schedule comes round, an
 * emergency before its time is over, and nothing planned for later than the age of its keys allows.
 * The planner makes plans by these rules; the signer holds them against the first two by itself. How
 * old a key is only its layer knows, so the third is the planner's and the live check's.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import { occursWithin } from '#schemas/schedule.ts';
import { formatInstant, instantMs } from './instant.ts';
import { overAgeAtMs } from './key-ages.ts';
import { windowOf } from './plan-window.ts';

export interface TimingFault {
  readonly code: OrchCode;
  /** Field of the policy that stands against it, or the slot. */
  readonly subject: string;
  readonly reason: string;
}

/** From the making of a plan to the signer's word on it, and to its first entry, at the longest. */
export const planningMs = 60_000;

/** When an emergency that was asked for at `requestedAtMs` must be over. */
export function emergencyDeadlineMs(policy: PolicyBody, requestedAtMs: number): number {
  return requestedAtMs + policy.policies.key_lifecycle.emergency_rotation_sla_minutes * 60_000;
}

/** What the policy's times have against a plan that was asked for at `requestedAtMs` (ORCH-8004). */
export function timingFault(
  plan: RotationPlanBody,
  { policy, requestedAtMs }: { readonly policy: PolicyBody; readonly requestedAtMs: number },
): TimingFault | undefined {
  const window = windowOf(plan);
  if (plan.rotation_type === 'scheduled') {
    const { rotation_schedule: schedule } = policy.policies.key_lifecycle;
    return occursWithin(schedule, window)
      ? undefined
      : late('rotation_schedule', `the schedule ${schedule} (UTC) is never due in the window`);
  }
  if (plan.rotation_type !== 'emergency') return undefined;
  const deadlineMs = emergencyDeadlineMs(policy, requestedAtMs);
  const deadline = formatInstant(deadlineMs);
  const subject = 'emergency_rotation_sla_minutes';
  if (instantMs(plan.expires_at) > deadlineMs) {
    return late(subject, `the plan of an emergency would hold beyond ${deadline}`);
  }
  const startMs = Math.max(window.startMs, instantMs(plan.created_at));
  return startMs + plan.estimated_duration_ms > deadlineMs
    ? late(subject, `the emergency would not be over by ${deadline}`)
    : undefined;
}

/**
 * Keys for which a plan comes too late (ORCH-8002): its window opens after they are over age. What is
 * over age already may be turned at once, and only at once.
 */
export function ageFaults(
  plan: RotationPlanBody,
  { inspections, policy }: { inspections: readonly LayerInspection[]; policy: PolicyBody },
): TimingFault[] {
  const { startMs } = windowOf(plan);
  const atOnceMs = instantMs(plan.created_at) + policy.policies.rotation.clock_skew_ms;
  return plan.affected_keys.flatMap(({ slot, members }): TimingFault[] => {
    const owner = members.find(({ role }) => role === 'owner')?.agent_id;
    const status = inspections
      .find(({ agentId }) => agentId === owner)
      ?.slots.find((one) => one.slot === slot);
    const overMs = status === undefined ? undefined : overAgeAtMs(status, policy);
    if (overMs === undefined || startMs <= Math.max(overMs, atOnceMs)) return [];
    const reason = `${slot} is over age from ${formatInstant(overMs)}, before the window opens`;
    return [{ code: 'ORCH-8002', subject: slot, reason }];
  });
}

function late(subject: string, reason: string): TimingFault {
  return { code: 'ORCH-8004', subject, reason };
}
