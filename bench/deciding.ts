/**
 * The pure decisions that have a budget: planning a rotation of seven layers, checking the policy,
 * looking an algorithm up in the registry, negotiating. No disk, no network, no cryptography.
 */
import { nothingAdvertised, type AlgorithmOffer } from '#schemas/negotiation.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import { slotDefinitions } from '#schemas/layers.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { selectAlgorithms } from '#shared/core/negotiation-selection.ts';
import { planRotation, type PlanningInput } from '#shared/core/planner.ts';
import { policyFaults } from '#shared/core/policy-faults.ts';
import { algorithmKinds, entryOf, policyAllows } from '#shared/core/policy.ts';
import { agents } from '#cli/mesh/members.ts';
import { developmentTimes, policyBody } from '#cli/mesh/policy-body.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import { measure } from './measure.ts';
import type { Row } from './report.ts';

const digest = 'ab'.repeat(32);
const dayMs = 24 * 3_600_000;

export async function decidingRows(runs: number): Promise<Row[]> {
  const input = planningInput();
  const { policy, registry } = input;
  const group = 'decisions';
  const plan = (): void => invariant('plan' in planRotation(input), 'the example can be planned');
  const uses = slotDefinitions.map(({ algorithm, keyKind, layer }) => ({
    algorithm,
    keyKind,
    layer,
  }));
  const documents = { policy, registry };
  const check = inTurn(uses, (use) => invariant(policyAllows(use, documents).ok, 'allowed'));
  const lookUp = inTurn(uses, ({ algorithm, keyKind }) => {
    const entry = entryOf(registry, algorithmKinds[keyKind], algorithm);
    invariant(entry !== undefined, 'the registry knows it');
  });
  const review = (): void => invariant(policyFaults(policy, registry).length === 0, 'no fault');
  const fast = { runs, warmupRuns: 100, budgetMs: 5_000 };
  const note = `budget p99 50 ms; ${input.inspections.length} agents, ${uses.length} slots`;
  // A sample is the mean over every slot once, because one call is faster than the clock can see.
  const perSlot = { ...fast, callsPerRun: uses.length };
  return [
    { group, name: 'plan seven layers', summary: await measure(plan, fast), note },
    {
      group,
      name: 'policy check of an algorithm',
      summary: await measure(check, perSlot),
      note: 'budget p99 0.2 ms',
    },
    {
      group,
      name: 'registry look-up',
      summary: await measure(lookUp, perSlot),
      note: 'budget p99 0.01 ms',
    },
    {
      group,
      name: 'negotiation of four algorithms',
      summary: await measure(negotiation(policy, registry), fast),
      note: 'budget p99 10 ms; both sides offer the whole registry',
    },
    {
      group,
      name: 'review of a whole policy',
      summary: await measure(review, fast),
      note: 'lists, mesh suite, schedule, triggers; once per document',
    },
  ];
}

/** Everything that the registry has is offered, so that as much as possible has to be ruled out. */
function negotiation(policy: PolicyBody, registry: RegistryBody): () => void {
  const { algorithms } = registry;
  const offers = (entries: readonly AlgorithmEntry[]): AlgorithmOffer[] =>
    entries.map(({ name: algorithm }) => ({
      algorithm,
      status: 'supported',
      performanceTier: 'high',
    }));
  const capabilities = {
    kem: offers([...algorithms.kem, ...algorithms.hybrid]),
    signature: offers(algorithms.signature),
    symmetric: offers(algorithms.symmetric),
    hash: offers(algorithms.hash),
  };
  const side = { capabilities, constraints: { maxSignatureBytes: 5_000 } };
  const layers = { client: 3, server: 3 } as const;
  const input = { client: side, server: side, constraints: {}, policy, registry, layers };
  return () => invariant(selectAlgorithms(input).status === 'selected', 'they agree');
}

/** A call that takes the next item each time. */
function inTurn<Item>(items: readonly Item[], call: (item: Item) => void): () => void {
  let turn = 0;
  return () => {
    const item = items[turn % items.length];
    turn += 1;
    if (item !== undefined) call(item);
  };
}

function planningInput(): PlanningInput {
  const nowMs = Date.now();
  const validity = {
    issuedAt: new Date(nowMs).toISOString(),
    expiresAt: new Date(nowMs + dayMs).toISOString(),
  };
  const layerAgents = agents.flatMap(({ id: agentId, layer }) =>
    layer === undefined ? [] : [{ agentId, layer }],
  );
  return {
    request: {
      requestId: 'bench',
      rotationType: 'scheduled',
      layers: [1, 2, 3, 4, 5, 6, 7],
      reason: 'benchmark',
    },
    requestHash: digest,
    requester: { agentId: 'op-1', capabilities: ['mfa'] },
    requestedAtMs: nowMs,
    planId: 'rot-bench',
    mesh: 'bench',
    nowMs,
    inspections: layerAgents.map(({ agentId, layer }) => inspectionOf(agentId, layer)),
    agents: layerAgents,
    policy: policyBody('bench', validity, developmentTimes),
    registry: registryBody('bench', validity, {}),
    digests: { registry: digest, policy: digest, enrolments: digest },
  };
}

function inspectionOf(agentId: string, layer: number): LayerInspection {
  return {
    agentId,
    adapter: 'embedded',
    ...nothingAdvertised,
    fingerprint: digest,
    ready: true,
    slots: slotDefinitions
      .filter((definition) => definition.layer === layer)
      .map(({ slot, keyKind, algorithm }) => ({
        slot,
        keyKind,
        algorithm,
        version: 1,
        keyId: digest,
        publicDigest: digest,
        activatedAtMs: 0,
        frozen: false,
        accepted: [1],
      })),
  };
}
