/**
 * A bus that came back from a copy: its sequences begin anew, prekeys that were used stand in it again, and
 * what their owners published since does not. Channels are rekeyed on, above all epochs that there were.
 */

import { afterEach, expect, it } from 'vitest';
import { members } from '#cli/mesh/members.ts';
import type { EpochStatus } from '#schemas/epoch.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

const enrolled = members.filter(({ id, kind }) => kind !== 'layer' || id === 'identity-a');
const orchestrators = ['orchestrator-a', 'orchestrator-b'];
const patience = { interval: 100 };
/** More than clocks may differ by: what is asked for from here on is no older wish. */
const laterMs = 60_000;

let mesh: InMemoryMesh;
afterEach(() => mesh.stop());

async function epochs(): Promise<ReadonlyMap<string, number>> {
  const answer = (await mesh.ask({ ask: 'epoch-status' })) as { channels: EpochStatus[] };
  return new Map(answer.channels.map(({ channel, epoch }) => [channel, epoch]));
}

const lastSequence = (): number => mesh.world.broker.stream('GYRE_CONTROL').lastSequence;

/** The epoch of the channel `mesh` that everyone is in, once it is above that. */
async function rekeyed(above: number): Promise<number> {
  mesh.world.clock.offsetMs += laterMs;
  await mesh.operator('op-1').publish({
    type: 'epoch-rotation-requested',
    subject: subjectsOf(mesh.world.mesh).request('op-1'),
    channel: 'operators',
    body: { requestId: `above ${above}`, channel: 'mesh', cause: 'operator', reason: 'test' },
  });
  await expect.poll(async () => (await epochs()).get('mesh'), patience).toBeGreaterThan(above);
  for (const id of mesh.running()) {
    await expect
      .poll(() => mesh.keyringOf(id).currentEpoch('mesh') ?? 0, patience)
      .toBeGreaterThan(above);
  }
  return (await epochs()).get('mesh') ?? 0;
}

function rollBack(toSequence: number): void {
  const { broker } = mesh.world;
  broker.stop();
  broker.rollBack('GYRE_CONTROL', toSequence);
  broker.start();
}

it('to its beginning: the prekeys that are published then count', async () => {
  mesh = await InMemoryMesh.start({ hasEpochs: true, members: enrolled });
  rollBack(0);
  const first = (await epochs()).get('mesh') ?? 0;
  const second = await rekeyed(first);
  const third = await rekeyed(second);
  expect(await rekeyed(third)).toBeGreaterThan(third);
});

it('to before a rekeying, for orchestrators that know of none', async () => {
  mesh = await InMemoryMesh.start({ hasEpochs: true, members: enrolled });
  const kept = lastSequence();
  const above = await rekeyed((await epochs()).get('mesh') ?? 0);
  await Promise.all(orchestrators.map((id) => mesh.stopAgent(id)));
  rollBack(kept);
  await Promise.all(orchestrators.map((id) => mesh.startAgent(id)));
  const next = await rekeyed(above);
  expect(await rekeyed(next)).toBeGreaterThan(next);
});
