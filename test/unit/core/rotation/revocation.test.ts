/** A member is revoked in the middle of a rotation: whoever it is and whenever, the rotation ends. */

import assert from 'node:assert/strict';
import { describe, expect, it } from 'vitest';
import type { RotationPhase } from '#schemas/saga.ts';
import { isAbandoned, membersOf } from '#shared/core/rotation/draft.ts';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import { agentsOf, inspectionOf, planOf, policyOf, requestOf } from '../mesh.ts';
import { isStep, World, type WorldOptions } from './world.ts';

const agents = agentsOf(undefined, 2);

/** Two agents in every layer: the second of each owns nothing. */
function begun(options: WorldOptions = {}): World {
  const policy = options.policy ?? policyOf();
  const inspections = agents.map(inspectionOf);
  const plan = planOf({ policy, agents, inspections, request: requestOf([1, 2, 4, 5]) });
  return new World({ ...options, policy, plan }).execute();
}

function until(world: World, phase: RotationPhase): World {
  return world.settle(({ state }) => state.phase === phase);
}

/** It is at rest, gave its slots back, and what is left is on one version. */
function assertEnded(world: World, phase: 'retired' | 'rolled_back'): void {
  const { state } = world;
  assert.equal(state.phase, phase);
  assert.deepEqual(state.outstanding, []);
  assert.deepEqual(state.waiting, []);
  assert.deepEqual(world.ledger.held, []);
  for (const slot of state.slots) {
    for (const agentId of membersOf(slot)) {
      const agent = world.agent(agentId);
      assert.equal(agent.isOldKept(slot.slot), phase === 'rolled_back');
      assert.equal(agent.hasCandidate(slot.slot), phase === 'retired');
    }
    if (isAbandoned(slot)) continue;
    const version = slot.checkpoint.version + (phase === 'retired' ? 1 : 0);
    assert.equal(world.agent(slot.owner).primary(slot.slot).version, version);
  }
}

const beforeDecision: readonly RotationPhase[] = [
  'preparing',
  'distributing',
  'activating',
  'verifying',
  'soaking',
  'committing',
];
const afterDecision: readonly RotationPhase[] = ['committed', 'retiring'];
const soaking = { policy: policyOf({ soak_ms: 100, soak_samples_min: 1 }) };

describe('a verifier that is revoked', () => {
  it.each([...beforeDecision, ...afterDecision])('while %s is waited for no more', (phase) => {
    const world = until(begun(soaking), phase).revoke('layer-2-b').settle();
    assertEnded(world, 'retired');
    const slots = world.state.slots.filter(({ revoked }) => revoked.includes('layer-2-b'));
    expect(slots.map(({ layer }) => layer)).toEqual([1, 1, 2]);
    const { index } = world.history.find(({ event }) => event.type === 'members-revoked') ?? {};
    const later = world.issued.filter((command) => command.sagaIndex >= (index ?? Infinity));
    const steps = later.filter((command) => command.type === 'send-step') as SendStep[];
    expect(steps.every(({ agentId }) => agentId !== 'layer-2-b')).toBe(true);
    expect(rotationGrid(world.state).every(({ steps: row }) => row.retire === 'done')).toBe(true);
  });

  it('before the execution is authorized takes the plan with it: its members are others', () => {
    const world = until(begun(), 'authorizing').revoke('layer-2-b').settle();
    assertEnded(world, 'rolled_back');
    expect(world.state.failure).toMatchObject({ code: 'ORCH-8007', agentId: 'layer-2-b' });
  });

  it('is not waited for on the way back, nor to drop a key after it', () => {
    const options = { ...soaking, fault: failsLate };
    assertEnded(until(begun(options), 'rolling_back').revoke('layer-2-b').settle(), 'rolled_back');
    assertEnded(until(begun(options), 'rolled_back').revoke('layer-2-b').settle(), 'rolled_back');
  });

  it('leaves out its word where others are told again what rested on it', () => {
    const world = begun({
      fault: ({ operation }) => (operation === 'activate' ? 'silent' : undefined),
    });
    until(world, 'activating').settle(({ pending }) => pending.length === 0);
    const [former] = world.state.outstanding.filter((command) => isStep(command, 'activate', 1));
    world.revoke('layer-2-b').advance();
    const [again] = world.state.outstanding.filter((command) => isStep(command, 'activate', 1));
    expect(again?.id).not.toBe(former?.id);
    expect((again as SendStep).evidence.length).toBe((former as SendStep).evidence.length - 1);
  });
});

