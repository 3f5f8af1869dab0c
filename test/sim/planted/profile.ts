/** The runs in which a bug can be seen: its faults, activities and kind of world, and no others. */

import type { Profile } from '../run.ts';
import type { PlantedBug } from './mutation.ts';

export function profileOf({ needs }: PlantedBug): Profile {
  const { faults, activities, hasEpochs = false, rules = 'usual', hasWorkload = false } = needs;
  return { names: faults, activities, hasEpochs, rules, hasWorkload };
}

/** The same as flags of `test/sim/main.ts`. */
export function flagsOf(bug: PlantedBug): string {
  const { names = [], activities, hasEpochs, rules, hasWorkload } = profileOf(bug);
  return [
    `--faults '${names.join(',')}'`,
    ...(activities === undefined ? [] : [`--activities '${activities.join(',')}'`]),
    `--rules ${rules}`,
    `--epochs ${hasEpochs === true ? 'yes' : 'no'}`,
    `--workload ${hasWorkload === true ? 'yes' : 'no'}`,
  ].join(' ');
}
