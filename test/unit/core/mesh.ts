/**
 * A small mesh as data for the tests of the core: policy, registry, agents, their inspections, and
 * digests that are easy to tell apart.
 */

import { nothingAdvertised } from '#schemas/negotiation.ts';
import type { RotationRequested } from '#schemas/steps.ts';
import { layerNumbers, slotDefinitions, type LayerNumber } from '#schemas/layers.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import type { PolicyBody, RotationRules } from '#schemas/policy.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import { policyBody } from '#cli/mesh/policy-body.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import { planRotation, type LayerAgent, type PlanningInput } from '#shared/core/planner.ts';

export const nowMs = 1_800_000_000_000;

export const digests = {
  registry: digestOf('registry'),
  policy: digestOf('policy'),
  enrolments: digestOf('enrolments'),
};

/** 64 hexadecimal characters that differ where the names do; no hash, only a name. */
export function digestOf(name: string): string {
  const hex = Buffer.from(name).toString('hex');
  if (hex.length > 64) throw new Error(`a name too long for a digest: ${name}`);
  return hex.padEnd(64, '0');
}

const validity = { issuedAt: '2026-01-01T00:00:00.000Z', expiresAt: '2036-01-01T00:00:00.000Z' };

/** The policy that a mesh is provisioned with, under rules of rotation that tests can tell apart. */
export function policyOf(rules: Partial<RotationRules> = {}): PolicyBody {
  const body = policyBody('test', validity, { soakMs: 0, overlapMs: 2_000 });
  const rotation: RotationRules = {
    ...body.policies.rotation,
    approvals: { scheduled: 1, emergency: 0, policy_change: 2, recovery: 1 },
    plan_valid_ms: 3_600_000,
    step_timeout_ms: 5_000,
    rollback_attempts_max: 4,
    rollback_triggers: [
      ...body.policies.rotation.rollback_triggers,
      'performance_degradation > 50%',
      'incompatibility_detected',
    ],
    clock_skew_ms: 1_000,
    ...rules,
  };
  return { ...body, policies: { ...body.policies, rotation } };
}

/** The registry of a provisioned mesh, and a few algorithms that its policy does not allow. */
export function registryOf(): RegistryBody {
  const body = registryBody('test', validity, {});
  const { algorithms } = body;
  return {
    ...body,
    algorithms: {
      ...algorithms,
      signature: [...algorithms.signature, entry('ML-DSA-65', 3), entry('RSA-2048', 5)],
      symmetric: [
        ...algorithms.symmetric,
        entry('AES-128-GCM', 1, { key_sizes: { secret_key: 16, nonce: 12, tag: 16 } }),
      ],
    },
  };
}

export function entry(
  name: string,
  level: number,
  more: Partial<AlgorithmEntry> = {},
): AlgorithmEntry {
  const head = { name, standard: 'TEST', status: 'active', security_level: level } as const;
  return { ...head, layers: [], ...more };
}

export function agentsOf(layers: readonly number[] = layerNumbers, perLayer = 1): LayerAgent[] {
  const suffixes = ['a', 'b', 'c', 'd'].slice(0, perLayer);
  return layers.flatMap((layer) =>
    suffixes.map((suffix) => ({ agentId: `layer-${layer}-${suffix}`, layer })),
  );
}

/** What a signer holds a statement against, beside the policy. */
export function inForce() {
  return { registry: registryOf(), digests, agents: agentsOf() };
}

export function inspectionOf({ agentId, layer }: LayerAgent): LayerInspection {
  return {
    agentId,
    adapter: 'embedded',
    ...nothingAdvertised,
    fingerprint: digestOf(`adapter ${agentId}`),
    ready: true,
    slots: slotDefinitions
      .filter((definition) => definition.layer === layer)
      .map(({ slot, keyKind, algorithm }) => ({
        slot,
        keyKind,
        algorithm,
        version: 1,
        keyId: digestOf(`${slot} 1`),
        publicDigest: digestOf(`${slot} 1`),
        activatedAtMs: nowMs - 1_000_000,
        frozen: false,
        accepted: [1],
      })),
  };
}

export function requestOf(
  layers: readonly LayerNumber[] = layerNumbers,
  more: Partial<RotationRequested> = {},
): RotationRequested {
  return {
    requestId: 'request-1',
    rotationType: 'scheduled',
    layers: [...layers],
    reason: 'it is time',
    ...more,
  };
}

export function planningInput(more: Partial<PlanningInput> = {}): PlanningInput {
  const agents = more.agents ?? agentsOf();
  return {
    request: requestOf(),
    requestHash: digestOf('request'),
    requester: { agentId: 'op-1', capabilities: ['mfa'] },
    requestedAtMs: nowMs,
    planId: 'rot-1',
    mesh: 'test',
    nowMs,
    inspections: agents.map(inspectionOf),
    agents,
    policy: policyOf(),
    registry: registryOf(),
    digests,
    ...more,
  };
}

export function planOf(more: Partial<PlanningInput> = {}): RotationPlanBody {
  const planned = planRotation(planningInput(more));
  if ('refused' in planned) throw new Error(`${planned.refused}: ${planned.reason}`);
  return planned.plan;
}

export function signed<Body>(body: Body) {
  return {
    body,
    signatures: [
      { key_id: digestOf('signer'), algorithm: 'ML-DSA-87' as const, signature: 'c2ln' },
    ],
  };
}
