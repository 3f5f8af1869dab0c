/** Invariants 5 to 8, each with what it must find: what comes before what, and how often. */

import { expect, it } from 'vitest';
import type { Invariant } from '../../../sim/checks/check.ts';
import { hashOf, keyOf, owner, slot } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story, wholeStory } from './story.ts';

function found({ stage }: { readonly stage: Stage }, invariant: Invariant): string[] {
  stage.checks.atRest();
  expect(stage.looked(invariant)).toBeGreaterThan(0);
  return stage.found(invariant).map(({ what }) => what);
}

it('5: sees an intent whose entry no auditor holds', () => {
  const story = new Story().executed();
  const timer = { type: 'timer-fired', timer: '1', atMs: 1 } as const;
  story.stage.entry(timer, 'preparing', { isAudited: false });
  story.stage.intent(owner, 'prepare', { commandId: 'early' });
  const index = story.stage.index();
  expect(found(story, 5)).toEqual([
    `step early is about to happen, and no auditor holds entry ${index}`,
  ]);
});

it('5: sees a key that changes without an intent', () => {
  const story = new Story().executed();
  story.stage.key(owner, 'prepared', 2);
  expect(found(story, 5)).toEqual([`version 2 of ${slot} was prepared without an intent`]);
});

it('5: sees a counter given twice, a fork, and a counter that falls', () => {
  const stage = new Stage();
  const first = stage.say('op-1', 'plan-approved', {});
  const previous = new Uint8Array(Buffer.from(first, 'hex'));
  stage.say('op-1', 'plan-approved', {}, { header: { counter: 1, previous } });
  stage.say('op-1', 'plan-approved', {}, { header: { counter: 9, previous } });
  expect(found({ stage }, 5)).toEqual([
    'counter 1 of one chain was given to two events',
    'counter 1 follows 1',
    'two events follow the same one in their chain',
  ]);
});

it('5: leaves out of chains what is not authentic, and what was let in', () => {
  const stage = new Stage();
  stage.say('op-1', 'plan-approved', {});
  stage.say('op-1', 'plan-approved', {}, { header: { counter: 1 }, authentic: false });
  stage.observer.injected('replayed', hashOf('let in'));
  stage.say('op-1', 'plan-approved', {}, { header: { counter: 1 }, hash: hashOf('let in') });
  expect(found({ stage }, 5)).toEqual([]);
});

it('5: sees a leaf that changes, one twice, one that was never said, and a log that shrinks', () => {
  const stage = new Stage();
  const [one, two] = [
    stage.tell('op-1', 'plan-approved', {}),
    stage.say('op-2', 'plan-approved', {}),
  ];
  stage.leaf(two, 'accepted', 0);
  stage.leaf(two, 'accepted', 1);
  stage.leaf(hashOf('unsaid'), 'accepted', 2);
  stage.observer.cut('auditor', 1);
  expect(found({ stage }, 5)).toEqual([
    'leaf 0 is another one than before',
    'leaf 1 is in the log already',
    'leaf 2 was never on the bus',
    'the log had 3 leaves on the disk and has 1',
  ]);
  expect(one).not.toBe(two);
});

it('5: sees two accepted entries at one place', () => {
  const story = new Story().executed();
  const { stage } = story;
  const timer = { type: 'timer-fired', timer: '1', atMs: 1 };
  const place = {
    saga: 'rotation',
    sagaId: 'plan-1',
    index: 1,
    previous: hashOf('no'),
    consumed: [],
  };
  stage.tell('orchestrator-a', 'saga-entry', { ...place, event: timer });
  expect(found(story, 5)).toEqual(['two entries are accepted at index 1']);
});

it('6: sees versions that go down, over a restart too', () => {
  const stage = new Stage();
  stage.observer.trustVersions(owner, { root: 1, registry: 1, policy: 2 });
  stage.observer.life(owner, 'crashed');
  stage.observer.life(owner, 'started');
  stage.observer.trustVersions(owner, { root: 1, registry: 1, policy: 1 });
  expect(found({ stage }, 6)).toEqual(['the policy went from version 2 to 1']);
});

it('6: sees epochs that go down', () => {
  const stage = new Stage();
  for (const epoch of [2, 1]) stage.observer.epoch(owner, 'mesh', epoch);
  for (const epoch of [3, 2]) stage.say('op-1', 'plan-approved', {}, { header: { epoch } });
  for (const highest of [5, 4]) {
    const raise = 'INSERT OR REPLACE INTO epoch_mark VALUES (?, ?)';
    stage.sql('signer', 'signer.db', [[raise, 'mesh', highest]]);
  }
  expect(found({ stage }, 6)).toEqual([
    'seals under epoch 1 of mesh, after 2',
    'sealed under epoch 2 of saga at 2, 3 at 1',
    'remembers epoch 4 of mesh, after 5',
  ]);
});