describe('an owner that is revoked', () => {
  it.each(beforeDecision)('while %s takes the rotation back', (phase) => {
    const world = until(begun(soaking), phase).revoke('layer-4-a').settle();
    assertEnded(world, 'rolled_back');
    expect(world.state.failure).toMatchObject({ code: 'ORCH-8007', agentId: 'layer-4-a' });
    expect(world.state.lockouts).toBe(0);
  });

  it.each(afterDecision)('while %s leaves its slots behind', (phase) => {
    const world = until(begun(soaking), phase).revoke('layer-4-a').settle();
    assertEnded(world, 'retired');
    expect(world.state.slots.filter(isAbandoned).every(({ layer }) => layer === 4)).toBe(true);
    const shared = world.state.slots.filter(({ verifiers }) => verifiers.includes('layer-4-b'));
    expect(shared.length).toBeGreaterThan(0);
    for (const { slot } of shared) expect(world.agent('layer-4-b').isOldKept(slot)).toBe(false);
  });

  it('alone in its layer leaves a slot that nobody turns', () => {
    const world = until(begun(soaking), 'retiring').revoke('layer-5-a', 'layer-5-b').settle();
    assertEnded(world, 'retired');
    const row = rotationGrid(world.state).find(({ layer }) => layer === 5);
    expect(row?.steps).toMatchObject({ activate: 'done', commit: 'done', retire: 'skipped' });
  });

  it('on the way back is not waited for', () => {
    const world = until(begun({ ...soaking, fault: failsLate }), 'rolling_back');
    assertEnded(world.revoke('layer-1-a').settle(), 'rolled_back');
  });

  it('because of whom the rotation is locked out no longer stands in the way of a recovery', () => {
    const world = begun({
      fault: (command) =>
        failsLate(command) ?? (isStep(command, 'rollback', 1) ? 'silent' : undefined),
    }).settle();
    expect(world.state.phase).toBe('locked_out');
    world.revoke('layer-1-a', 'layer-1-b', 'layer-2-a', 'layer-2-b').settle();
    expect(world.state.phase).toBe('locked_out');
    const noted = () => world.history.filter(({ event }) => event.type === 'members-revoked');
    expect(noted()).toEqual([]);
    expect(world.requestRecovery()).toBeNull();
    expect(world.approveRecovery()).toBeNull();
    assertEnded(world.settle(), 'rolled_back');
    expect(noted()).toHaveLength(1);
  });
});

describe('an entry about revoked members', () => {
  it('is none where nobody waits for them', () => {
    const world = begun();
    const says = (...agentIds: string[]) =>
      world.propose({ type: 'members-revoked', agentIds })?.rejected;
    expect(says('layer-2-b')).toBe('PHASE_MISMATCH');
    until(world, 'preparing');
    expect(says('layer-7-a')).toBe('NOT_AWAITED');
    expect(says('layer-2-b', 'layer-2-b')).toBe('NOT_AWAITED');
    expect(says('layer-2-b', 'stranger')).toBe('NOT_AWAITED');
    expect(says('layer-2-b')).toBeUndefined();
    expect(says('layer-2-b')).toBe('NOT_AWAITED');
    // Everyone else knows better: an orchestrator's word makes no acceptance needless.
    world.settle();
    expect(world.refusals[0]).toMatch(/^activate: layer-2-b has not accepted the new key of 1\//);
    assertEnded(world, 'rolled_back');
  });

  it.each(['layer-1-a', 'layer-1-b', 'layer-2-a', 'layer-4-a', 'layer-5-a'])(
    'comes at any step about %s, and the rotation ends',
    (agentId) => {
      for (const options of [soaking, { ...soaking, fault: failsLate }]) {
        const end = stepsOf(begun(options));
        expect(end).toBeGreaterThan(50);
        for (let at = agentId.charCodeAt(6) % 5; at < end; at += 5) {
          const world = begun(options);
          for (let step = 0; step < at; step += 1) world.advance();
          const decision = world.revoke(agentId).settle().state.decision;
          assertEnded(world, decision === 'commit' ? 'retired' : 'rolled_back');
        }
      }
    },
  );
});

function failsLate(command: SendStep) {
  return isStep(command, 'verify', 5) ? {} : undefined;
}

function stepsOf(world: World): number {
  let steps = 0;
  while (world.advance()) steps += 1;
  return steps;
}
