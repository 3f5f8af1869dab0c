/** The runs in which a bug can be seen: its faults, activities and kind of world, and no others. */

import type { Profile } from '../run.ts';
import type { PlantedBug } from './mutation.ts';

export function profileOf({ needs }: PlantedBug): Profile {
  const { faults, activities, hasEpochs = false, rules = 'usual', hasWorkload = false } = needs;
  const { hasSecond, quietMs, extent, longChance } = needs;
  const world = { hasEpochs, rules, hasWorkload, hasSecond };
  return { names: faults, activities, extent, quietMs, longChance, ...world };
}

/** The same as flags of `test/sim/main.ts`. */
export function flagsOf(bug: PlantedBug): string {
  const {
    names = [],
    activities,
    hasSecond,
    quietMs,
    extent,
    longChance,
    ...profile
  } = profileOf(bug);
  return [
    `--faults '${names.join(',')}'`,
    ...(activities === undefined ? [] : [`--activities '${activities.join(',')}'`]),
    `--rules ${profile.rules}`,
    `--epochs ${profile.hasEpochs === true ? 'yes' : 'no'}`,
    `--workload ${profile.hasWorkload === true ? 'yes' : 'no'}`,
    ...(hasSecond === undefined ? [] : [`--second ${hasSecond ? 'yes' : 'no'}`]),
    ...(extent === undefined ? [] : [`--extent ${extent}`]),
    ...(longChance === undefined ? [] : [`--long ${longChance}`]),
    ...(quietMs === undefined ? [] : [`--quiet-ms ${quietMs}`]),
  ].join(' ');
}
