/** A rotation, a rollback and a recovery as they should go: no checker complains, and each one looked. */

import { expect, it } from 'vitest';
import { violationText } from '../../../sim/checks/check.ts';
import { owner } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story, wholeStory } from './story.ts';

function complaints({ stage }: Story): string[] {
  return stage.checks.atRest().map(violationText);
}

it('finds nothing in a rotation that goes as it should', () => {
  const story = wholeStory();
  expect(complaints(story)).toEqual([]);
  const { stage } = story;
  const looking = ([1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 15] as const).map((invariant) => [
    invariant,
    stage.looked(invariant) > 0,
  ]);
  expect(looking.filter(([, looked]) => looked === false)).toEqual([]);
});

it('finds nothing in two rotations, one after the other', () => {
  const first = wholeStory();
  const second = new Story(first.stage, { id: 'plan-2' }, 2);
  second.executed().prepared().accepted().activated().committed();
  second.stage.nowMs += 10_000;
  second.letGo();
  second.stage.sql('authorization-a', 'store.db', [['DELETE FROM peer_keys WHERE version = 2']]);
  expect(complaints(second.retired())).toEqual([]);
});

it('finds nothing in a rotation that goes back', () => {
  const story = new Story().executed().prepared().accepted().activated();
  expect(complaints(story.rolledBack())).toEqual([]);
});

it('finds nothing in a lockout and its recovery', () => {
  const story = new Story(new Stage()).executed().prepared().accepted().activated().lockedOut();
  expect(complaints(story)).toEqual([]);
  expect(story.stage.looked(14)).toBeGreaterThan(0);
  story.recovered();
  const { stage } = story;
  const step = stage.intent(owner, 'rollback', { recovers: true });
  story.freeze(0);
  stage.sql(owner, 'keystore.db', [
    [`UPDATE versions SET state = 'withdrawn' WHERE version = 2`],
    [`UPDATE versions SET state = 'primary' WHERE version = 1`],
  ]);
  stage.outcome(owner, step);
  expect(stage.checks.violations.map(violationText)).toEqual([]);
});
