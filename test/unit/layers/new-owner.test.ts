/**
 * The owner of a slot is revoked, and another agent of the layer comes to own it: the numbers of its keys
 * go on above those that it accepted from the one before, so that a number is one key's for ever.
 */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { members } from '#cli/mesh/members.ts';
import { revocationOf } from '../../support/documents.ts';
import { makeWorld, type World } from '../../support/world.ts';
import { Actor } from './actor.ts';
import { Director } from './director.ts';

const slot = '1/identity-signature';
const slots = [slot];

let world: World;
let first: Actor;
let second: Actor;

beforeAll(async () => {
  const other = { id: 'identity-b', kind: 'layer', layer: 1, capabilities: [] } as const;
  world = await makeWorld({
    members: [...members, other],
    times: { soakMs: 0, overlapMs: 0 },
  });
  first = new Actor(world, 'identity-a', 1);
  second = new Actor(world, 'identity-b', 1);
});

afterAll(() => {
  first.end();
  second.end();
});

test('a new owner numbers its keys above those that it accepted', async () => {
  const before = await Director.plan(world, [first, second], { planId: 'before', layers: [1] });
  await before.succeed(first, 'prepare', { slots });
  await before.succeed(second, 'accept', { slots });
  await before.succeed(first, 'activate', { slots });
  const taken = first.adapter.store.primary(slot);
  expect(taken?.version).toBe(2);
  world.trust.adopt(await revocationOf(world, first.agentId), world.clock.nowMs());
  await before.succeed(second, 'release', { slots });
  await before.succeed(second, 'retire', { slots });

  const after = await Director.plan(world, [second], { planId: 'after', layers: [1] });
  await after.succeed(second, 'prepare', { slots });
  await after.succeed(second, 'activate', { slots });
  expect(second.adapter.store.primary(slot)?.version).toBe(3);
  expect(second.adapter.store.version(slot, 2)).toBeUndefined();
});
