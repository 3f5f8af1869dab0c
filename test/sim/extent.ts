/**
 * How much happens in one run. Most seeds see one rotation of one or two layers with a few faults in the
 * midst of it: that is where most bugs are, and thousands of them fit into minutes. The rest see the whole
 * stack, or several things at once, and more faults over a longer time.
 */

import { withDependants } from '#shared/core/dependants.ts';
import type { Draws } from './model.ts';

export interface Extent {
  readonly name: (typeof extentNames)[number];
  /** How many activities begin. */
  readonly activities: number;
  /** Faults at the most. */
  readonly faultsMax: number;
  /** How long faults and activities begin. */
  readonly phaseMs: number;
}

const allLayers = [1, 2, 3, 4, 5, 6, 7] as const;

export const extentNames = ['few', 'whole', 'several'] as const;

/** Of one name, or of any. */
export function drawExtent(draws: Draws, name?: Extent['name']): Extent {
  const at = name === undefined ? draws.fraction() : { few: 0, whole: 0.7, several: 0.85 }[name];
  if (at < 0.7) return { name: 'few', activities: 1, faultsMax: 5, phaseMs: 6_000 };
  if (at < 0.85) return { name: 'whole', activities: 1, faultsMax: 6, phaseMs: 10_000 };
  return { name: 'several', activities: draws.between(2, 4), faultsMax: 8, phaseMs: 20_000 };
}

/** Layers of one rotation with those that depend on them, lowest first. */
export function drawLayers(draws: Draws, { name }: Pick<Extent, 'name'>): readonly number[] {
  const isWhole = name === 'whole' || (name === 'several' && draws.chance(0.15));
  if (isWhole) return allLayers;
  const count = name === 'several' ? draws.between(1, 3) : draws.chance(0.7) ? 1 : 2;
  return withDependants(draws.shuffled(allLayers).slice(0, count), () => true);
}
