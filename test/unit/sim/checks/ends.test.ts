/** Invariants 9, 10, 13, 14 and 15, each with what it must find: how rotations are let begin, and end. */

import { expect, it } from 'vitest';
import type { Invariant } from '../../../sim/checks/check.ts';
import { hashOf, owner, slot, verifier } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story, wholeStory } from './story.ts';

function found({ stage }: { readonly stage: Stage }, invariant: Invariant): string[] {
  stage.checks.atRest();
  expect(stage.looked(invariant)).toBeGreaterThan(0);
  return stage.found(invariant).map(({ what }) => what);
}

function committed(): Story {
  return new Story().executed().prepared().accepted().activated().committed();
}

it('9: sees a key destroyed before its window is over', () => {
  const story = committed();
  story.stage.nowMs += 4_000;
  expect(found(story.letGo().retired(), 9)).toEqual([
    `the old key of ${slot} was destroyed 6000 ms early`,
  ]);
});

it('9: allows for the clocks that a world has', () => {
  const story = committed();
  story.stage.clockErrorMsMax = 4_000;
  story.stage.nowMs += 4_000;
  expect(found(story.letGo().retired(), 9)).toEqual([]);
});

it('9: sees a key destroyed that somebody still needs, or has just used', () => {
  const story = committed();
  story.stage.nowMs += 10_000;
  story.letGo([owner]);
  story.stage.observer.use(owner, slot, 1, 'take');
  expect(found(story.retired(), 9)).toEqual([
    `version 1 of ${slot} was destroyed 0 ms after its last use`,
    `the old key of ${slot} was destroyed before ${verifier} let it go`,
  ]);
});

it('9: sees keys destroyed without a commit decision, for nobody, or while in use', () => {
  const story = new Story().executed().prepared().accepted().activated();
  expect(found(story.retired(), 9)).toEqual([
    `the old key of ${slot} was destroyed without a commit decision`,
  ]);
  const other = wholeStory();
  other.stage.key(owner, 'destroyed', 2);
  other.stage.sql(verifier, 'store.db', [['DELETE FROM peer_keys']]);
  expect(found(other, 9)).toEqual([
    `version 2 of ${slot} was destroyed while it was primary`,
    `version 2 of ${slot} was destroyed, and no rotation retires it`,
    `the public half of a key of ${slot} was dropped, and no rotation retires it`,
  ]);
});

it('9: sees the new key of a rollback go before its overlap, and for another rotation', () => {
  const story = new Story().executed().prepared().accepted().activated().rolledBack();
  story.stage.intent(owner, 'discard');
  story.stage.key(owner, 'destroyed', 2);
  expect(found(story, 9)).toEqual([
    `the withdrawn key of ${slot} was destroyed before its overlap`,
  ]);
  const other = new Story().executed().prepared();
  other.stage.intent(owner, 'discard', { sagaId: 'plan-9', sagaIndex: 0 });
  other.stage.key(owner, 'destroyed', 2);
  expect(found(other, 9)).toEqual([`the new key of ${slot} was destroyed for another rotation`]);
});

it('9: counts the overlap of a rollback from its entry, not from the receipt that names it', () => {
  const goneAfter = (overlapMs: number): string[] => {
    const story = new Story().executed().prepared().accepted().activated().rolledBack(500);
    story.stage.nowMs += overlapMs - 500;
    story.stage.intent(owner, 'discard');
    story.stage.key(owner, 'destroyed', 2);
    return found(story, 9);
  };
  expect(goneAfter(10_000)).toEqual([]);
  expect(goneAfter(9_900)).toHaveLength(1);
});

it('10: sees a rotation that nobody approved, or its requester, or over another plan', () => {
  const unapproved = [
    { approvers: [] },
    { approvers: ['op-1'] },
    { approvers: ['auditor'] },
    { approvers: ['op-3'] },
    { digest: hashOf('another plan') },
  ].map((choices) => found(new Story(new Stage(), choices).executed().prepared(), 10)[0]);
  expect(new Set(unapproved)).toEqual(new Set(['it runs with 0 of 1 approvals of this plan']));
});

it('10: sees an approval by somebody who was revoked', () => {
  const story = new Story();
  const document = Buffer.from(JSON.stringify({ body: { kind: 'revocation', agent_id: 'op-2' } }));
  story.stage.tell('op-1', 'document-offered', { document: new Uint8Array(document) });
  expect(found(story.executed().prepared(), 10)).toHaveLength(1);
});

