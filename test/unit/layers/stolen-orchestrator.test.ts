/**
 * What an orchestrator that was stolen can still bring an agent to do with receipts that are genuine,
 * and that the agent ends on one version with the others once honest ones go on (invariants 2, 7, 8).
 */
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { revocationOf } from '../../support/documents.ts';
import type { World } from '../../support/world.ts';
import { Actor } from './actor.ts';
import { Director, stageWorld } from './director.ts';

const slot = '4/kek';
const slots = [slot];

let world: World;
let owner: Actor;
let rotations = 0;

beforeAll(async () => {
  world = await stageWorld();
});

beforeEach(() => {
  owner = new Actor(world, 'encryption-a', 4);
});

afterEach(() => {
  owner.end();
});

async function rotation(): Promise<Director> {
  rotations += 1;
  return await Director.plan(world, [owner], { planId: `stolen-${rotations}`, layers: [4] });
}

function primary(): number | undefined {
  return owner.adapter.store.primary(slot)?.version;
}

test('a layer that was activated before its turn goes back when it is told to discard', async () => {
  const director = await rotation();
  await director.succeed(owner, 'prepare', { index: 8 });
  // The saga is activating another layer: its own state never says that this one was touched.
  await director.succeed(owner, 'activate', { index: 12 });
  expect(primary()).toBe(2);
  const discarding = { index: 20, phase: 'rolling_back' } as const;
  await director.succeed(owner, 'discard', discarding);
  expect(primary()).toBe(1);
  expect(owner.adapter.store.version(slot, 2)?.state).toBe('destroyed');
  const { report } = await director.step(owner, 'activate', { index: 12, commandId: 'late' });
  expect(report?.body).toMatchObject({ status: 'failed' });
  expect(primary()).toBe(1);
});

test('what another rotation holds by now is not taken back by a discard', async () => {
  const first = await rotation();
  await first.succeed(owner, 'prepare', { index: 8 });
  await first.succeed(owner, 'activate', { index: 12 });
  const second = await rotation();
  await second.succeed(owner, 'prepare', { slots });
  const { report } = await first.step(owner, 'discard', { index: 20, slots });
  expect(report?.body).toMatchObject({ status: 'failed' });
  expect(primary()).toBe(2);
});

test('the rollback of an earlier rotation does not undo a later one', async () => {
  const first = await rotation();
  await first.succeed(owner, 'prepare', { slots });
  await first.succeed(owner, 'activate', { slots });
  await first.succeed(owner, 'rollback', { slots, index: 21 });
  const second = await rotation();
  await second.succeed(owner, 'prepare', { slots });
  await second.succeed(owner, 'activate', { slots });
  await second.succeed(owner, 'release', { slots });
  expect(primary()).toBe(3);
  const again = { slots, index: 21, commandId: `${first.planId}-21-9` };
  const { report } = await first.step(owner, 'rollback', again);
  expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8004' });
  expect(primary()).toBe(3);
  await second.succeed(owner, 'retire', { slots });
  expect(owner.adapter.store.version(slot, 1)?.state).toBe('destroyed');
});

test('a command id that was used for something else is not answered in its place', async () => {
  const director = await rotation();
  await director.succeed(owner, 'prepare', { slots, index: 8 });
  const commandId = `${director.planId}-21-1`;
  await director.succeed(owner, 'activate', { slots, index: 12, commandId });
  const { report } = await director.step(owner, 'rollback', { slots, index: 21, commandId });
  expect(report?.body).toMatchObject({ status: 'done', operation: 'rollback' });
  expect(primary()).toBe(1);
});

test('what a member did not say is needless only where the trust documents revoke it', async () => {
  const own = await stageWorld();
  const maker = new Actor(own, 'identity-a', 1);
  const member = new Actor(own, 'authorization-a', 2);
  try {
    const choices = { planId: 'stolen-word', layers: [1] as const };
    const director = await Director.plan(own, [maker, member], choices);
    const shared = director.plan.body.affected_keys.filter(({ members }) => members.length > 1);
    const slots = shared.map((key) => key.slot);
    await director.succeed(maker, 'prepare');
    const early = await director.step(maker, 'activate', { slots, index: 12 });
    expect(early.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8014' });
    const revocation = await revocationOf(own, member.agentId);
    expect(own.trust.adopt(revocation, own.clock.nowMs()).status).toBe('adopted');
    await director.succeed(maker, 'activate', { slots, index: 13 });
  } finally {
    maker.end();
    member.end();
  }
});
