/**
 * How much happens in one run. Most seeds see one rotation of a layer or two with a few faults in the midst
 * of it: that is where most bugs are, and ten thousand of them fit into ten minutes. The rest see the whole
 * stack, or several things at once, and more faults over a longer time; each of these costs as much as
 * several small ones.
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

/** Of 400 worlds 394 are small, 3 turn the whole stack, in 3 several things happen. */
const usually = { few: 0, whole: 0.985, several: 0.9925 } as const;
/** Secrets that wait for rotations to end need long and several ones: a quarter of these worlds are large. */
const withEpochs = { few: 0, whole: 0.75, several: 0.85 } as const;

/** Of one name, or of any. */
export function drawExtent(
  draws: Draws,
  {
    extent,
    hasEpochs,
  }: { readonly extent?: Extent['name'] | undefined; readonly hasEpochs?: boolean | undefined },
): Extent {
  const begins = hasEpochs === true ? withEpochs : usually;
  const at = extent === undefined ? draws.fraction() : begins[extent];
  if (at < begins.whole) return { name: 'few', activities: 1, faultsMax: 5, phaseMs: 6_000 };
  if (at < begins.several) return { name: 'whole', activities: 1, faultsMax: 6, phaseMs: 10_000 };
  return { name: 'several', activities: draws.between(2, 4), faultsMax: 8, phaseMs: 20_000 };
}

/** Layers of one rotation with those that depend on them, lowest first. */
export function drawLayers(draws: Draws, { name }: Pick<Extent, 'name'>): readonly number[] {
  const isWhole = name === 'whole' || (name === 'several' && draws.chance(0.15));
  if (isWhole) return allLayers;
  const count = name === 'several' ? draws.between(1, 3) : draws.chance(0.98) ? 1 : 2;
  return withDependants(draws.shuffled(allLayers).slice(0, count), () => true);
}
