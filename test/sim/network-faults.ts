/**
 * The faults of the network and of the token, by name, for whoever draws them. Each does what its name
 * says to its victim until the result is called; `size`, 0 to 1, says how badly.
 */

import type { SubjectKind } from '#schemas/events.ts';
import type { StreamName } from '#shared/bus/bus.ts';
import type { Draws } from './model.ts';
import type { SimulatedNetwork } from './network.ts';
import type { TokenDevice } from './token.ts';

export interface NetworkFault {
  readonly name: string;
  /** Whether it has a victim among the agents; else it happens to the server. */
  readonly hasVictim: boolean;
  apply(
    target: { readonly network: SimulatedNetwork; readonly victim: string; readonly size: number },
    draws: Draws,
  ): () => void;
}

export interface TokenFault {
  readonly name: string;
  apply(target: { readonly device: TokenDevice; readonly size: number }): () => void;
}

const forgottenMax = 6;
/** What a rotation consists of on the bus. */
const ofRotations: ReadonlySet<SubjectKind> = new Set(['saga-rotation', 'report', 'signer-log']);
const kept: readonly StreamName[] = ['GYRE_CONTROL', 'GYRE_AUDIT'];
const nothing = (): void => undefined;

export const networkFaults: readonly NetworkFault[] = [
  ofAgent('partition', ({ network, victim }) => network.cut(victim)),
  ofAgent('partition-to-bus', ({ network, victim }) => network.cut(victim, 'up')),
  ofAgent('partition-from-bus', ({ network, victim }) => network.cut(victim, 'down')),
  ofAgent('reconnect', ({ network, victim }) => {
    network.breakConnections(victim);
    return nothing;
  }),
  ofAgent('loss', ({ network, victim, size }) =>
    network.disturb(victim, 'both', { loss: 0.02 + size * 0.3 }),
  ),
  ofAgent('publish-loss', ({ network, victim, size }) =>
    network.disturb(victim, 'up', { loss: { publish: 0.2 + size * 0.8 } }),
  ),
  ofAgent('acknowledgement-loss', ({ network, victim, size }) =>
    network.disturb(victim, 'down', { loss: { publish: 0.2 + size * 0.8, put: 0.5 } }),
  ),
  ofAgent('delay', ({ network, victim, size }) =>
    network.disturb(victim, 'both', {
      delayMs: { least: 5, most: 20 + size * 400 },
      spike: { chance: 0.1, mostMs: 1_500 },
    }),
  ),
  ofAgent('duplication', ({ network, victim, size }) =>
    network.disturb(victim, 'both', { repetition: 0.05 + size * 0.4 }),
  ),
  ofAgent('reordering', ({ network, victim, size }) =>
    network.disturb(victim, 'both', {
      isReordered: true,
      delayMs: { least: 0.2, most: 20 + size * 80 },
      // Some come so late that another took over, or went back, meanwhile.
      spike: { chance: 0.05 + size * 0.15, mostMs: 4_000 },
    }),
  ),
  ofServer('bus-down', ({ network }) => network.stopServer()),
  ofServer('bus-full', ({ network }, draws) => network.fill(draws.pick(kept))),
  ofServer('bus-forgets', ({ network, size }, draws) =>
    inTheMidst(network, draws, () =>
      network.forget(draws.pick(kept), draws.pick(['newest', 'oldest']), countOf(size)),
    ),
  ),
  {
    name: 'bus-forgets-unread',
    hasVictim: true,
    apply: ({ network, victim, size }) => {
      const reconnect = network.cut(victim);
      const { lastSequence } = network.broker.stream('GYRE_CONTROL').state();
      return () => {
        const since = network.broker.stream('GYRE_CONTROL').state().lastSequence - lastSequence;
        if (since > 0) network.forget('GYRE_CONTROL', 'newest', Math.min(since, countOf(size)));
        reconnect();
      };
    },
  },
  ofServer('bus-rolled-back', ({ network, size }, draws) =>
    inTheMidst(network, draws, () => {
      const stream = draws.pick(kept);
      const { firstSequence, lastSequence } = network.broker.stream(stream).state();
      network.rollBack(stream, Math.max(firstSequence - 1, lastSequence - countOf(size)));
    }),
  ),
];

export const tokenFaults: readonly TokenFault[] = [
  {
    name: 'token-timeout',
    apply: ({ device, size }) => device.disturb({ silence: 0.3 + size * 0.7 }),
  },
  {
    name: 'token-session-lost',
    apply: ({ device, size }) => device.disturb({ sessionLoss: 0.3 + size * 0.7 }),
  },
  { name: 'token-down', apply: ({ device }) => device.disturb({ isDown: true }) },
  {
    name: 'token-slow',
    apply: ({ device, size }) =>
      device.disturb({ latencyMs: { least: 20, most: size * 1_500 + 20 } }),
  },
  { name: 'token-signs-wrongly', apply: ({ device }) => device.disturb({ signatures: 'invalid' }) },
];

/** At once, or as soon as a rotation has come one entry or one report further. */
function inTheMidst(network: SimulatedNetwork, draws: Draws, lose: () => void): () => void {
  if (draws.chance(0.3)) {
    lose();
    return nothing;
  }
  return network.afterNext(ofRotations, draws.between(0, 60), lose);
}

function countOf(size: number): number {
  return 1 + Math.floor(size * (forgottenMax - 1));
}

function ofAgent(name: string, apply: NetworkFault['apply']): NetworkFault {
  return { name, hasVictim: true, apply };
}

function ofServer(name: string, apply: NetworkFault['apply']): NetworkFault {
  return { name, hasVictim: false, apply };
}
