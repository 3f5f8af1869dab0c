/**
 * A bus that lost all that it held of the control events: what runs is the auditor's to put back, and the
 * next rotation is planned from what the agents answer then, so that it goes as if nothing had been.
 */

import { afterEach, expect, it } from 'vitest';
import type { LayerNumber } from '#schemas/layers.ts';
import { InMemoryMesh, type RotationView } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh;

afterEach(async () => {
  await mesh.stop();
});

const ended = ['committed', 'retiring', 'retired'] as const;

async function executed(layers: readonly LayerNumber[]): Promise<RotationView> {
  const plan = await mesh.approvedPlan(layers);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  return plan;
}

async function rotate(layers: readonly LayerNumber[]): Promise<void> {
  const { planId } = await executed(layers);
  await mesh.until(planId, [...ended]);
}

async function restart(ids: readonly string[]): Promise<void> {
  await Promise.all(ids.map((id) => mesh.stopAgent(id)));
  await Promise.all(ids.map((id) => mesh.startAgent(id)));
}

it('in the middle of a rotation: that ends, and so does the next one', async () => {
  mesh = await InMemoryMesh.start();
  const { planId } = await executed([1]);
  mesh.world.broker.truncate('GYRE_CONTROL', 0);
  await mesh.until(planId, [...ended, 'rolled_back']);
  const before = await mesh.versions();
  await rotate([4]);
  expect((await mesh.versions())['4/kek']).toBe((before['4/kek'] ?? 0) + 1);
});

it.each([
  ['nobody', () => []],
  ['orchestrators', () => ['orchestrator-a', 'orchestrator-b']],
  ['everyone', () => [...mesh.running()]],
] as const)('between two rotations, with restarts of %s', async (_who, restarted) => {
  mesh = await InMemoryMesh.start();
  await rotate([1]);
  const before = await mesh.versions();
  mesh.world.broker.truncate('GYRE_CONTROL', 0);
  await restart(restarted());
  await rotate([1]);
  const after = await mesh.versions();
  for (const slot of ['1/identity-signature', '1/session-token']) {
    expect(after[slot]).toBe((before[slot] ?? 0) + 1);
  }
});
