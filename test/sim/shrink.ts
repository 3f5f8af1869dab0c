/**
 * Makes a failing run short: leaves out faults and activities as long as one of the invariants that broke
 * still breaks. What stays is what a person has to read.
 */

import { runWorld, type Profile } from './run.ts';
import type { RunResult } from './results.ts';

export interface Kept {
  /** Positions in the seed's own lists of faults and of activities. */
  readonly faults: readonly number[];
  readonly activities: readonly number[];
}

export async function shrink(
  seed: number,
  profile: Profile,
  progress: (line: string) => void,
): Promise<{ readonly kept: Kept }> {
  const whole = await runWorld(seed, profile);
  const broken = new Set(whole.findings.map(({ invariant }) => invariant));
  if (broken.size === 0) throw new Error(`seed ${seed} holds: there is nothing to shrink`);
  const stillFails = async (kept: Kept): Promise<boolean> =>
    isSame(await runWorld(seed, { ...profile, kept }), broken);
  let kept: Kept = {
    faults: positions(whole.drawn.faults),
    activities: positions(whole.drawn.activities),
  };
  for (let isShorter = true; isShorter;) {
    isShorter = false;
    for (const list of ['activities', 'faults'] as const) {
      for (const position of kept[list]) {
        const without = { ...kept, [list]: kept[list].filter((other) => other !== position) };
        if (!(await stillFails(without))) continue;
        kept = without;
        isShorter = true;
        progress(`${kept.faults.length} faults and ${kept.activities.length} activities left`);
      }
    }
  }
  return { kept };
}

function isSame({ findings }: RunResult, broken: ReadonlySet<number>): boolean {
  return findings.some(({ invariant }) => broken.has(invariant));
}

function positions(count: number): number[] {
  return Array.from({ length: count }, (_, position) => position);
}