it('10: sees a step of a rotation that has no plan', () => {
  const stage = new Stage();
  stage.intent(owner, 'prepare', { sagaIndex: 0 });
  stage.looked(10);
  expect(stage.found(10).map(({ what }) => what)).toEqual([
    'prepare of a rotation without a plan in the audit',
  ]);
});

it('10: sees a recovery without approvals', () => {
  const locked = () => new Story().executed().prepared().accepted().activated().lockedOut();
  expect(found(locked().recovered([]), 10)[0]).toMatch(/a recovery with 0 of 1 approvals/);
  expect(found(locked().recovered(['op-1']), 10)[0]).toMatch(/a recovery with 0 of 1 approvals/);
  expect(found(locked().recovered(['op-2']), 10)).toEqual([]);
});

it('13: sees a rotation that stands still, and a slot that stays held', () => {
  expect(found(committed().letGo(), 13)).toEqual(['an executed rotation is still retiring']);
  const held = new Story().executed();
  const event = { type: 'timer-fired', timer: '1', atMs: 1 } as const;
  held.stage.entry(event, 'rolled_back');
  expect(found(held, 13)).toEqual([`${slot} is still held by a rotation that is rolled_back`]);
});

it('13: sees a slot with two holders', () => {
  const story = new Story().executed();
  const at = { sagaId: 'plan-2', sagaIndex: 3, atMs: 1 };
  story.stage.ledger({ type: 'slots-reserved', slots: [slot], ...at });
  story.stage.sql(owner, 'store.db', [['INSERT INTO reservations VALUES (?, ?)', slot, 'plan-7']]);
  expect(found(story, 13).slice(0, 2)).toEqual([
    `${slot} is reserved by two rotations`,
    `${slot} passes to a rotation that does not hold it`,
  ]);
});

it('13: lets an agent that was away catch up in the order of the ledger, and never go back', () => {
  const story = new Story().executed().prepared().accepted().activated().rolledBack();
  const at = { sagaId: 'plan-2', sagaIndex: 3, atMs: 1 };
  story.stage.ledger({ type: 'slots-reserved', slots: [slot], ...at });
  const passes = (sagaId: string): string[] => {
    story.stage.sql(owner, 'store.db', [['DELETE FROM reservations']]);
    story.stage.sql(owner, 'store.db', [['INSERT INTO reservations VALUES (?, ?)', slot, sagaId]]);
    return story.stage.found(13).map(({ what }) => what);
  };
  expect(passes('plan-1')).toEqual([]);
  expect(passes('plan-2')).toEqual([]);
  expect(passes('plan-1')).toEqual([`${slot} passes to a rotation that does not hold it`]);
});

it('13: sees a slot pass again to a rotation that let go, while another holds it', () => {
  const story = new Story().executed();
  const passed: [string, string, string] = [
    'INSERT INTO reservations VALUES (?, ?)',
    slot,
    'plan-1',
  ];
  story.stage.sql(owner, 'store.db', [passed]);
  story.prepared().accepted().activated().rolledBack();
  story.stage.sql(owner, 'store.db', [['DELETE FROM reservations']]);
  const at = { sagaId: 'plan-2', sagaIndex: 3, atMs: 1 };
  story.stage.ledger({ type: 'slots-reserved', slots: [slot], ...at });
  expect(story.stage.found(13)).toEqual([]);
  story.stage.sql(owner, 'store.db', [passed]);
  expect(story.stage.found(13).map(({ what }) => what)).toEqual([
    `${slot} passes to a rotation that does not hold it`,
  ]);
});

it('13: sees what agents leave behind', () => {
  const story = wholeStory();
  const { stage } = story;
  const open = stage.intent(owner, 'prepare', { newVersion: 3 });
  stage.key(owner, 'prepared', 3);
  stage.sql(owner, 'store.db', [['INSERT INTO reservations VALUES (?, ?)', slot, 'plan-1']]);
  expect(found(story, 13)).toEqual([
    `${open} is begun and not ended`,
    `${slot} is reserved for a rotation that is retired`,
    `version 3 of ${slot} is prepared and never used`,
  ]);
});

it('14: sees a slot that is thawed, turned or frozen without leave', () => {
  const story = new Story().executed().prepared().accepted().activated().lockedOut();
  story.stage.sql(owner, 'keystore.db', [
    [`UPDATE versions SET state = 'withdrawn' WHERE version = 2`],
    [`UPDATE versions SET state = 'primary' WHERE version = 1`],
  ]);
  story.freeze(0).freeze(1);
  expect(found(story, 14)).toEqual([
    `version 1 of ${slot} was restored while it is frozen`,
    `${slot} was thawed without an approved recovery`,
    `${slot} was frozen without a lockout`,
  ]);
});

