/**
 * The pure decisions that have a budget: planning a rotation of seven layers, checking the policy,
 * looking an algorithm up in the registry. No disk, no network, no cryptography.
 */
import { nothingAdvertised } from '#schemas/negotiation.ts';
import { slotDefinitions } from '#schemas/layers.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { planRotation, type PlanningInput } from '#shared/core/planner.ts';
import { policyAllows } from '#shared/core/policy.ts';
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
  const check = (): void => {
    for (const use of uses) invariant(policyAllows(use, { policy, registry }).ok, 'allowed');
  };
  const lookUp = (): void => {
    for (const { algorithm } of uses) findAlgorithm(registry, algorithm);
  };
  const fast = { runs, warmupRuns: 100, budgetMs: 5_000 };
  const note = `budget p99 50 ms; ${input.inspections.length} agents, ${uses.length} slots`;
  const perSlot = { ...fast, callsPerRun: 10 };
  return [
    { group, name: 'plan seven layers', summary: await measure(plan, fast), note },
    {
      group,
      name: 'policy check of 14 slots',
      summary: await measure(check, perSlot),
      note: 'budget p99 0.2 ms each',
    },
    {
      group,
      name: 'registry lookup, 14 times',
      summary: await measure(lookUp, perSlot),
      note: 'budget p99 0.01 ms each',
    },
  ];
}

function findAlgorithm(registry: PlanningInput['registry'], name: string) {
  for (const entries of Object.values(registry.algorithms)) {
    const found = entries.find((entry) => entry.name === name);
    if (found !== undefined) return found;
  }
  throw new RangeError(`the registry has no ${name}`);
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
