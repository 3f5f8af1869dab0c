/**
 * What a rotation waits for where nothing is to be seen: time, or somebody who still uses a key that is
 * to go. Pure functions of what an orchestrator tells.
 */
import type { RotationDetails } from '../answers.ts';
import { clockTime, span, usesText, words } from '../style.ts';
import type { SlotResult } from './result.ts';

type Timing = RotationDetails['plan']['body']['timing'];
type Slot = RotationDetails['state']['slots'][number];

export type Held = Pick<RotationDetails, 'planId' | 'phase' | 'atMs'> & {
  readonly plan: { readonly body: { readonly timing: Pick<Timing, 'soak_ms' | 'overlap_ms'> } };
  /** Absent where only time is asked for. */
  readonly state?: {
    readonly decidedAtMs: number | null;
    readonly slots: readonly Pick<Slot, 'slot' | 'checkpoint' | 'candidate' | 'heldBy'>[];
  };
};

/** What a phase waits for in which nothing is to be seen, how long, and until when. */
export function waitText({ phase, atMs, plan, state }: Held): string {
  const { soak_ms: soakMs, overlap_ms: overlapMs } = plan.body.timing;
  switch (phase) {
    case 'soaking':
      return ` for ${span(soakMs)}, until ${clockTime(atMs + soakMs)}: triggers are watched before the commit`;
    case 'committed': {
      const untilMs = (state?.decidedAtMs ?? atMs) + overlapMs;
      return `; old keys stay valid for ${span(overlapMs)}, until ${clockTime(untilMs)}`;
    }
    default:
      return '';
  }
}

/** One line for each user of a key that is to go. */
export function userLines(
  phase: RotationDetails['phase'],
  slots: readonly Pick<SlotResult, 'slot' | 'old' | 'new' | 'heldBy'>[],
): string[] {
  return slots.flatMap(({ slot, old, new: fresh, heldBy = [] }) => {
    const isBack = phase === 'rolled_back' && fresh !== undefined;
    const key = isBack
      ? `withdrawn key of ${slot} (v${fresh.version})`
      : `old key of ${slot} (v${old.version})`;
    return heldBy.map(
      ({ agentId, uses }) => `the ${key} stays for now: ${usesText(uses)} at ${agentId}`,
    );
  });
}

/** The same of a rotation that is watched. */
export function heldLines({ phase, state }: Held): string[] {
  const slots = (state?.slots ?? []).map(({ slot, checkpoint, candidate, heldBy }) => ({
    slot,
    old: checkpoint,
    ...(candidate === null ? {} : { new: candidate }),
    heldBy,
  }));
  return userLines(phase, slots);
}

/** Where a rotation stands and what it waits for, as one sentence. */
export function waitsFor(held: Held): string {
  const { planId, phase } = held;
  const users = heldLines(held);
  const standing = `${planId} is still ${words(phase)}${waitText(held)}`;
  return users.length === 0 ? standing : `${standing}: ${users.join('; ')}`;
}