it('14: lets each recovery thaw what an earlier lockout froze, once', () => {
  const story = new Story().executed().prepared().accepted().activated().lockedOut();
  // The recovery fails as well, before the owner hears of it.
  story.recovered();
  story.stage.entry({ type: 'timer-fired', timer: 'step', atMs: 1 }, 'locked_out');
  story.freeze(0);
  const step = story.stage.intent(owner, 'freeze');
  story.freeze(1);
  story.stage.outcome(owner, step, [{ slot, version: 1 }]);
  expect(found(story, 14)).toEqual([]);
  story.freeze(0);
  expect(story.stage.found(14).map(({ what }) => what)).toEqual([
    `${slot} was thawed without an approved recovery`,
  ]);
});

it('14: does not let a recovery thaw what a later lockout froze again', () => {
  const story = new Story().executed().prepared().accepted().activated().lockedOut();
  story.recovered();
  // The owner was away, and hears of the second lockout before it has thawed.
  story.stage.entry({ type: 'timer-fired', timer: 'step', atMs: 1 }, 'locked_out');
  const step = story.stage.intent(owner, 'freeze');
  story.stage.outcome(owner, step, [{ slot, version: 1 }]);
  story.freeze(0);
  expect(story.stage.found(14).map(({ what }) => what)).toEqual([
    `${slot} was thawed without an approved recovery`,
  ]);
});

it('14: sees a lockout that is left without a recovery, and slots that are given away', () => {
  const story = new Story().executed().prepared().accepted().activated().lockedOut();
  const { stage } = story;
  const at = { sagaId: 'plan-1', atMs: 1 };
  stage.ledger({ type: 'slots-released', sagaIndex: stage.index(), ...at });
  const asked = { type: 'execution-requested', operatorId: 'op-1', atMs: 1 } as const;
  stage.entry(asked, 'locked_out');
  expect(found(story, 14)).toEqual([
    'a rotation that is locked out released its slots',
    'execution-requested was accepted in a lockout',
    `${slot} is free, and its rotation is locked out`,
  ]);
});

it('14: sees the lockout of an offerer end early', () => {
  const stage = new Stage();
  const state = (lockouts: object[]) =>
    Buffer.from(JSON.stringify({ state: { documents: [], lockouts }, digest: '' }));
  const untilMs = stage.nowMs + 900_000;
  stage.observer.trustFile(owner, state([{ sender: 'op-1', untilMs }]));
  stage.nowMs += 899_000;
  stage.observer.trustFile(owner, state([]));
  expect(found({ stage }, 14)).toEqual(['the lockout of op-1 ended 1000 ms early']);
});

it('15: sees an event that the bus has and the audit has not', () => {
  const story = wholeStory();
  story.stage.say('op-1', 'plan-approved', {});
  story.stage.say(owner, 'step-reported', { status: 'failed', slots: [] });
  story.stage.observer.forgot('GYRE_CONTROL', story.stage.observer.messages.length);
  expect(found(story, 15)).toEqual([
    'a plan-approved that the bus acknowledged is in no audit',
    'a step-reported that the bus acknowledged is in no audit',
  ]);
});

it.each(['document-offered', 'prekeys-published'])('15: expects no copy of %s', (type) => {
  const { stage } = wholeStory();
  const said = (): number => {
    stage.say(owner, type, {});
    return stage.observer.messages.at(-1)?.sequence ?? 0;
  };
  stage.observer.forgot('GYRE_CONTROL', said());
  expect(found({ stage }, 15)).toEqual([]);
  said();
  expect(found({ stage }, 15)).toHaveLength(1);
});

it('15: sees an entry of an open rotation that is lost, until it is put back', () => {
  const story = new Story().executed();
  const { stage } = story;
  const lost = story.stage.observer.messages.find(({ type }) => type === 'saga-entry');
  stage.observer.forgot('GYRE_CONTROL', lost?.sequence ?? 0);
  const what = 'a saga-entry of an open rotation was lost and not put back';
  expect(found(story, 15)).toEqual([what]);
  stage.tell('auditor', 'event-restored', { statementHash: lost?.hash, leafIndex: 1 });
  expect(found(story, 15)).toEqual([what]);
});
