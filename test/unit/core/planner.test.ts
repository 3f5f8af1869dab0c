import { describe, expect, it } from 'vitest';
import { slotDefinitions, type LayerNumber } from '#schemas/layers.ts';
import { RotationPlanBody, type RotationType } from '#schemas/plan.ts';
import { compile } from '#schemas/primitives.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import { instantMs } from '#shared/core/instant.ts';
import { evidenceItemsMax } from '#schemas/steps.ts';
import { evidenceMax, planFaults } from '#shared/core/plan-faults.ts';
import { planRotation, validatePlan } from '#shared/core/planner.ts';
import { sequenceLayers } from '#shared/core/sequence.ts';
import {
  agentsOf,
  digestOf,
  digests,
  inspectionOf,
  nowMs,
  planOf,
  planningInput,
  policyOf,
  registryOf,
  requestOf,
} from './mesh.ts';

const planCheck = compile(RotationPlanBody);
const dayMs = 24 * 3_600_000;

describe('planning', () => {
  it('plans all seven layers, as the schema has it', () => {
    const plan = planOf();
    expect(planCheck.errors(plan)).toEqual([]);
    expect(planFaults(plan)).toEqual([]);
    expect(plan.coordination_sequence).toEqual([1, 4, 3, 2, 5, 6, 7]);
    expect(plan.rollback_plan.sequence).toEqual([7, 6, 5, 2, 3, 4, 1]);
    expect(plan.affected_keys).toHaveLength(slotDefinitions.length);
    expect(plan.dependencies.map(({ prerequisite }) => prerequisite)).toEqual([
      'layer_1_rotation',
      'layer_4_rotation',
    ]);
    expect(plan.approvals_required).toBe(1);
    expect(plan.basis.adapters).toHaveLength(7);
    expect(plan.estimated_duration_ms).toBeGreaterThan(0);
  });

  it('counts evidence by what a message can carry', () => {
    expect(evidenceMax).toBe(evidenceItemsMax);
  });

  it('is a function of its input', () => {
    expect(planOf()).toEqual(planOf());
  });

  it('makes agents of dependent layers verifiers of asymmetric keys only', () => {
    const plan = planOf({ request: requestOf([4, 5]) });
    const members = Object.fromEntries(
      plan.affected_keys.map(({ slot, members: list }) => [
        slot,
        list.map(({ agent_id, role }) => `${agent_id} ${role}`),
      ]),
    );
    expect(members).toMatchObject({
      '4/root-kek': ['layer-4-a owner'],
      '4/kek': ['layer-4-a owner', 'layer-5-a verifier'],
    });
    expect(plan.dependencies).toHaveLength(1);
  });

  it('makes the lexically first agent the owner', () => {
    const agents = agentsOf([6], 3).toReversed();
    const [, consent] = planOf({ agents, request: requestOf([6]) }).affected_keys;
    expect(consent?.members.map(({ agent_id, role }) => [agent_id, role])).toEqual([
      ['layer-6-a', 'owner'],
      ['layer-6-b', 'verifier'],
      ['layer-6-c', 'verifier'],
    ]);
  });

  it('divides the window without overlap, in sequence', () => {
    const request = requestOf([1, 2, 5, 4], {
      windowStartMs: nowMs + 1_000,
      windowEndMs: nowMs + 101_000,
    });
    const { affected_keys: keys } = planOf({ request });
    expect(instantMs(keys[0]?.rotation_window.start ?? '')).toBe(nowMs + 1_000);
    expect(instantMs(keys.at(-1)?.rotation_window.end ?? '')).toBe(nowMs + 101_000);
    keys.slice(1).forEach((key, position) => {
      expect(key.rotation_window.start).toBe(keys[position]?.rotation_window.end);
    });
  });

  const refusals: [string, Parameters<typeof planningInput>[0], string, RegExp][] = [
    [
      'a layer that does not exist',
      { request: requestOf([1, 9 as LayerNumber]) },
      'ORCH-8007',
      /layer 9/,
    ],
    ['a layer without agents', { agents: agentsOf([1, 2]) }, 'ORCH-8007', /layer 4 has no agent/],
    ['an agent that does not answer', without('layer-3-a'), 'ORCH-8007', /layer-3-a/],
    ['an agent that is not ready', unready('layer-5-a'), 'ORCH-8007', /layer-5-a.*busy/],
    [
      'a silent verifier',
      { ...without('layer-2-a'), request: requestOf([1]) },
      'ORCH-8007',
      /layer-2-a/,
    ],
    ['a frozen slot', altered('6/patient-mac', { frozen: true }), 'ORCH-8007', /frozen/],
    [
      'an algorithm that the registry lacks',
      altered('7/healing-signature', { algorithm: 'FN-DSA' }),
      'ORCH-8003',
      /FN-DSA/,
    ],
    [
      'a prohibited algorithm',
      altered('7/healing-signature', { algorithm: 'RSA-2048' }),
      'ORCH-8002',
      /prohibited/,
    ],
    [
      'an algorithm below the level',
      altered('7/healing-signature', { algorithm: 'ML-DSA-65' }),
      'ORCH-8002',
      /ML-DSA-65/,
    ],
    [
      'a window in the past',
      { request: requestOf([1], { windowEndMs: nowMs - 1 }) },
      'ORCH-8004',
      /past/,
    ],
    [
      'a window that is too short',
      { request: requestOf([1], { windowEndMs: nowMs + 50 }) },
      'ORCH-8004',
      /shorter/,
    ],
    [
      'a window after the plan has expired',
      { request: requestOf([1], { windowStartMs: nowMs + 4_000_000 }) },
      'ORCH-8004',
      /expire/,
    ],
    [
      'more reports than can be carried',
      { agents: agentsOf([1, 2, 3, 4, 5, 6, 7], 4) },
      'ORCH-8004',
      /reports/,
    ],
    [
      'a trigger that cannot be read',
      { policy: policyOf({ rollback_triggers: ['load > 1%'] }) },
      'ORCH-8004',
      /MEASUREMENT_UNKNOWN/,
    ],
  ];

  it.each(refusals)('refuses %s', (_name, more, code, reason) => {
    const planned = planRotation(planningInput(more));
    expect(planned).toMatchObject({ refused: code });
    expect('refused' in planned && planned.reason).toMatch(reason);
  });

  it('is for operators with a second factor where identity keys are turned', () => {
    const requester = { agentId: 'op-1', capabilities: ['request'] };
    const planned = (layers: LayerNumber[]) =>
      planRotation(planningInput({ requester, request: requestOf(layers) }));
    expect(planned([1, 4])).toMatchObject({ refused: 'ORCH-8015' });
    expect(planned([2, 3])).toHaveProperty('plan');
  });

  it('turns keys that are over age at once, and only at once', () => {
    const old = altered('6/patient-mac', { activatedAtMs: nowMs - 200 * dayMs });
    const planned = (windowStartMs: number) =>
      planRotation(planningInput({ ...old, request: requestOf([6], { windowStartMs }) }));
    expect(planned(nowMs)).toHaveProperty('plan');
    expect(planned(nowMs + 1_000)).toHaveProperty('plan');
    expect(planned(nowMs + 1_001)).toMatchObject({ refused: 'ORCH-8002' });
    const later = requestOf([6], { windowStartMs: nowMs + 60_000 });
    const plan = planOf({ request: later });
    const { agents: _agents, ...live } = planningInput(old);
    expect(validatePlan(plan, live)).toContainEqual(
      expect.objectContaining({ code: 'ORCH-8002', subject: '6/patient-mac' }),
    );
  });

  it('gives a scheduled rotation only windows in which the schedule comes round', () => {
    const policy = policyOf();
    policy.policies.key_lifecycle.rotation_schedule = '30 8 * * *';
    const planned = (rotationType: RotationType, windowEndMs: number) =>
      planRotation(
        planningInput({ policy, request: requestOf([6], { rotationType, windowEndMs }) }),
      );
    const dueMs = nowMs + 30 * 60_000;
    expect(planned('scheduled', dueMs + 1)).toHaveProperty('plan');
    expect(planned('scheduled', dueMs)).toMatchObject({ refused: 'ORCH-8004' });
    expect(planned('policy_change', dueMs)).toHaveProperty('plan');
    expect(planned('emergency', dueMs)).toHaveProperty('plan');
  });

  it('ends an emergency within its time', () => {
    const request = requestOf([6], { rotationType: 'emergency' });
    const policy = policyOf({ soak_ms: 30_000 });
    const slaMs = 15 * 60_000;
    const plan = planOf({ request, policy, requestedAtMs: nowMs - 60_000 });
    expect(instantMs(plan.expires_at)).toBe(nowMs - 60_000 + slaMs);
    const late = { request, policy, requestedAtMs: nowMs - slaMs + 30_000 };
    expect(planRotation(planningInput(late))).toMatchObject({ refused: 'ORCH-8004' });
    const over = { request, policy, requestedAtMs: nowMs - slaMs };
    expect(planRotation(planningInput(over))).toMatchObject({ refused: 'ORCH-8004' });
  });

  it('turns no layer 3 that still speaks an older TLS', () => {
    const speaking = (agentId: string) => ({
      inspections: agentsOf()
        .map(inspectionOf)
        .map((one) => (one.agentId === agentId ? { ...one, tlsVersionMin: '1.2' as const } : one)),
    });
    const planned = (agentId: string, layers: LayerNumber[]) =>
      planRotation(planningInput({ ...speaking(agentId), request: requestOf(layers) }));
    expect(planned('layer-3-a', [3])).toMatchObject({ refused: 'ORCH-8002' });
    expect(planned('layer-3-a', [6])).toHaveProperty('plan');
    expect(planned('layer-4-a', [3, 4, 5])).toHaveProperty('plan');
    const { agents: _agents, ...live } = planningInput(speaking('layer-3-a'));
    expect(validatePlan(planOf({ request: requestOf([3]) }), live)).toContainEqual(
      expect.objectContaining({ code: 'ORCH-8002', subject: 'layer-3-a' }),
    );
  });

  it('plans without a silent verifier where silent ones are fenced out', () => {
    const policy = policyOf({ silent_member: 'fence' });
    const agents = agentsOf([1, 2], 2);
    const inspections = agents.filter(({ agentId }) => agentId !== 'layer-2-b').map(inspectionOf);
    const plan = planOf({ agents, inspections, request: requestOf([1, 2]), policy });
    expect(plan.affected_keys[0]?.members).toHaveLength(4);
    expect(plan.basis.adapters).toHaveLength(3);
  });
});

