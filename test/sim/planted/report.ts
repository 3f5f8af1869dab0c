/** What the hunts for planted bugs came to, for people: a row for each bug, and what they show together. */

import type { PlantedBug } from './mutation.ts';
import type { TimedHunt } from './hunt.ts';

export interface Row {
  readonly bug: PlantedBug;
  readonly hunt: TimedHunt;
}

export interface Summary {
  readonly found: number;
  readonly planted: number;
  readonly missed: readonly string[];
  /** Found by the checker of the invariant that they were planted for. */
  readonly asExpected: number;
  /** Seeds that are broken without the bug, by the profile of which bug. */
  readonly unclean: readonly string[];
  /** Every bug was found, there are enough of them, and the same seeds are clean without them. */
  readonly isProven: boolean;
}

const widths = { name: 42, number: 9 };

/** A shorter list proves little. */
export const bugsMin = 25;

export const headText = row('planted bug', 'breaks', 'seed', 'seeds', 'seconds', 'what was found');

export function rowText({ bug, hunt }: Row): string {
  const seconds = hunt.seconds.toFixed(1);
  const breaks = String(bug.invariant);
  switch (hunt.status) {
    case 'found': {
      const first = hunt.findings.find(({ invariant }) => invariant === bug.invariant);
      const { invariant, what } = first ?? hunt.findings[0] ?? { invariant: 0, what: '' };
      const text = `invariant ${invariant}: ${what}`.slice(0, 110);
      return row(bug.name, breaks, String(hunt.seed), String(hunt.runs), seconds, text);
    }
    case 'clean':
      return row(bug.name, breaks, '-', String(hunt.runs), seconds, 'NOT FOUND');
    case 'broken':
      return row(bug.name, breaks, '-', String(hunt.runs), seconds, `NOT FOUND: ${hunt.reason}`);
  }
}

/** `plantedMin`: how many bugs there must be; those that were asked for by name are enough by themselves. */
export function summaryOf(rows: readonly Row[], plantedMin = bugsMin): Summary {
  const found = rows.filter(({ hunt }) => hunt.status === 'found');
  const missed = rows.filter((each) => !found.includes(each)).map(({ bug }) => bug.name);
  const asExpected = found.filter(
    ({ bug, hunt }) =>
      hunt.status === 'found' && hunt.findings.some(({ invariant }) => invariant === bug.invariant),
  );
  const unclean = rows.flatMap(({ bug, hunt }) =>
    hunt.unclean.map((seed) => `${seed} (${bug.name})`),
  );
  return {
    found: found.length,
    planted: rows.length,
    missed,
    asExpected: asExpected.length,
    unclean,
    isProven: missed.length === 0 && rows.length >= plantedMin && unclean.length === 0,
  };
}

export function summaryText(summary: Summary): string {
  const { found, planted, missed, asExpected, unclean } = summary;
  return [
    `${found} of ${planted} planted bugs found, ${asExpected} of them by the invariant named`,
    ...(missed.length === 0 ? [] : [`not found: ${missed.join(', ')}`]),
    unclean.length === 0
      ? 'without the bugs the same seeds are clean'
      : `seeds that are broken without the bug: ${unclean.join(', ')}`,
  ].join('\n');
}

function row(name: string, ...rest: readonly [string, string, string, string, string]): string {
  const [breaks, seed, seeds, seconds, what] = rest;
  const numbers = [breaks, seed, seeds, seconds].map((text) => text.padStart(widths.number));
  return `${name.padEnd(widths.name)}${numbers.join('')}  ${what}`;
}
