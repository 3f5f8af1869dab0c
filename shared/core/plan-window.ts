/**
 * The time in which a plan may be carried out. Each key of a plan has its own window, in the order in
 * which layers are turned; together they fill the window that was asked for. The order is kept by
 * the sequence itself, so a layer may run before its own window opens or after it closes, but no
 * rotation begins, and no layer is activated, outside of the whole.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import type { AffectedKey, RotationPlanBody } from '#schemas/plan.ts';
import { formatInstant, instantMs } from './instant.ts';

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

/** The keys of one layer before they have windows. */
export interface LayerKeys {
  readonly layer: LayerNumber;
  readonly keys: readonly Omit<AffectedKey, 'rotation_window'>[];
}

/**
 * Divides a window into one part per layer, in the given order, and each part into one per key: no
 * two of them overlap, so that neither tied layers nor the keys of one layer can (ORCH-8004).
 */
export function divideWindow(
  layers: readonly LayerKeys[],
  { startMs, endMs }: { readonly startMs: number; readonly endMs: number },
): AffectedKey[] {
  const parts = divide({ startMs, endMs }, layers.length);
  return layers.flatMap(({ keys }, position) => {
    const slices = divide(parts[position] ?? { startMs, endMs }, keys.length);
    return keys.map((key, slice) => ({
      ...key,
      rotation_window: {
        start: formatInstant(slices[slice]?.startMs ?? startMs),
        end: formatInstant(slices[slice]?.endMs ?? endMs),
      },
    }));
  });
}

function divide(
  { startMs, endMs }: { readonly startMs: number; readonly endMs: number },
  count: number,
): { startMs: number; endMs: number }[] {
  const bound = (part: number): number => startMs + Math.floor((part * (endMs - startMs)) / count);
  return Array.from({ length: count }, (_, part) => ({
    startMs: bound(part),
    endMs: bound(part + 1),
  }));
}
