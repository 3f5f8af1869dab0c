import { expect, it } from 'vitest';
import { instantMs } from '#shared/core/instant.ts';
import { staleness, turnedSlots } from '#shared/core/plan-staleness.ts';
import { digestOf, nowMs } from './mesh.ts';
import { World } from './rotation/world.ts';

const world = new World().settle();
const { registry_digest, policy_digest, enrolments_digest } = world.plan.basis;
const digests = {
  registry: registry_digest,
  policy: policy_digest,
  enrolments: enrolments_digest,
};
const none = () => turnedSlots([]);
const now = { turned: none, digests, nowMs };

it('a plan that was just made is not stale', () => {
  expect(world.state.phase).toBe('validated');
  expect(staleness(world.state, now)).toBeUndefined();
});

it('a plan whose time is over is stale', () => {
  const { expires_at } = world.plan;
  const late = { ...now, nowMs: instantMs(expires_at) };
  const reason = `the plan expired at ${expires_at}`;
  expect(staleness(world.state, late)).toMatchObject({ code: 'ORCH-8004', reason });
});

it('a plan whose keys another rotation has turned is stale, and says which did', () => {
  const other = new World().execute().settle();
  expect(staleness(world.state, { ...now, turned: () => turnedSlots([other.state]) })).toEqual({
    code: 'ORCH-8004',
    subject: '1/identity-signature',
    reason: 'rot-1 has turned 1/identity-signature since, to version 2',
  });
  // One that went back has turned nothing.
  const back = { ...other.state, decision: 'rollback' } as const;
  expect(staleness(world.state, { ...now, turned: () => turnedSlots([back]) })).toBeUndefined();
});

it('what was turned before the plan began says nothing of it: versions begin again at another owner', () => {
  const { state } = new World().execute().settle();
  const slots = state.slots.map((slot) => {
    const { candidate } = slot;
    return { ...slot, candidate: candidate === null ? null : { ...candidate, version: 12 } };
  });
  const before = { ...state, sagaId: 'rot-0', slots, decidedAtMs: world.state.beganAtMs - 1 };
  const staleAfter = (...states: (typeof state)[]) =>
    staleness(world.state, { ...now, turned: () => turnedSlots(states) });
  expect(staleAfter(before)).toBeUndefined();
  // And it hides none that came after the plan.
  const reason = 'rot-1 has turned 1/identity-signature since, to version 2';
  expect(staleAfter(before, state)).toMatchObject({ reason });
  expect(staleAfter(state, before)).toMatchObject({ reason });
});

it('a plan that was made from other documents is stale', () => {
  const amended = { ...now, digests: { ...digests, policy: digestOf('another policy') } };
  expect(staleness(world.state, amended)).toMatchObject({ subject: 'policy' });
});

it('what has begun, or is over, is not stale, whatever the time', () => {
  const done = new World().execute().settle();
  const late = { ...now, nowMs: nowMs + 365 * 86_400_000, turned: () => turnedSlots([done.state]) };
  expect(staleness(done.state, late)).toBeUndefined();
});
