/** The runs in which a bug can be seen: its faults, activities and kind of world, and no others. */

import type { Profile } from '../run.ts';
import type { PlantedBug } from './mutation.ts';

export function profileOf({ needs }: PlantedBug): Profile {
  const { faults, story: _story, ...rest } = needs;
  const without = { hasEpochs: false, hasWorkload: false, hasHealing: false } as const;
  return { ...without, rules: 'usual', ...rest, names: faults };
}

/** The same as flags of `test/sim/main.ts`. */
export function flagsOf(bug: PlantedBug): string {
  const profile = profileOf(bug);
  const yesOrNo = (is: boolean | undefined): string | undefined =>
    is === undefined ? undefined : is ? 'yes' : 'no';
  const flags = {
    faults: `'${profile.names?.join(',') ?? ''}'`,
    activities: profile.activities && `'${profile.activities.join(',')}'`,
    rules: profile.rules,
    epochs: yesOrNo(profile.hasEpochs),
    workload: yesOrNo(profile.hasWorkload),
    healing: yesOrNo(profile.hasHealing),
    second: yesOrNo(profile.hasSecond),
    extent: profile.extent,
    victims: profile.victims?.join(','),
    'faults-min': profile.faultsMin,
    long: profile.longChance,
    'quiet-ms': profile.quietMs,
  };
  return Object.entries(flags)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `--${name} ${value}`)
    .join(' ');
}
