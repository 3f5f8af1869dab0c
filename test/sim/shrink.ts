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

/** The seed breaks nothing. */
export class NothingToShrink extends Error {
  override readonly name = 'NothingToShrink';
}

/** @throws NothingToShrink */
export async function shrink(
  seed: number,
  profile: Profile,
  progress: (line: string) => void,
): Promise<{ readonly kept: Kept }> {
  const whole = await runWorld(seed, profile);
  const broken = new Set(whole.findings.map(({ invariant }) => invariant));
  if (broken.size === 0) throw new NothingToShrink(`seed ${seed} holds`);
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
        progress(leftText(kept));
      }
    }
  }
  return { kept };
}

function leftText({ faults, activities }: Kept): string {
  const [one, other] = [faults.length, activities.length];
  const faultsText = `${one} ${one === 1 ? 'fault' : 'faults'}`;
  return `${faultsText} and ${other} ${other === 1 ? 'activity' : 'activities'} left`;
}

function isSame({ findings }: RunResult, broken: ReadonlySet<number>): boolean {
  return findings.some(({ invariant }) => broken.has(invariant));
}

function positions(count: number): number[] {
  return Array.from({ length: count }, (_, position) => position);
}
