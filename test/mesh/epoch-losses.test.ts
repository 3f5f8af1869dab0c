/**
 * Epochs that are over and epochs that were lost: a signer that was away wipes what was closed meanwhile,
 * an orchestrator that starts reads old rotations out of the archive, and a bus that forgot the logs gets
 * new epochs above all that there were.
 */

import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { members } from '#cli/mesh/members.ts';
import type { EpochStatus } from '#schemas/epoch.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { InMemoryMesh, type RotationView } from '../support/in-memory-mesh.ts';

const layers = ['identity-a', 'encryption-a'];
const enrolled = members.filter(({ id, kind }) => kind !== 'layer' || layers.includes(id));
const patience = { interval: 50 };

let mesh: InMemoryMesh;
let finished: RotationView;

beforeAll(async () => {
  const times = { soakMs: 0, overlapMs: 100 };
  mesh = await InMemoryMesh.start({ hasEpochs: true, members: enrolled, times });
});

afterAll(() => mesh.stop());

async function statusOf(channel: string): Promise<EpochStatus> {
  const answer = (await mesh.ask({ ask: 'epoch-status' })) as { channels: EpochStatus[] };
  const found = answer.channels.find((each) => each.channel === channel);
  if (found === undefined) throw new Error(`no channel ${channel}`);
  return found;
}

async function rekey(requestId: string): Promise<void> {
  await mesh.operator('op-1').publish({
    type: 'epoch-rotation-requested',
    subject: subjectsOf(mesh.world.mesh).request('op-1'),
    channel: 'operators',
    body: { requestId, cause: 'operator', reason: 'test' },
  });
}

async function rotated(): Promise<RotationView> {
  const plan = await mesh.approvedPlan([1, 4]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  return mesh.until(plan.planId, ['retired']);
}

const inVault = (channel: string, epoch: number): boolean =>
  existsSync(path.join(mesh.folder, 'signer', 'epochs', `${channel}.${epoch}.secret`));

it('a signer that was away when epochs were closed wipes them when it is back', async () => {
  finished = await rotated();
  const { epoch: first } = await statusOf('saga');
  await rekey('one');
  await expect.poll(async () => (await statusOf('saga')).epoch, patience).toBeGreaterThan(first);
  await expect.poll(() => mesh.keyringOf('signer').currentEpoch('saga'), patience).not.toBe(first);
  await mesh.stopAgent('signer');
  expect(inVault('saga', first)).toBe(true);
  mesh.world.clock.offsetMs += 600_000 + 15_000;
  await expect.poll(async () => (await statusOf('saga')).open, patience).not.toContain(first);
  expect(inVault('saga', first)).toBe(true);
  await mesh.startAgent('signer');
  await expect.poll(() => inVault('saga', first), patience).toBe(false);
  expect(mesh.keyringOf('signer').secretOf({ channel: 'saga', epoch: first })).toBeUndefined();
  expect(inVault('saga', first + 1)).toBe(true);
});

it('an orchestrator that starts reads a rotation whose epoch is over out of the archive', async () => {
  await Promise.all(['orchestrator-a', 'orchestrator-b'].map((id) => mesh.stopAgent(id)));
  await mesh.startAgent('orchestrator-b');
  expect(await mesh.show(finished.planId)).toMatchObject({
    phase: 'retired',
    index: finished.index,
    planDigest: finished.planDigest,
  });
  const list = (await mesh.ask({ ask: 'rotation-list' })) as { planId: string; phase: string }[];
  expect(list).toMatchObject([{ planId: finished.planId, phase: 'retired' }]);
  await mesh.startAgent('orchestrator-a');
});

it('a bus that forgot the logs gets epochs above all that there were', async () => {
  const before = await statusOf('mesh');
  await Promise.all(['orchestrator-a', 'orchestrator-b'].map((id) => mesh.stopAgent(id)));
  mesh.world.broker.truncate('GYRE_CONTROL', 0);
  await Promise.all(['orchestrator-a', 'orchestrator-b'].map((id) => mesh.startAgent(id)));
  await rekey('two');
  for (const id of mesh.running().filter((each) => each !== 'op-1')) {
    await expect
      .poll(() => mesh.keyringOf(id).currentEpoch('mesh') ?? 0, patience)
      .toBeGreaterThan(before.epoch);
  }
  const { epoch, cause } = await statusOf('mesh');
  expect(epoch).toBeGreaterThan(before.epoch);
  expect(['lost', 'operator']).toContain(cause);
});
