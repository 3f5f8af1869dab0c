/** What a decision, a rollback, a lockout and an epoch claim of others, held against what those did. */

import { expect, it } from 'vitest';
import type { Invariant } from '../../../sim/checks/check.ts';
import { hashOf, owner, slot, verifier } from './stage-parts.ts';
import { policyDigest, Stage } from './stage.ts';
import { Story } from './story.ts';

function found({ stage }: { readonly stage: Stage }, invariant: Invariant): string[] {
  stage.checks.atRest();
  expect(stage.looked(invariant)).toBeGreaterThan(0);
  return stage.found(invariant).map(({ what }) => what);
}

it('1: sees an epoch come into use without its members, before they had their time', () => {
  const stage = new Stage();
  const header = {
    channel: 'notices',
    policyDigest: new Uint8Array(Buffer.from(policyDigest, 'hex')),
  };
  const say = (event: object): string =>
    stage.say('orchestrator-a', 'epoch-entry', { channel: 'mesh', epoch: 2, event }, { header });
  const announcement = { body: { secret_commitment: hashOf('two') } };
  say({ type: 'epoch-announced', announcement, capsules: [] });
  stage.nowMs += 10;
  say({ type: 'epoch-activated', accepted: [], absent: [] });
  say({ type: 'epoch-activated', accepted: [], absent: [verifier] });
  stage.nowMs += 3_600_000;
  say({ type: 'epoch-activated', accepted: [], absent: [verifier] });
  expect(found({ stage }, 1)).toEqual([`epoch 2 of mesh is used after 10 ms, without ${verifier}`]);
});

it('2: sees a decision before a member has used the new key', () => {
  const story = new Story().executed().prepared().accepted();
  const timer = { type: 'timer-fired', timer: 'step', atMs: 1 } as const;
  story.stage.entry(timer, 'committing');
  expect(found(story.committed(), 2)).toEqual([
    `the commit decision, and ${owner} has not used the new key of ${slot}`,
    `the commit decision, and ${verifier} has not used the new key of ${slot}`,
    `${slot} is on version 1, and its rotation committed 2`,
  ]);
});

it('2: sees a rotation that is said to have gone back, and has not', () => {
  const story = new Story().executed().prepared().accepted().activated();
  const asked = {
    type: 'rollback-requested',
    operatorId: 'op-1',
    reason: 'test',
    atMs: 1,
  } as const;
  story.stage.entry(asked, 'rolled_back');
  expect(found(story, 2)[0]).toBe(
    `the rotation has gone back, and ${slot} is still on its new key`,
  );
});

it('4: sees new keys that stay long after their rotation went back', () => {
  const story = new Story().executed().prepared().accepted().activated().rolledBack();
  story.stage.nowMs += 10_000;
  expect(found(story, 4)).toEqual([]);
  story.stage.nowMs += 3_600_000;
  expect(found(story, 4)[0]).toMatch(/^the new key of .* is still taken, 3610000 ms after/);
});

it('5: sees a gap in the chain of a sender that keeps what it says', () => {
  const stage = new Stage();
  const header = { previous: new Uint8Array(Buffer.from(hashOf('never'), 'hex')), counter: 9 };
  stage.say(owner, 'capability-advertised', {}, { header });
  stage.say('orchestrator-a', 'request-refused', {}, { header });
  expect(found({ stage }, 5)).toEqual(['an event follows one that nobody ever saw']);
});

it('6: sees an agent speak under what it has not written down', () => {
  const stage = new Stage();
  stage.observer.trustVersions(owner, { root: 1, registry: 1, policy: 2 });
  for (const agentId of [owner, verifier, 'op-1']) {
    stage.say(agentId, 'plan-approved', {}, { header: { policyVersion: 2 } });
  }
  expect(found({ stage }, 6)).toEqual([
    'speaks under policy 2, registry 1, and has 1 and 1 on its disk',
  ]);
});

it('14: sees a lockout that is left without its recovery', () => {
  const story = new Story().executed().prepared().accepted().activated().lockedOut();
  const asked = { type: 'recovery-requested', operatorId: 'op-1', atMs: 1 } as const;
  story.stage.entry(asked, 'rolling_back');
  story.stage.entry({ type: 'timer-fired', timer: 'step', atMs: 1 }, 'rolling_back');
  expect(found(story, 14)).toContain('a lockout was left for rolling_back by recovery-requested');
});

it('14: sees a freeze that was reported and not done', () => {
  const story = new Story().executed().prepared();
  const step = story.stage.intent(owner, 'freeze');
  story.stage.outcome(owner, step, [{ slot, version: 1 }]);
  expect(found(story, 14)).toEqual([`${slot} is reported as frozen, and never was`]);
});
