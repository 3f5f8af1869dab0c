/** What each fault does to the world when it begins; what it returns undoes it. */

import type { Draws } from './model.ts';
import { networkFaults, tokenFaults } from './network-faults.ts';
import type { Fault } from './schedule.ts';
import { attack } from './wire-attacks.ts';
import type { SimulatedWorld } from './world.ts';

const nothing = (): void => undefined;
const pointsMax = 60;
const pointsInRecoveryMax = 30;
const attacksMax = 6;
/** Of the agents of the previous version those that understand commands all the same. */
const knowingPart = 0.4;
const skewMs = 20_000;
const jumpMs = 4_000;

export function applyFault(world: SimulatedWorld, fault: Fault, draws: Draws): () => void {
  const { network, token } = world;
  const { name, victim, size } = fault;
  const ofNetwork = networkFaults.find((one) => one.name === name);
  if (ofNetwork !== undefined) return ofNetwork.apply({ network, victim, size }, draws);
  const ofToken = tokenFaults.find((one) => one.name === name);
  if (ofToken !== undefined) return ofToken.apply({ device: token, size });
  return applyOwn(world, fault, draws);
}

function applyOwn(world: SimulatedWorld, fault: Fault, draws: Draws): () => void {
  const { processes } = world;
  const { name, victim, size } = fault;
  switch (name) {
    case 'crash':
      processes.crash(victim);
      return nothing;
    case 'crash-at-point':
      processes.arm(victim, Math.floor(size * pointsMax));
      return nothing;
    case 'crash-in-recovery':
      processes.arm(victim, Math.floor(size * pointsMax), draws.between(0, pointsInRecoveryMax));
      return nothing;
    case 'previous-version':
      return world.downgrade(victim, { knowsCommands: size < knowingPart });
    case 'pause':
      processes.pause(victim);
      return () => processes.resume(victim);
    case 'disk-full':
      return world.disks.fill(victim);
    case 'clock-skew':
      processes.jumpClock(victim, Math.round((size - 0.5) * 2 * skewMs));
      return nothing;
    case 'clock-jump':
      processes.jumpClock(victim, Math.round((size - 0.5) * 2 * jumpMs));
      return nothing;
    case 'wire-attack':
      for (let count = 0; count <= size * attacksMax; count += 1) {
        const thief = { crypto: world.crypto('the thief'), draws: draws.fork(`${count}`) };
        attack({ network: world.network, trace: world.trace, ...thief });
      }
      return nothing;
    case 'revocation':
      void world.revoke(victim);
      return nothing;
    default:
      throw new Error(`assertion: nobody knows the fault ${name}`);
  }
}
