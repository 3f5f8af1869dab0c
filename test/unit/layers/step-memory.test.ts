/** What a step store keeps of a saga in memory: what is stored now, whoever wrote it, and never another. */
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RotationPlan } from '#schemas/plan.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import type { World } from '../../support/world.ts';
import { Actor } from './actor.ts';
import { Director, stageWorld } from './director.ts';

let world: World;
let owner: Actor;
let verifier: Actor;
let plan: RotationPlan;

beforeAll(async () => {
  world = await stageWorld();
  owner = new Actor(world, 'identity-a', 1);
  verifier = new Actor(world, 'authorization-a', 2);
  ({ plan } = await Director.plan(world, [owner, verifier], { planId: 'kept', layers: [1] }));
});

afterAll(() => {
  owner.end();
  verifier.end();
});

function intend(sagaId: string, sagaIndex: number, as: RotationPlan): void {
  const task = { commandId: `${sagaId}-${sagaIndex}`, sagaId, sagaIndex, slots: [] };
  const step = { ...task, operation: 'prepare', layer: 1, isOwner: true } as const;
  const saga = { plan: as, planDigest: 'ab'.repeat(32), lastIndex: sagaIndex };
  owner.store.recordIntent({ task: step as never, saga, reserves: [] }, 1);
}

test('a plan is decoded once for as long as the same is stored', () => {
  intend('kept', 1, plan);
  const first = owner.store.saga('kept');
  expect(first?.plan).toEqual(plan);
  intend('kept', 2, first?.plan ?? plan);
  const second = owner.store.saga('kept');
  expect(second?.plan).toBe(first?.plan);
  expect(second?.lastIndex).toBe(2);
});

test('what somebody else stored is read, and what is none is refused', () => {
  const changed = { ...plan, signatures: [...plan.signatures, ...plan.signatures] };
  const other = new DatabaseSync(owner.databasePath);
  const update = other.prepare('UPDATE sagas SET plan = ? WHERE saga_id = ?');
  update.run(encodeCanonical(changed), 'kept');
  expect(owner.store.saga('kept')?.plan).toEqual(changed);
  update.run(Uint8Array.of(0xc0), 'kept');
  expect(() => owner.store.saga('kept')).toThrow('invariant');
  update.run(encodeCanonical(plan), 'kept');
  expect(owner.store.saga('kept')?.plan).toEqual(plan);
  other.close();
});

test('each saga has its own, however many there are', () => {
  const plans = Array.from({ length: 20 }, (_, at) => ({
    ...plan,
    body: { ...plan.body, rotation_plan_id: `many-${at}` },
  }));
  for (const [at, each] of plans.entries()) intend(`many-${at}`, 1, each);
  for (const round of [1, 2]) {
    for (const [at, each] of plans.entries()) {
      expect(owner.store.saga(`many-${at}`)?.plan, `round ${round}`).toEqual(each);
    }
  }
});
