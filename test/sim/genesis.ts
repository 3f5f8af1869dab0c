/**
 * How every simulated world begins: who is in it, their keys, the documents that they signed. Made once
 * for each set of members and shared by all seeds of a process; nothing in it changes afterwards.
 */

import { members, type Member } from '#cli/mesh/members.ts';
import type { BusClock } from '#shared/bus/timers.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { makeGenesis, makeWorld, type World } from '../support/world.ts';
import { simulatedCrypto } from './cheap-crypto.ts';
import { drawsFrom } from './seed.ts';
import { worldBeginsMs } from './time.ts';

export type Genesis = World<Clock & BusClock>;

/** Layers with a second agent, lowest first: it accepts and verifies what the first one turns. */
export type SecondAgents = readonly (1 | 2 | 3 | 4 | 5 | 6 | 7)[];

/** By which policy a world begins: how patient rotations are, and how long epochs last. */
export const rulesNames = ['usual', 'impatient', 'short-epochs', 'careful', 'prompt'] as const;
export type RulesName = (typeof rulesNames)[number];

const amendments: Readonly<Record<RulesName, (policies: PolicyBody['policies']) => void>> = {
  usual: () => undefined,
  // Who is away for some seconds is given up: rotations go back, and are locked out.
  impatient: ({ rotation }) => {
    rotation.step_timeout_ms = 1_000;
    rotation.step_attempts_max = 2;
    rotation.rollback_attempts_max = 2;
    rotation.overlap_ms = 5_000;
  },
  'short-epochs': ({ channels }) => {
    channels.epoch_max_ms = 15_000;
    channels.epoch_grace_ms = 2_000;
    channels.epoch_accept_ms = 2_000;
  },
  // Nobody has to approve an emergency.
  prompt: ({ rotation }) => {
    rotation.approvals.emergency = 0;
  },
  // Two approve what is not urgent. There is a third operator, who has no second factor.
  careful: ({ rotation }) => {
    rotation.approvals.scheduled = 2;
  },
};
const thirdOperator: Member = {
  id: 'op-3',
  kind: 'operator',
  capabilities: ['request', 'approve'],
};

const known = new Map<string, Promise<Genesis>>();
/** The time of the documents; nobody waits by it. */
const still: Clock & BusClock = {
  nowMs: () => worldBeginsMs,
  monotonicMs: () => 0,
  after: () => ({ cancel: () => undefined }),
};

export function membersWith(second: SecondAgents, rules?: RulesName): readonly Member[] {
  const others = second.flatMap((layer) => {
    const first = members.find((member) => member.layer === layer);
    return first === undefined ? [] : [{ ...first, id: first.id.replace(/-a$/, '-b') }];
  });
  return [...members, ...others, ...(rules === 'careful' ? [thirdOperator] : [])];
}

export function genesisOf(second: SecondAgents, rules: RulesName): Promise<Genesis> {
  const name = `${rules} ${second.join(' ')}`;
  const made = known.get(name) ?? begin(second, rules);
  known.set(name, made);
  return made;
}

async function begin(second: SecondAgents, rules: RulesName): Promise<Genesis> {
  const crypto: CryptoProvider = simulatedCrypto(drawsFrom(0).fork(`genesis ${second.join(' ')}`));
  const options = { mesh: 'simulated', members: membersWith(second, rules) };
  const usual = await makeGenesis(options, { crypto, clock: still });
  const body = structuredClone(usual.bundle.policy.body);
  amendments[rules](body.policies);
  const signers = options.members.flatMap(({ id, kind }) => {
    const key = usual.keys.get(id);
    return kind === 'operator' && key !== undefined ? [localSigner(crypto, key)] : [];
  });
  const bundle = { ...usual.bundle, policy: await signDocument(body, signers) };
  const { rootDigest } = usual;
  const opened = openTrust(crypto, { bundle, rootDigest, nowMs: still.nowMs() });
  if (opened.status !== 'ok') throw new Error(`${opened.code}: ${opened.reason}`);
  const genesis = { ...usual, bundle, trust: opened.trust };
  return makeWorld(options, { crypto, clock: still, brokerClock: still, genesis });
}
