/**
 * A member is revoked in the middle of a rotation: one that only verifies, or the owner of slots, before
 * the commit decision and after it. The rotation ends, and nobody takes an orchestrator's word for it.
 */

import { afterEach, describe, expect, it } from 'vitest';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import { members } from '#cli/mesh/members.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { bytesOf, revocationOf } from '../support/documents.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

/** Layer 4 of a plan for layers 1 and 4, with what depends on them, stands still in one operation until it is let go. */
const held = 4;
const owner = 'encryption-a';
/** Takes part in the slots of layer 1 and owns nothing of the plan. */
const verifier = 'identity-b';
const second = { id: verifier, kind: 'layer', layer: 1, capabilities: [] } as const;
const ended: RotationPhase[] = ['retired', 'rolled_back', 'locked_out'];

let mesh: InMemoryMesh | undefined;
let gate = Promise.withResolvers<void>();

afterEach(async () => {
  gate.resolve();
  await mesh?.stop();
  mesh = undefined;
  gate = Promise.withResolvers<void>();
});

type Operation = 'prepare' | 'activate' | 'retire';

function holding(adapter: LayerAdapter, operation: Operation): LayerAdapter {
  return new Proxy(adapter, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      const bound = value.bind(target) as (...given: unknown[]) => unknown;
      if (property !== operation) return bound;
      return async (...given: unknown[]) => {
        await gate.promise;
        return bound(...given);
      };
    },
  });
}

/** A rotation that stands still in the phase of that operation. */
async function standing(operation: Operation, phase: RotationPhase) {
  mesh = await InMemoryMesh.start({
    members: [...members, second],
    times: { soakMs: 0, overlapMs: 1_000 },
    adapterOf: (layer, adapter) => (layer === held ? holding(adapter, operation) : adapter),
  });
  const plan = await mesh.approvedPlan([1, 4]);
  await mesh.execute(plan);
  await mesh.until(plan.planId, [phase]);
  return { mesh, plan };
}

async function revoke(running: InMemoryMesh, agentId: string): Promise<void> {
  await running.offer('op-1', bytesOf(await revocationOf(running.world, agentId)));
  const know = () => running.running().every((id) => running.trustOf(id).isRevoked(agentId));
  await expect.poll(know).toBe(true);
}

async function stateOf(running: InMemoryMesh, planId: string): Promise<RotationState> {
  return ((await running.show(planId)) as unknown as { state: RotationState }).state;
}

const cases: [Operation, RotationPhase, RotationPhase][] = [
  ['prepare', 'preparing', 'rolled_back'],
  ['activate', 'activating', 'rolled_back'],
  ['retire', 'retiring', 'retired'],
];

describe.each(cases)('revoked while an owner is to %s', (operation, phase, end) => {
  it('a verifier is waited for no more, and the rotation goes on', async () => {
    const { mesh: running, plan } = await standing(operation, phase);
    await revoke(running, verifier);
    await expect
      .poll(async () => {
        const { slots } = await stateOf(running, plan.planId);
        return slots.some(({ revoked }) => revoked.includes(verifier));
      })
      .toBe(true);
    gate.resolve();
    const { phase: at } = await running.until(plan.planId, ended);
    expect(at).toBe('retired');
    const { slots, outstanding } = await stateOf(running, plan.planId);
    expect(outstanding.filter(({ type }) => type === 'send-step')).toEqual([]);
    for (const { verifiers, revoked } of slots) {
      expect(revoked).toEqual(verifiers.includes(verifier) ? [verifier] : []);
    }
    const versions = await running.versions();
    expect(versions['4/kek']).toBe(2);
    expect(versions['1/session-token'] ?? 2).toBe(2);
  });

  it('an owner takes the rotation back, or leaves its slots behind', async () => {
    const { mesh: running, plan } = await standing(operation, phase);
    await revoke(running, owner);
    const { phase: at } = await running.until(plan.planId, ended);
    expect(at).toBe(end);
    const { slots, failure } = await stateOf(running, plan.planId);
    for (const slot of slots) {
      if (slot.owner === owner) expect(slot.revoked).toEqual([owner]);
    }
    if (end === 'rolled_back') expect(failure).toMatchObject({ code: 'ORCH-8007', agentId: owner });
    await expect(running.plan([4])).rejects.toThrow('ORCH-8007: layer 4 has no agent');
    const next = await running.approvedPlan([1]);
    expect(await running.execute(next)).toMatchObject({ status: 'accepted' });
    await running.until(next.planId, ['retired']);
  });
});

it('an orchestrator that was stolen puts nobody out by its word', async () => {
  const { mesh: running, plan } = await standing('prepare', 'preparing');
  await running.stopAgent('orchestrator-b');
  const { index, timeline } = (await running.show(plan.planId)) as unknown as {
    index: number;
    timeline: { hash: string }[];
  };
  const bus = running.world.bus('orchestrator-b');
  const thief = running.principal('orchestrator-b', { bus });
  const subject = subjectsOf(running.world.mesh).sagaRotation(plan.planId);
  const last = await bus.lastMessage('GYRE_CONTROL', subject);
  const body = {
    saga: 'rotation' as const,
    sagaId: plan.planId,
    index: index + 1,
    previous: timeline.at(-1)?.hash ?? '',
    consumed: [],
    event: { type: 'members-revoked' as const, agentIds: [verifier], atMs: 0 },
  };
  const said = { type: 'saga-entry' as const, subject, channel: 'saga', body };
  expect((await thief.append(said, last?.sequence ?? 0)).status).toBe('stored');
  gate.resolve();
  expect((await running.until(plan.planId, ended)).phase).toBe('retired');
  const { slots } = await stateOf(running, plan.planId);
  expect(slots.flatMap(({ revoked }) => revoked)).toEqual([]);
  const shared = slots.filter(({ verifiers }) => verifiers.includes(verifier));
  for (const { accepted, released } of shared) {
    expect(accepted.map(({ agentId }) => agentId)).toContain(verifier);
    expect(released.map(({ agentId }) => agentId)).toContain(verifier);
  }
  await bus.close();
});
