/**
 * The contract of the bus, one suite for every implementation. Each test has a world of its own, so
 * that sequences and consumers begin fresh.
 */
import { afterEach, beforeEach } from 'vitest';
import { describeBuckets } from './bucket-contract.ts';
import type { World } from './bus-world.ts';
import { describeConsuming } from './consuming-contract.ts';
import { describePermissions } from './fences-contract.ts';
import { describeAsking, describeFollowing } from './following-contract.ts';
import { describeMisfortune } from './misfortune-contract.ts';
import { describePublishing } from './publishing-contract.ts';

/** Registers the whole suite for the worlds that `makeWorld` makes. */
export function keepsTheContract(makeWorld: () => Promise<World>): void {
  let world: World;
  beforeEach(async () => {
    world = await makeWorld();
  });
  afterEach(async () => {
    await world.close();
  });
  const given = { get: () => world };
  describePublishing(given);
  describeConsuming(given);
  describeFollowing(given);
  describeAsking(given);
  describePermissions(given);
  describeBuckets(given);
  describeMisfortune(given);
}
