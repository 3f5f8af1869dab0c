/** Rotations through a whole mesh in memory: the straight way, the way back, and who may go it. */

import { afterEach, expect, it } from 'vitest';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { servingAgents } from '#shared/core/plan-members.ts';
import { forwardingTo } from '#shared/bus/forwarding-bus.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { patienceMs } from '../support/patience.ts';

let mesh: InMemoryMesh | undefined;

afterEach(async () => {
  await mesh?.stop();
  mesh = undefined;
});

it('turns seven layers once they are approved', async () => {
  mesh = await InMemoryMesh.start({ times: { soakMs: 0, overlapMs: 300 } });
  const before = await mesh.versions();
  const plan = await mesh.approvedPlan([1, 2, 3, 4, 5, 6, 7]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, ['committed', 'retiring', 'retired']);
  const after = await mesh.versions();
  expect(Object.keys(after)).toHaveLength(14);
  for (const [slot, version] of Object.entries(after))
    expect(version).toBe((before[slot] ?? 0) + 1);
  await mesh.until(plan.planId, ['retired']);
});

it('tells what keeps the old keys, and which plans the rotation made stale', async () => {
  mesh = await InMemoryMesh.start({ times: { soakMs: 0, overlapMs: 120_000 } });
  const slot = '6/patient-mac';
  const running = mesh;
  const holds = async () => {
    const list = (await running.ask({ ask: 'keys-list' })) as { holds: { slot: string }[] };
    return list.holds.filter((hold) => hold.slot === slot);
  };
  const plan = await mesh.approvedPlan([6]);
  const other = await mesh.plan([6]);
  const listed = async () => {
    const list = (await running.ask({ ask: 'rotation-list' })) as { planId: string }[];
    return list.find(({ planId }) => planId === other.planId);
  };
  expect(await holds()).toEqual([]);
  expect(await listed()).not.toHaveProperty('stale');
  await mesh.execute(plan);
  await mesh.until(plan.planId, ['committed']);
  await expect
    .poll(holds, { timeout: patienceMs })
    .toEqual([
      expect.objectContaining({ kind: 'key', planId: plan.planId, version: 1, heldBy: [] }),
    ]);
  const stale = {
    code: 'ORCH-8004',
    reason: `${plan.planId} has turned ${slot} since, to version 2`,
  };
  expect(await listed()).toMatchObject({ stale });
  expect(await mesh.show(other.planId)).toMatchObject({ stale });
  expect(await mesh.show(plan.planId)).not.toHaveProperty('stale');
});

it('asks only the agents that have a part in it', async () => {
  const asked = new Set<string>();
  const listening = (agentId: string, bus: Bus): Bus => {
    if (!agentId.startsWith('orchestrator-')) return bus;
    return {
      ...forwardingTo(bus),
      request: (subject, data, timeoutMs) => {
        asked.add(subject);
        return bus.request(subject, data, timeoutMs);
      },
    };
  };
  mesh = await InMemoryMesh.start({ times: { soakMs: 0, overlapMs: 300 }, busOf: listening });
  const { world } = mesh;
  const layerAgentsAsked = (): string[] =>
    servingAgents(world.trust.agents())
      .map(({ agentId }) => agentId)
      .filter((agentId) => asked.has(subjectsOf(world.mesh).query(agentId)))
      .toSorted();
  asked.clear();
  const small = await mesh.approvedPlan([6]);
  await mesh.execute(small);
  await mesh.until(small.planId, ['retired']);
  expect(layerAgentsAsked()).toEqual(['phi-a']);
  asked.clear();
  // Layer 5 is turned with layer 4, and is a member of its keys.
  const large = await mesh.approvedPlan([4, 5]);
  await mesh.execute(large);
  await mesh.until(large.planId, ['retired']);
  expect(layerAgentsAsked()).toEqual(['database-a', 'encryption-a']);
});

it('does not run without the approval of a second operator', async () => {
  mesh = await InMemoryMesh.start();
  const plan = await mesh.plan([1]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'refused', code: 'ORCH-8015' });
  const { planId, planDigest } = plan;
  const own = await mesh.request('op-1', 'plan-approved', { planId, planDigest });
  expect(own).toMatchObject({ status: 'refused', code: 'ORCH-8015' });
  expect(await mesh.versions()).toMatchObject({ '1/identity-signature': 1, '1/session-token': 1 });
});
