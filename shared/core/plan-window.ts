/**
 * The time in which a plan may be carried out. Each key of a plan has its own window, in the order in
 * which layers are turned; together they fill the window that was asked for. The order is kept by
 * the sequence itself, so a layer may run before its own window opens or after it closes, but no
 * rotation begins, and no layer is activated, outside of the whole.
 */

import type { RotationPlanBody } from '#schemas/plan.ts';
import { instantMs } from './instant.ts';

export interface PlanWindow {
  readonly startMs: number;
  readonly endMs: number;
  /** Whether a moment lies inside, give or take the skew of clocks. */
  contains(timeMs: number, clockSkewMs: number): boolean;
}

export function windowOf(plan: RotationPlanBody): PlanWindow {
  const windows = plan.affected_keys.map(({ rotation_window: window }) => window);
  const startMs = Math.min(...windows.map(({ start }) => instantMs(start)));
  const endMs = Math.max(...windows.map(({ end }) => instantMs(end)));
  return {
    startMs,
    endMs,
    contains: (timeMs, clockSkewMs) =>
      timeMs >= startMs - clockSkewMs && timeMs < endMs + clockSkewMs,
  };
}