it('6: sees an epoch come into use behind a later one, and one with two secrets', () => {
  const stage = new Stage();
  const notices = { header: { channel: 'notices' } };
  const announce = (epoch: number, secret: string): void => {
    const announcement = { body: { secret_commitment: hashOf(secret) } };
    const event = { type: 'epoch-announced', announcement, capsules: [] };
    stage.say('orchestrator-a', 'epoch-entry', { channel: 'mesh', epoch, event }, notices);
    const activated = { type: 'epoch-activated', accepted: [], absent: [] };
    const entry = { channel: 'mesh', epoch, event: activated };
    stage.say('orchestrator-a', 'epoch-entry', entry, notices);
  };
  announce(2, 'two');
  announce(2, 'another two');
  announce(1, 'one');
  expect(found({ stage }, 6)).toEqual([
    'epoch 2 of mesh came into use with two secrets',
    'epoch 1 of mesh is announced after 2 was in use',
    'epoch 1 of mesh came into use after 2',
  ]);
});

it('7: sees an index that falls and an effect of what was overtaken', () => {
  const story = new Story().executed();
  const { stage } = story;
  stage.intent(owner, 'verify');
  const late = stage.intent(owner, 'prepare', { sagaIndex: 2 });
  stage.key(owner, 'prepared', 2);
  stage.outcome(owner, late);
  stage.sql(owner, 'store.db', [['UPDATE sagas SET last_index = 1']]);
  const what = found(story, 7);
  expect(what).toContain(`prepare of entry 2 was done after entry ${stage.index()}`);
  expect(what).toContain(`the index of a saga went from ${stage.index()} to 1`);
});

it('7: sees a reservation from before a release', () => {
  const story = new Story().executed().prepared().accepted().activated().committed();
  const at = { sagaId: 'plan-1', atMs: 1 };
  story.stage.ledger({ type: 'slots-reserved', sagaIndex: 3, slots: [slot], ...at });
  expect(found(story, 7)[0]).toMatch(/slots are reserved for entry 3, and were released for/);
});

it('8: sees a second key of one rotation and a number that is left out', () => {
  const story = new Story().executed().prepared();
  const { stage } = story;
  stage.intent(owner, 'prepare', { newVersion: 4 });
  stage.key(owner, 'prepared', 4);
  stage.candidate(owner, 4);
  const what = found(story, 8);
  expect(what).toContain(`${slot} got version 4 after 2`);
  expect(what).toContain(`a second new key of ${slot} in one rotation: 4 after 2`);
});

it('8: sees an outcome that changes, is forgotten, or never comes', () => {
  const story = wholeStory();
  const { stage } = story;
  const [first] = [...(stage.observer.agents.get(owner)?.steps.keys() ?? [])];
  const open = stage.intent(owner, 'verify');
  stage.sql(owner, 'store.db', [['DELETE FROM steps WHERE step_key IN (?, ?)', first ?? '', open]]);
  expect(found(story, 8)).toEqual([
    `the outcome of ${first} was forgotten`,
    `the intent of ${open} is gone without an outcome`,
  ]);
});

it('8: sees two reports of one command that say different things', () => {
  const story = wholeStory();
  const report = { commandId: 'one', operation: 'prepare', status: 'done', sagaId: 'plan-1' };
  for (const version of [2, 3]) {
    const slots = [{ slot, version, keyId: keyOf(version).keyId }];
    story.stage.tell(owner, 'step-reported', { ...report, slots });
  }
  expect(found(story, 8)[0]).toMatch(/two outcomes of one/);
});

it('8: sees a step that failed after it had been done, and not the other way round', () => {
  const story = wholeStory();
  const report = { operation: 'prepare', sagaId: 'plan-1', sagaIndex: 5, slots: [] };
  const say = (commandId: string, ...statuses: readonly string[]): void => {
    for (const status of statuses) {
      story.stage.tell(owner, 'step-reported', { ...report, commandId, status });
    }
  };
  say('one', 'failed', 'done', 'done');
  say('two', 'done', 'failed');
  expect(found(story, 8)).toEqual(['two (prepare) was done, and now it failed']);
});
