/**
 * How old the primary keys are against the policy's `max_key_age_days`, by the age rule of each slot
 * (`schemas/layers.ts`). A key is due in the last tenth of its time and overdue after it.
 */

import { slotDefinitions, type AgeRule } from '#schemas/layers.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { SlotStatus } from '#schemas/steps.ts';

export interface KeyAge {
  readonly slot: string;
  readonly rule: AgeRule;
  readonly overAgeAtMs: number;
  readonly state: 'fresh' | 'due' | 'overdue';
}

type AgedSlot = Pick<SlotStatus, 'slot' | 'activatedAtMs'>;

const dayMs = 24 * 3_600_000;
const duePart = 0.1;
const rules = new Map(slotDefinitions.map(({ slot, ageRule }) => [slot, ageRule]));

/** One entry per slot that has an age rule, in the order given. */
export function keyAges(slots: readonly AgedSlot[], policy: PolicyBody, nowMs: number): KeyAge[] {
  return slots.flatMap((status) => {
    const { slot } = status;
    const rule = rules.get(slot);
    const overMs = overAgeAtMs(status, policy);
    if (rule === undefined || overMs === undefined) return [];
    const dueMs = overMs - duePart * (overMs - status.activatedAtMs);
    const state = nowMs >= overMs ? 'overdue' : nowMs >= dueMs ? 'due' : 'fresh';
    return [{ slot, rule, overAgeAtMs: overMs, state }];
  });
}

/** From when on a slot's primary key is older than its rule allows; undefined for unknown slots. */
export function overAgeAtMs(
  { slot, activatedAtMs }: AgedSlot,
  policy: PolicyBody,
): number | undefined {
  const rule = rules.get(slot);
  if (rule === undefined) return undefined;
  return activatedAtMs + policy.policies.key_lifecycle.max_key_age_days[rule] * dayMs;
}
