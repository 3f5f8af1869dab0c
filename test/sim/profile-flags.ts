/** What the runs of a call are held to, by the flags of the command line. */

import { activities } from './activities.ts';
import { extentNames } from './extent.ts';
import { rulesNames } from './genesis.ts';
import type { Profile } from './run.ts';
import { faultNames, victimKinds } from './schedule.ts';

export const profileOptions = {
  faults: { type: 'string' },
  without: { type: 'string' },
  activities: { type: 'string' },
  rules: { type: 'string' },
  epochs: { type: 'string' },
  workload: { type: 'string' },
  healing: { type: 'string' },
  second: { type: 'string' },
  extent: { type: 'string' },
  'quiet-ms': { type: 'string' },
  long: { type: 'string' },
  victims: { type: 'string' },
  'faults-min': { type: 'string' },
} as const;

export const profileUsage = `\
  --faults A,B      draws only these faults ('': none)
  --without A,B     draws all faults but these
  --activities A,B  draws only these activities
  --extent NAME     ${extentNames.join(', ')}
  --rules NAME      ${rulesNames.join(', ')}
  --epochs yes|no   whether secrets of channels are drawn and renewed
  --second yes|no   whether two layers have a second agent
  --long PART       how often a fault lasts for 15 s and more, 0 to 1 (0.05)
  --victims A,B     strikes agents of these kinds alone: ${victimKinds.join(', ')}
  --faults-min N    how many faults there are at least (1 where they are named)
  --quiet-ms N      how long the mesh is watched once it is at rest (15000)
  --workload yes|no whether keys are used while things go wrong
  --healing yes|no  whether layer 7 asks for emergency rotations
`;

export type ProfileFlags = { readonly [Name in keyof typeof profileOptions]?: string | undefined };

/** @throws RangeError for a name that there is none of, and for a number that is none */
export function profileOf(flags: ProfileFlags): Profile {
  const without = listOf('fault', flags.without, faultNames);
  const names = listOf('fault', flags.faults, faultNames);
  const known = activities.map(({ name }) => name);
  return {
    names:
      without === undefined
        ? names
        : (names ?? faultNames).filter((name) => !without.includes(name)),
    activities: listOf('activity', flags.activities, known),
    rules: listOf('rules', flags.rules, rulesNames)?.[0],
    extent: listOf('extent', flags.extent, extentNames)?.[0],
    hasEpochs: whether(flags.epochs),
    hasWorkload: whether(flags.workload),
    hasHealing: whether(flags.healing),
    hasSecond: whether(flags.second),
    longChance: partOf(flags.long),
    victims: listOf('kind of victim', flags.victims, victimKinds),
    faultsMin: countOf('--faults-min', flags['faults-min']),
    quietMs: countOf('--quiet-ms', flags['quiet-ms']),
  };
}

function listOf<Name extends string>(
  what: string,
  text: string | undefined,
  known: readonly Name[],
): readonly Name[] | undefined {
  if (text === undefined) return undefined;
  if (text === '') return [];
  return text.split(',').map((name) => {
    const found = known.find((one) => one === name);
    if (found !== undefined) return found;
    throw new RangeError(`there is no ${what} ${name}: ${known.join(', ')}`);
  });
}

function whether(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (text === 'yes' || text === 'no') return text === 'yes';
  throw new RangeError(`${text} is neither yes nor no`);
}

function partOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const part = Number(text);
  if (/^[\d.]+$/.test(text) && part >= 0 && part <= 1) return part;
  throw new RangeError(`--long: '${text}' is no number from 0 to 1`);
}

function countOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(count)) return count;
  throw new RangeError(`${flag}: '${text}' is no whole number from 0 on`);
}
