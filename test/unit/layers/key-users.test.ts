/**
 * Keys of layers 1 and 2 that are to go while something needs them: the step of the rotation, as the
 * agent carries it out against the real services, is refused with how much, until nothing is left.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runEffect } from '#agents/layers/step-effects.ts';
import type { StepTask } from '#agents/layers/step-task.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import type { StepOperation } from '#schemas/saga.ts';
import { crypto } from '../../support/world.ts';
import {
  capabilitiesFor,
  introspected,
  logIn,
  sessionMs,
  startLayers,
  turn,
  type Layers,
} from './identity-world.ts';

let layers: Layers;

beforeAll(async () => {
  layers = await startLayers();
});
afterAll(() => layers.end());

/** One step of a rotation of `slot` from version 1 to 2, at the owner. */
async function step(adapter: RemoteAdapter, slot: string, operation: StepOperation) {
  const inspected = (await adapter.inspect()).find((each) => each.slot === slot);
  if (inspected === undefined) throw new Error(`no slot ${slot}`);
  const keyOf = (version: number) => {
    const found = inspected.versions.find((each) => each.version === version);
    return { version, keyId: found?.keyId ?? '' };
  };
  const task: StepTask = {
    commandId: `c-${operation}`,
    sagaId: 'rot-1',
    sagaIndex: 1,
    planDigest: 'd'.repeat(64),
    operation,
    recovers: false,
    slots: [
      {
        slot,
        keyKind: inspected.keyKind,
        role: 'owner',
        checkpoint: keyOf(1),
        candidate: keyOf(2),
      },
    ],
  };
  const result = await runEffect(task, { adapter, crypto, clock: layers.clock });
  const [reported] = result.slots ?? [];
  const { status } = result;
  return { status, inUse: reported?.inUse, ...(status === 'failed' ? result : {}) };
}

async function states(adapter: RemoteAdapter, slot: string): Promise<string[]> {
  const inspected = (await adapter.inspect()).find((each) => each.slot === slot);
  return inspected?.versions.map(({ version, state }) => `${version}:${state}`) ?? [];
}

test('sessions hold the key that signed them: so many, then none', async () => {
  const slot = '1/session-token';
  const adapter = await layers.identity.adapter();
  await logIn(layers);
  await logIn(layers);
  await turn(adapter, slot, 2);
  await logIn(layers);
  expect(await step(adapter, slot, 'release')).toMatchObject({ status: 'done', inUse: 2 });
  expect(await step(adapter, slot, 'retire')).toMatchObject({
    status: 'failed',
    code: 'ORCH-8007',
    reason: `the old key of ${slot} is in use: 2`,
    inUse: 2,
  });
  expect(await states(adapter, slot)).toEqual(['2:primary', '1:accepted']);
  // The first of them ends a minute before the second.
  await layers.clock.advance(sessionMs - 120_000);
  expect(await step(adapter, slot, 'retire')).toMatchObject({ code: 'ORCH-8007', inUse: 1 });
  await layers.clock.advance(60_000);
  expect(await step(adapter, slot, 'release')).toMatchObject({ status: 'done', inUse: 0 });
  expect(await step(adapter, slot, 'retire')).toMatchObject({ status: 'done' });
  expect(await states(adapter, slot)).toEqual(['2:primary']);
  adapter.close();
});

test.each(['2/capability-signature', '2/nonce-mac'])(
  'capabilities hold %s, used or not, also where it was taken back',
  async (slot) => {
    const adapter = await layers.authorization.adapter();
    const session = await logIn(layers);
    const [used = ''] = await capabilitiesFor(layers, session, { count: 3 });
    await turn(adapter, slot, 2);
    await capabilitiesFor(layers, session, { count: 5 });
    expect(await introspected(layers, used)).toBe('ok');
    // So that its use is a while ago.
    await layers.clock.advance(10);
    const retired = await step(adapter, slot, 'retire');
    expect(retired).toMatchObject({ status: 'failed', code: 'ORCH-8007', inUse: 3 });
    await adapter.rollback(slot, 1);
    expect(await step(adapter, slot, 'discard')).toMatchObject({
      status: 'failed',
      code: 'ORCH-8007',
      reason: `the withdrawn key of ${slot} is in use: 5`,
      inUse: 5,
    });
    await layers.clock.advance(60_000);
    expect(await step(adapter, slot, 'discard')).toMatchObject({ status: 'done' });
    expect(await states(adapter, slot)).toEqual(['1:primary']);
    adapter.close();
  },
);