describe('the sequence', () => {
  it('breaks ties by preference and finds cycles', () => {
    const cycle = [
      { prerequisite: 2 as const, dependent: 3 as const },
      { prerequisite: 3 as const, dependent: 2 as const },
    ];
    expect(sequenceLayers([3, 1, 2], cycle, [1, 3, 2])).toEqual({ ok: false, cycle: [3, 2] });
    expect(sequenceLayers([2, 1, 3], cycle.slice(0, 1), [3, 2, 1])).toEqual({
      ok: true,
      layers: [2, 3, 1],
    });
  });
});

describe('validation', () => {
  const plan = planOf();
  const input = () => ({
    inspections: agentsOf().map(inspectionOf),
    policy: policyOf(),
    registry: registryOf(),
    digests,
    nowMs,
  });

  it('finds nothing where nothing has changed', () => {
    expect(validatePlan(plan, input())).toEqual([]);
  });

  it.each([
    ['registry', { digests: { ...digests, registry: digestOf('x') } }, 'ORCH-8004'],
    ['policy', { digests: { ...digests, policy: digestOf('x') } }, 'ORCH-8004'],
    ['enrolments', { digests: { ...digests, enrolments: digestOf('x') } }, 'ORCH-8004'],
    ['expires_at', { nowMs: nowMs + 3_600_000 }, 'ORCH-8004'],
    ['layer-3-a', without('layer-3-a'), 'ORCH-8007'],
    ['layer-3-a', unready('layer-3-a'), 'ORCH-8007'],
    ['6/patient-mac', altered('6/patient-mac', { keyId: digestOf('x') }), 'ORCH-8004'],
    ['6/patient-mac', altered('6/patient-mac', { version: 2 }), 'ORCH-8004'],
    ['6/patient-mac', altered('6/patient-mac', { frozen: true }), 'ORCH-8007'],
    ['6/patient-mac', altered('6/patient-mac', { algorithm: 'HMAC-SHA-1' }), 'ORCH-8004'],
  ])('names %s when it differs', (subject, more, code) => {
    expect(validatePlan(plan, { ...input(), ...more })).toContainEqual(
      expect.objectContaining({ subject, code }),
    );
  });

  it('names an adapter that changed and an algorithm that is no longer allowed', () => {
    const inspections = input().inspections.map((one) =>
      one.agentId === 'layer-1-a' ? { ...one, fingerprint: digestOf('x') } : one,
    );
    expect(validatePlan(plan, { ...input(), inspections })).toMatchObject([
      { code: 'ORCH-8004', subject: 'layer-1-a' },
    ]);
    const policy = policyOf();
    policy.policies.prohibited_algorithms.push('HMAC-SHA3-384');
    const codes = validatePlan(plan, { ...input(), policy }).map(({ code }) => code);
    expect(codes).toEqual(['ORCH-8002', 'ORCH-8002']);
  });

  it.each([
    [
      'the sequence',
      { coordination_sequence: [2, 1, 4, 3, 5, 6, 7] as LayerNumber[] },
      'ORCH-8008',
    ],
    ['a dependency', { dependencies: [] }, 'ORCH-8008'],
    [
      'the rollback plan',
      {
        rollback_plan: {
          ...plan.rollback_plan,
          checkpoints: plan.rollback_plan.checkpoints.slice(1),
        },
      },
      'ORCH-8004',
    ],
    ['the layers', { affected_layers: [1, 2] as LayerNumber[] }, 'ORCH-8004'],
    [
      'the owners',
      {
        affected_keys: plan.affected_keys.map((key) => ({
          ...key,
          members: key.members.map((member) => ({ ...member, role: 'owner' as const })),
        })),
      },
      'ORCH-8004',
    ],
    [
      'the windows',
      {
        affected_keys: plan.affected_keys.map((key) => ({
          ...key,
          rotation_window: plan.affected_keys[0]?.rotation_window ?? key.rotation_window,
        })),
      },
      'ORCH-8004',
    ],
    [
      'a slot twice',
      { affected_keys: [...plan.affected_keys, ...plan.affected_keys.slice(0, 1)] },
      'ORCH-8004',
    ],
  ])('finds a plan wrong in %s', (_name, more, code) => {
    const faults = planFaults({ ...plan, ...more });
    expect(faults.map((fault) => fault.code)).toContain(code);
  });
});

function without(agentId: string): { inspections: LayerInspection[] } {
  const agents = agentsOf().filter((agent) => agent.agentId !== agentId);
  return { inspections: agents.map(inspectionOf) };
}

function unready(agentId: string): { inspections: LayerInspection[] } {
  const inspections = agentsOf().map(inspectionOf);
  return {
    inspections: inspections.map((one) =>
      one.agentId === agentId ? { ...one, ready: false, reason: 'busy' } : one,
    ),
  };
}

function altered(slot: string, more: object): { inspections: LayerInspection[] } {
  const inspections = agentsOf().map(inspectionOf);
  return {
    inspections: inspections.map((one) => ({
      ...one,
      slots: one.slots.map((status) => (status.slot === slot ? { ...status, ...more } : status)),
    })),
  };
}
