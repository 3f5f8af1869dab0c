/** What the hunts for planted bugs came to, for people: a row for each bug, and what they show together. */

import type { PlantedBug } from './mutation.ts';
import type { TimedHunt } from './hunt.ts';

export interface Row {
  readonly bug: PlantedBug;
  /** The first seed of the hunt. */
  readonly from: number;
  readonly hunt: TimedHunt;
}

export interface Summary {
  readonly found: number;
  readonly planted: number;
  readonly missed: readonly string[];
  /** Found by the checker of the invariant that they were planted for. */
  readonly asExpected: number;
  readonly control: 'clean' | 'not clean' | 'not run';
  readonly controlSeeds: number;
  /** Every bug was found, and its seeds are clean without it. */
  readonly isProven: boolean;
}

const widths = { name: 42, number: 9 };

export const headText = row('planted bug', 'breaks', 'seed', 'seeds', 'seconds', 'what was found');

export function rowText({ bug, from, hunt }: Row): string {
  const seconds = hunt.seconds.toFixed(1);
  const breaks = String(bug.invariant);
  switch (hunt.status) {
    case 'found': {
      const first = hunt.findings.find(({ invariant }) => invariant === bug.invariant);
      const { invariant, what } = first ?? hunt.findings[0] ?? { invariant: 0, what: '' };
      const text = `invariant ${invariant}: ${what}`.slice(0, 110);
      const seeds = String(hunt.seed - from + 1);
      return row(bug.name, breaks, String(hunt.seed), seeds, seconds, text);
    }
    case 'clean':
      return row(bug.name, breaks, '-', String(hunt.runs), seconds, 'NOT FOUND');
    case 'broken':
      return row(bug.name, breaks, '-', '-', seconds, `NOT FOUND: ${hunt.reason}`);
  }
}

export function summaryOf(rows: readonly Row[], control: TimedHunt | undefined): Summary {
  const found = rows.filter(({ hunt }) => hunt.status === 'found');
  const missed = rows.filter((each) => !found.includes(each)).map(({ bug }) => bug.name);
  const asExpected = found.filter(
    ({ bug, hunt }) =>
      hunt.status === 'found' && hunt.findings.some(({ invariant }) => invariant === bug.invariant),
  );
  const isClean = control?.status === 'clean';
  return {
    found: found.length,
    planted: rows.length,
    missed,
    asExpected: asExpected.length,
    control: control === undefined ? 'not run' : isClean ? 'clean' : 'not clean',
    controlSeeds: control?.status === 'clean' ? control.runs : 0,
    isProven: missed.length === 0 && (control === undefined || isClean),
  };
}

export function summaryText(summary: Summary): string {
  const { found, planted, missed, asExpected, control, controlSeeds } = summary;
  return [
    `${found} of ${planted} planted bugs found, ${asExpected} of them by the invariant named`,
    ...(missed.length === 0 ? [] : [`not found: ${missed.join(', ')}`]),
    `without a bug: ${control}${control === 'clean' ? `, ${controlSeeds} seeds` : ''}`,
  ].join('\n');
}

function row(name: string, ...rest: readonly [string, string, string, string, string]): string {
  const [breaks, seed, seeds, seconds, what] = rest;
  const numbers = [breaks, seed, seeds, seconds].map((text) => text.padStart(widths.number));
  return `${name.padEnd(widths.name)}${numbers.join('')}  ${what}`;
}
