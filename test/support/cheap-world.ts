/**
 * A mesh in memory, in real time, under the simulator's cryptography: no security at a hundredth of the
 * cost. For tests about what agents do with keys, signatures and secrets that hold or do not, never for
 * those about how these are made: a signature here still holds for one key, message and context alone,
 * and what is sealed opens only unchanged and under its key (test/unit/sim/cheap-crypto.test.ts).
 */

import { systemClock } from '#shared/bus/timers.ts';
import { simulatedCrypto } from '../sim/cheap-crypto.ts';
import { drawsFrom } from '../sim/seed.ts';
import { makeWorld, TestClock, type World, type WorldOptions } from './world.ts';

/** What it draws is the same each time that a file runs: draw more by `world.crypto` only. */
export function makeCheapWorld(options: WorldOptions = {}): Promise<World> {
  const crypto = simulatedCrypto(drawsFrom(1));
  return makeWorld(options, { crypto, clock: new TestClock(), brokerClock: systemClock });
}
