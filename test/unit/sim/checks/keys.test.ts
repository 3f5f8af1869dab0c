/** Invariants 1 to 4, each with what it must find: how keys come into use and what they are. */

import { expect, it } from 'vitest';
import type { Invariant } from '../../../sim/checks/check.ts';
import { keyOf, owner, slot, verifier } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story, wholeStory } from './story.ts';

function found({ stage }: Story, invariant: Invariant): string[] {
  stage.checks.atRest();
  expect(stage.looked(invariant)).toBeGreaterThan(0);
  return stage.found(invariant).map(({ what }) => what);
}

it('1: sees a key in use that a member has not accepted', () => {
  const story = new Story().executed().prepared().activated();
  expect(found(story, 1)).toEqual([
    `version 2 of ${slot} became primary, and ${verifier} has not accepted it`,
  ]);
});

it('1: sees an acceptance of another public half', () => {
  const story = new Story().executed().prepared();
  story.stage.peer(verifier, 2, new Uint8Array(Buffer.from('another one')));
  expect(found(story.activated(), 1)).toEqual([
    `${slot}: the accepted public half is not the key's`,
  ]);
});

it('1: lets a silent verifier be fenced out, but not before it was asked', () => {
  const early = new Story(new Stage(), { silentMember: 'fence' }).executed().prepared();
  expect(found(early.activated(), 1)).toHaveLength(1);
  const late = new Story(new Stage(), { silentMember: 'fence' }).executed().prepared();
  for (const timer of ['1', '2', '3']) {
    late.stage.entry({ type: 'timer-fired', timer, atMs: 1 }, 'distributing');
  }
  expect(found(late.activated(), 1)).toEqual([]);
});

it('1: takes a withdrawn public half for accepted while the rotation goes back, and only then', () => {
  const withdrawn: [string] = [`UPDATE peer_keys SET state = 'withdrawn' WHERE version = 2`];
  const early = new Story().executed().prepared().accepted();
  early.stage.sql(verifier, 'store.db', [withdrawn]);
  expect(found(early.activated(), 1)).toEqual([
    `${slot}: the public half was withdrawn in a rotation that is activating`,
  ]);
  const back = new Story().executed().prepared().accepted();
  const asked = { type: 'rollback-requested', operatorId: 'op-1', reason: 'test' } as const;
  back.stage.entry({ ...asked, atMs: 1 }, 'rolling_back');
  back.stage.sql(verifier, 'store.db', [withdrawn]);
  back.stage.key(owner, 'primary', 2);
  expect(found(back, 1)).toEqual([]);
});

it('1: sees a key become primary without a plan, and from nowhere', () => {
  const story = wholeStory();
  story.stage.key(owner, 'prepared', 3);
  story.stage.key(owner, 'primary', 3);
  story.stage.key(owner, 'primary', 4);
  expect(found(story, 1)).toEqual([
    `version 3 of ${slot} became primary without a plan`,
    `version 4 of ${slot} went from nothing to primary`,
  ]);
});

it('1: sees the use of a key that is only prepared', () => {
  const story = new Story().executed().prepared();
  story.stage.observer.use(owner, slot, 2, 'make');
  story.stage.observer.use(owner, slot, 1, 'make');
  expect(found(story, 1)).toEqual([`${slot} was used in version 2, which is prepared`]);
});

it('2: sees a second decision', () => {
  const story = new Story().executed().prepared().accepted().activated().committed();
  expect(found(story.committed(), 2)).toContain('a second commit decision');
});

it('2: sees a decision out of its phase, and one that leaves out a slot', () => {
  const story = new Story().executed().prepared();
  expect(found(story.committed(), 2)[0]).toBe(
    'a commit decision of a rotation that is distributing',
  );
});

it('2: sees a slot go back after the decision', () => {
  const story = new Story().executed().prepared().accepted().activated().committed();
  story.stage.intent(owner, 'rollback');
  story.stage.sql(owner, 'keystore.db', [
    [`UPDATE versions SET state = 'withdrawn' WHERE version = 2`],
    [`UPDATE versions SET state = 'primary' WHERE version = 1`],
  ]);
  expect(found(story, 2)).toEqual([
    `${slot} went back to version 1 after the commit decision`,
    `${slot} is on version 1, and its rotation committed 2`,
  ]);
});

it('2: sees a new key at rest that was never committed', () => {
  const story = new Story().executed().prepared().accepted().activated();
  expect(found(story, 2)).toEqual([`${slot} is on version 2, and its rotation did not commit`]);
});

it('3: sees a slot without a primary key', () => {
  const story = wholeStory();
  story.stage.sql(owner, 'keystore.db', [[`UPDATE versions SET state = 'accepted'`]]);
  expect(found(story, 3)[0]).toMatch(/has no primary key/);
});

it('3: sees a verifier drop the key in use', () => {
  const story = wholeStory();
  story.stage.sql(verifier, 'store.db', [['DELETE FROM peer_keys']]);
  expect(found(story, 3)).toEqual([
    `${verifier} dropped the key of ${slot} that ${owner} is using`,
  ]);
});

it('4: sees two primary keys, another key under a number, and a key that comes back', () => {
  const story = wholeStory();
  const { stage } = story;
  const set = (sql: string, ...values: string[]): void =>
    stage.sql(owner, 'keystore.db', [[sql, ...values]]);
  set(`UPDATE versions SET state = 'primary'`);
  set(`UPDATE versions SET key_id = ? WHERE version = 2`, keyOf(9).keyId);
  const what = found(story, 4);
  expect(what).toContain(`${slot} has 2 primary keys`);
  expect(what).toContain(`version 1 of ${slot} was destroyed and is primary`);
  expect(what).toContain(`version 2 of ${slot} is another key than before`);
  set('DELETE FROM versions WHERE version = 1');
  expect(found(story, 4)).toContain(`version 1 of ${slot} is no longer in the key store`);
});

it('4: sees an acceptance of a key that nobody made, and an old key that stays', () => {
  const story = wholeStory();
  story.stage.peer(verifier, 7);
  story.stage.peer(verifier, 1);
  expect(found(story, 4)).toEqual([
    `accepted version 7 of ${slot} that no owner made`,
    `the old key of ${slot} is still taken after the rotation is retired`,
  ]);
});
