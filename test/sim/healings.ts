/**
 * What layer 7 asks for while things go wrong: actions as its agent signs them and sends them through its
 * outbox, one or a storm of them; and claims as somebody makes them who stole the agent: the same action
 * again, other layers than were signed, what rests on old anomalies or on some of the future. Operators
 * approve what the policy asks them for, or do not.
 */

import { signClaim } from '#agents/layers/7-self-healing/claim-signing.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import type { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { LayerAgent } from '#agents/layers/layer-agent.ts';
import type { HealingAction, HealingClaim } from '#schemas/healing.ts';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { OutboxError } from '#shared/runtime/outbox-store.ts';
import type { Booted } from '../support/mesh-agents.ts';
import { atRest, type ActivityPorts } from './activities.ts';
import type { Draws } from './model.ts';

export interface HealingWish {
  readonly actionId: string;
  readonly layers: readonly LayerNumber[];
  /** How long ago the anomaly began; less than nothing: in the future. */
  readonly ageMs: number;
  /** Says other layers than it signed. */
  readonly isForged: boolean;
}

/** Layer 7 in one of its lives. */
export interface HealingAgent {
  readonly booted: Booted;
  readonly agent: LayerAgent;
  readonly keys: EmbeddedAdapter;
}

export interface HealingPorts extends Pick<ActivityPorts, 'draws' | 'operators'> {
  /** Nothing where layer 7 does not run. */
  readonly ask: (wish: HealingWish) => void;
  /** An orchestrator dies now. */
  readonly crash: () => void;
}

const planWaitMs = 15_000;
const rotationWaitMs = 60_000;
const hourMs = 3_600_000;

/** In a part of the worlds, beside what its operators do. */
export async function healings(ports: HealingPorts): Promise<void> {
  const { draws, operators, ask, crash } = ports;
  const [operator] = operators;
  const count = draws.chance(0.3) ? draws.between(4, 16) : draws.between(1, 3);
  const asked: string[] = [];
  for (let at = 0; at < count; at += 1) {
    const isAgain = asked.length > 0 && draws.chance(0.2);
    const actionId = isAgain ? draws.pick(asked) : `heal-${draws.between(0, 2 ** 40).toString(36)}`;
    asked.push(actionId);
    ask({ actionId, layers: layersOf(draws), ageMs: ageOf(draws), isForged: draws.chance(0.1) });
    await operator?.pause(draws.between(0, draws.pick([50, 500, 3_000])));
    if (draws.chance(0.15)) crash();
  }
  await attended(ports);
}

/** Does nothing where its store cannot be used at the moment: whoever heals tries again. */
export function askFor({ booted, agent, keys }: HealingAgent, wish: HealingWish): void {
  const { crypto, clock, agentId } = booted;
  const [layer = 7] = wish.layers;
  const found = { observed: 0.5, expected: 0.005, threshold: 0.055, samples: 300, windowMs: 0 };
  const atMs = Math.round(clock.nowMs() - wish.ageMs);
  const anomaly = {
    agentId,
    layer,
    metric: 'failure-ratio',
    rule: 'ratio',
    ...found,
    atMs,
  } as const;
  const action: HealingAction = {
    kind: 'emergency-rotation',
    layers: [...wish.layers],
    withDependants: true,
  };
  const claim: HealingClaim = { actionId: wish.actionId, anomalies: [anomaly], action };
  try {
    const signature = signClaim(keys, { crypto, clock }, claim);
    const others = layerNumbers.filter((other) => !wish.layers.includes(other));
    const said = wish.isForged ? { ...claim, action: { ...action, layers: others } } : claim;
    agent.requestHealing({ claim: said, signature });
  } catch (error) {
    if (!(error instanceof AdapterError || error instanceof OutboxError)) throw error;
  }
}

function layersOf(draws: Draws): LayerNumber[] {
  const count = draws.chance(0.7) ? 1 : 2;
  return draws
    .shuffled(layerNumbers)
    .slice(0, count)
    .toSorted((one, other) => one - other);
}

function ageOf(draws: Draws): number {
  return draws.chance(0.9) ? draws.between(0, 3_000) : draws.pick([hourMs, -hourMs]);
}

/** What waits for an approval gets it, mostly, and is watched to its end. */
async function attended({ draws, operators }: HealingPorts): Promise<void> {
  const operator = draws.pick(operators);
  await operator.pause(draws.between(0, planWaitMs));
  const isKept = draws.chance(0.2);
  for (const { planId, planDigest, phase, requestedBy } of (await operator.list()) ?? []) {
    if (operators.some(({ id }) => id === requestedBy)) continue;
    if (phase === 'validated' && !isKept) {
      await operator.request('plan-approved', { planId, planDigest });
    }
    await operator.until(
      planId,
      [...atRest].filter((rest) => !waiting.has(rest)),
      rotationWaitMs,
    );
  }
}

const waiting: ReadonlySet<string> = new Set(['validated', 'approved']);
