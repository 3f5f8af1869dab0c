import { expect, test } from 'vitest';
import type { TimedHunt } from '../../sim/planted/hunt.ts';
import type { PlantedBug } from '../../sim/planted/mutation.ts';
import { bugsMin, rowText, summaryOf, summaryText } from '../../sim/planted/report.ts';

const bug: PlantedBug = {
  name: 'a-bug',
  invariant: 5,
  what: 'Something is forgotten.',
  edits: [],
  needs: { faults: [], story: '' },
};
const clean: TimedHunt = { status: 'clean', runs: 40, unclean: [], seconds: 9 };
const broken: TimedHunt = {
  status: 'broken',
  reason: 'it ended (SIGKILL)',
  runs: 3,
  unclean: [],
  seconds: 1,
};

function foundBy(...invariants: number[]): TimedHunt {
  const findings = invariants.map((invariant) => ({
    invariant,
    agent: 'a',
    what: `of ${invariant}`,
  }));
  return { status: 'found', seed: 107, findings, runs: 7, unclean: [], seconds: 2.25 };
}

test('a row says what found the bug, by the invariant that was expected where it can', () => {
  const text = rowText({ bug, hunt: foundBy(0, 5) });
  expect(text).toMatch(/^a-bug +5 +107 +7 +2\.\d +invariant 5: of 5$/);
  expect(rowText({ bug, hunt: foundBy(13) })).toMatch(/invariant 13: of 13$/);
});

test('a row says what did not find it', () => {
  expect(rowText({ bug, hunt: clean })).toMatch(/ 40 +9\.0 +NOT FOUND$/);
  expect(rowText({ bug, hunt: broken })).toContain('NOT FOUND: it ended (SIGKILL)');
});

test.each([
  ['all found', [foundBy(5)], true],
  ['all found, one seed not clean without', [{ ...foundBy(5), unclean: [106] }], false],
  ['one missed', [foundBy(5), clean], false],
  ['one broken', [foundBy(5), broken], false],
] as const)('proof: %s', (_, hunts, isProven) => {
  const rows = hunts.map((hunt) => ({ bug, hunt }));
  expect(summaryOf(rows, 1).isProven).toBe(isProven);
});

test('a list that is too short proves nothing, though all of it is found', () => {
  const rows = Array.from({ length: bugsMin }, () => ({ bug, hunt: foundBy(5) }));
  expect(summaryOf(rows).isProven).toBe(true);
  expect(summaryOf(rows.slice(1)).isProven).toBe(false);
});

test('the summary counts those that were found as expected, and names what was not clean', () => {
  const hunts = [foundBy(5), { ...foundBy(13), unclean: [106] }, clean];
  const summary = summaryOf(hunts.map((hunt) => ({ bug, hunt })));
  expect(summary).toMatchObject({ found: 2, planted: 3, asExpected: 1, missed: ['a-bug'] });
  expect(summaryText(summary)).toContain('2 of 3 planted bugs found, 1 of them');
  expect(summaryText(summary)).toContain('broken without the bug: 106 (a-bug)');
});
