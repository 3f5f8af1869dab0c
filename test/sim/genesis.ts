/**
 * How every simulated world begins: who is in it, their keys, the documents that they signed. Made once
 * for each set of members and shared by all seeds of a process; nothing in it changes afterwards.
 */

import { members, type Member } from '#cli/mesh/members.ts';
import type { BusClock } from '#shared/bus/timers.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { makeWorld, type World } from '../support/world.ts';
import { simulatedCrypto } from './cheap-crypto.ts';
import { drawsFrom } from './seed.ts';
import { worldBeginsMs } from './time.ts';

export type Genesis = World<Clock & BusClock>;

/** Layers with a second agent, lowest first: it accepts and verifies what the first one turns. */
export type SecondAgents = readonly (1 | 2 | 3 | 4 | 5 | 6 | 7)[];

const known = new Map<string, Promise<Genesis>>();
/** The time of the documents; nobody waits by it. */
const still: Clock & BusClock = {
  nowMs: () => worldBeginsMs,
  monotonicMs: () => 0,
  after: () => ({ cancel: () => undefined }),
};

export function membersWith(second: SecondAgents): readonly Member[] {
  const others = second.flatMap((layer) => {
    const first = members.find((member) => member.layer === layer);
    return first === undefined ? [] : [{ ...first, id: first.id.replace(/-a$/, '-b') }];
  });
  return [...members, ...others];
}

export function genesisOf(second: SecondAgents): Promise<Genesis> {
  const name = second.join(' ');
  const made = known.get(name) ?? makeGenesis(second);
  known.set(name, made);
  return made;
}

function makeGenesis(second: SecondAgents): Promise<Genesis> {
  const crypto: CryptoProvider = simulatedCrypto(drawsFrom(0).fork(`genesis ${second.join(' ')}`));
  const mesh = 'simulated';
  return makeWorld(
    { mesh, members: membersWith(second) },
    { crypto, clock: still, brokerClock: still },
  );
}
