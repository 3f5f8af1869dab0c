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

export function policyOf(rules: Partial<RotationRules> = {}): PolicyBody {
  return {
    kind: 'policy',
    mesh: 'test',
    policy_name: 'test-policy',
    version: 1,
    issued_at: '2026-01-01T00:00:00.000Z',
    expires_at: '2036-01-01T00:00:00.000Z',
    applies: 'to-new-sagas',
    policies: {
      minimum_security_level: 5,
      quantum_security_required: true,
      allowed_algorithms: {
        kem: ['ML-KEM-1024'],
        signature: ['ML-DSA-87'],
        hybrid: ['X25519MLKEM1024'],
        hash: ['SHA3-256'],
        symmetric: ['AES-256-GCM'],
        mac: ['HMAC-SHA3-384'],
      },
      exceptions: [],
      prohibited_algorithms: ['RSA-2048'],
      hybrid_mode: { enabled: true, classical_component_required: true, combiner: 'SHA3-384' },
      key_lifecycle: {
        max_key_age_days: {
          identity_keys: 90,
          session_keys: 1,
          kek: 30,
          dek: 0,
          signature_keys: 180,
          hmac_keys: 30,
        },
        rotation_schedule: '0 2 * * 0',
        emergency_rotation_sla_minutes: 15,
      },
      layer_specific: {
        layer_1: { mfa_required: true, ml_dsa_signature_required: true },
        layer_3: { min_tls_version: '1.3', hybrid_key_exchange_required: true },
        layer_4: { min_aes_key_size: 256, authenticated_encryption_required: true },
      },
      channels: {
        epoch_max_ms: 3_600_000,
        epoch_messages_max: 2 ** 20,
        epoch_grace_ms: 600_000,
        epoch_accept_ms: 5_000,
        archive_control_events: true,
        amendment_grace_ms: 600_000,
      },
      rotation: {
        approvals: { scheduled: 1, emergency: 0, policy_change: 2, recovery: 1 },
        plan_valid_ms: 3_600_000,
        step_timeout_ms: 5_000,
        step_attempts_max: 3,
        rollback_attempts_max: 4,
        soak_ms: 0,
        soak_samples_min: 0,
        overlap_ms: 2_000,
        rollback_triggers: [
          'rotation_failure_count > 3',
          'service_availability < 99%',
          'error_rate > 1%',
          'performance_degradation > 50%',
          'incompatibility_detected',
        ],
        silent_member: 'fail',
        clock_skew_ms: 1_000,
        ...rules,
      },
    },
  };
}

export function registryOf(): RegistryBody {
  const entry = (name: string, level = 5, more: Partial<AlgorithmEntry> = {}): AlgorithmEntry => ({
    name,
    standard: 'TEST',
    status: 'active',
    security_level: level,
    layers: [],
    ...more,
  });
  return {
    kind: 'registry',
    mesh: 'test',
    version: 1,
    issued_at: '2026-01-01T00:00:00.000Z',
    expires_at: '2036-01-01T00:00:00.000Z',
    algorithms: {
      kem: [entry('ML-KEM-1024'), entry('ML-KEM-768', 3)],
      signature: [entry('ML-DSA-87'), entry('ML-DSA-65', 3), entry('RSA-2048', 5)],
      hybrid: [
        entry('X25519MLKEM1024', 5, {
          components: ['X25519', 'ML-KEM-1024'],
          combiner: 'SHA3-384',
        }),
      ],
      symmetric: [entry('AES-256-GCM'), entry('AES-128-GCM', 1)],
      hash: [entry('SHA3-256', 0)],
      mac: [entry('HMAC-SHA3-384', 0)],
    },
  };
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
    requestedBy: 'op-1',
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
