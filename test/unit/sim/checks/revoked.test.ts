/** What the invariants ask of members that were revoked, and what they go on asking of them. */

import { expect, it } from 'vitest';
import type { Invariant } from '../../../sim/checks/check.ts';
import { hashOf, owner, slot, verifier } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story } from './story.ts';

function found({ stage }: { readonly stage: Stage }, invariant: Invariant): string[] {
  stage.checks.atRest();
  expect(stage.looked(invariant)).toBeGreaterThan(0);
  return stage.found(invariant).map(({ what }) => what);
}

/** An operator offers the revocation, and the auditor takes it, or not. */
function revoked(story: Story, agentId: string, verdict: 'accepted' | 'refused' = 'accepted') {
  const document = Buffer.from(JSON.stringify({ body: { kind: 'revocation', agent_id: agentId } }));
  const body = { document: new Uint8Array(document) };
  const hash = hashOf(`revocation of ${agentId}`);
  story.stage.say('op-1', 'document-offered', body, { hash });
  story.stage.leaf(hash, verdict);
  return story;
}

const prepared = () => new Story().executed().prepared();

it('1 and 2: a revoked verifier accepts and uses nothing any more', () => {
  expect(found(revoked(prepared(), verifier).activated(), 1)).toEqual([]);
  const committed = revoked(prepared(), verifier).activated().committed();
  expect(found(committed, 2)).toEqual([]);
});

it('1: an offer that the auditor refused revokes nobody, and nobody stands for another', () => {
  const missing = [`version 2 of ${slot} became primary, and ${verifier} has not accepted it`];
  expect(found(revoked(prepared(), verifier, 'refused').activated(), 1)).toEqual(missing);
  expect(found(revoked(prepared(), 'database-a').activated(), 1)).toEqual(missing);
  expect(found(revoked(prepared(), owner).activated(), 1)).toEqual(missing);
});

it('1: a revocation that comes later excuses nothing', () => {
  expect(found(revoked(prepared().activated(), verifier), 1)).toHaveLength(1);
});

it('2: a slot whose owner was revoked is turned back by nobody', () => {
  const asked = {
    type: 'rollback-requested',
    operatorId: 'op-1',
    reason: 'test',
    atMs: 1,
  } as const;
  const back = (story: Story): Story => {
    story.stage.entry(asked, 'rolled_back');
    return story;
  };
  const turned = () => prepared().accepted().activated();
  expect(found(back(turned()), 2)).not.toEqual([]);
  expect(found(back(revoked(turned(), verifier)), 2)).not.toEqual([]);
  const { stage } = back(revoked(turned(), owner));
  stage.checks.atRest();
  expect(stage.found(2)).toEqual([]);
});

it('3: the public half of a revoked owner may go, that of another owner in use may not', () => {
  const drop = (story: Story): Story => {
    story.stage.sql(verifier, 'store.db', [['DELETE FROM peer_keys WHERE version = 2']]);
    return story;
  };
  const turned = () => prepared().accepted().activated();
  expect(found(drop(turned()), 3)).toHaveLength(1);
  expect(found(drop(revoked(turned(), verifier)), 3)).toHaveLength(1);
  expect(found(drop(revoked(turned(), owner)), 3)).toEqual([]);
});

it('4 and 13: who was revoked is told nothing, and ends what it began', () => {
  const ended = (agentId: string): Story => {
    const story = prepared().accepted().activated().committed();
    story.stage.nowMs += 10_000;
    story.letGo();
    revoked(story, agentId);
    story.stage.entry({ type: 'timer-fired', timer: '1', atMs: 1 }, 'retired');
    story.stage.sql(owner, 'store.db', [
      ['INSERT INTO reservations VALUES (?, ?)', slot, 'plan-1'],
    ]);
    return story;
  };
  const still = `the old key of ${slot} is still taken after the rotation is retired`;
  expect(found(ended(verifier), 4)).toEqual([still]);
  expect(found(ended(owner), 4)).toEqual([]);
  const reserved = `${slot} is reserved for a rotation that is retired`;
  expect(found(ended(verifier), 13)).toEqual([reserved]);
  expect(found(ended(owner), 13)).toEqual([]);
  const story = ended(owner);
  const open = story.stage.intent(owner, 'release');
  expect(found(story, 13)).toEqual([`${open} is begun and not ended`]);
});

it('9: a key goes without the word of a revoked verifier, not without that of its owner', () => {
  const retired = (agentId: string, members: readonly string[]): Story => {
    const story = prepared().accepted().activated().committed();
    revoked(story, agentId).stage.nowMs += 10_000;
    return story.letGo(members).retired();
  };
  expect(found(retired(verifier, [owner]), 9)).toEqual([]);
  expect(found(retired(owner, [verifier]), 9)).toEqual([
    `the old key of ${slot} was destroyed before ${owner} let it go`,
  ]);
});
