/** A stolen orchestrator: its keys, its place on the bus, every channel secret that it holds. */

import { afterEach, expect, it } from 'vitest';
import type { SagaEntry } from '#schemas/saga.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh | undefined;

afterEach(async () => {
  await mesh?.stop();
  mesh = undefined;
});

type SlotsEntry = Extract<SagaEntry, { saga: 'slots' }>;

it('cannot hold slots for a rotation that does not wait for them', async () => {
  mesh = await InMemoryMesh.start();
  const idle = await mesh.plan([1, 4]);
  const wanted = await mesh.approvedPlan([4]);
  await mesh.stopAgent('orchestrator-b');
  const bus = mesh.world.bus('orchestrator-b');
  const thief = mesh.principal('orchestrator-b', { bus });
  const subject = subjectsOf(mesh.world.mesh).sagaSlots();
  const held: SlotsEntry['event'] = {
    type: 'slots-reserved',
    sagaId: idle.planId,
    sagaIndex: 0,
    slots: ['4/root-kek', '4/kek'],
    atMs: 0,
  };
  const body: SlotsEntry = {
    saga: 'slots',
    sagaId: 'slots',
    index: 0,
    previous: '0'.repeat(64),
    consumed: [],
    event: held,
  };
  const outcome = await thief.append({ type: 'saga-entry', subject, channel: 'saga', body }, 0);
  expect(outcome.status).toBe('stored');
  expect(await mesh.execute(wanted)).toMatchObject({ status: 'accepted' });
  await mesh.until(wanted.planId, ['committed', 'retiring', 'retired']);
  await bus.close();
});
