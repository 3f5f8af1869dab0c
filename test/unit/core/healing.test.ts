/** What findings amount to, how few rotations a storm leads to, and what signer and audit say to them. */

import { describe, expect, it } from 'vitest';
import type { HealingClaim } from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { Finding } from '#shared/core/anomaly/watch.ts';
import { healingMisfit } from '#shared/core/audit-healing.ts';
import {
  evidenceMisfit,
  type EvidenceContext,
  type KnownLeaf,
} from '#shared/core/audit-evidence.ts';
import {
  askAgainMs,
  dueAction,
  gatherFinding,
  healingPauseMs,
  healingShortfall,
  isHealable,
  nothingAsked,
  requestOfClaim,
  type HealingRotation,
  type HealingState,
} from '#shared/core/healing.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import { checkStatement, type StatementCheck } from '#shared/core/statement-evidence.ts';
import type { VerifiedEvent } from '#shared/core/verified-event.ts';
import {
  agentsOf,
  digestOf,
  inForce,
  inspectionOf,
  nowMs,
  planOf,
  policyOf,
  signed,
} from './mesh.ts';

const gatherMs = 10_000;
const policy = policyOf();
const pauseMs = healingPauseMs(policy);

function finding(layer: LayerNumber, atMs: number, more: Partial<Finding> = {}): Finding {
  return {
    verdict: 'raised',
    agentId: `layer-${layer}-a`,
    layer,
    metric: 'failure-ratio',
    rule: 'ratio',
    slot: `${layer}/some-key`,
    version: 1,
    observed: 0.5,
    expected: 0.005,
    threshold: 0.055,
    samples: 300,
    windowMs: 0,
    atMs,
    ...more,
  };
}

function claimOf(layers: LayerNumber[]): HealingClaim {
  const { verdict: _, ...anomaly } = finding(layers[0] ?? 1, nowMs);
  const action = { kind: 'emergency-rotation', layers, withDependants: true } as const;
  return { actionId: 'heal-1', anomalies: [anomaly], action };
}

describe('an action', () => {
  it('is asked for what keys show, and for nothing that strangers can bring about', () => {
    expect(isHealable(finding(1, 0))).toBe(true);
    expect(isHealable(finding(1, 0, { rule: 'rate', metric: 'integrity-broken' }))).toBe(true);
    expect(isHealable(finding(1, 0, { verdict: 'cleared' }))).toBe(false);
    for (const metric of ['refused-otp-wrong', 'resident-bytes', 'heartbeat']) {
      for (const rule of ['rate', 'level', 'silence'] as const) {
        expect(isHealable(finding(1, 0, { rule, metric }))).toBe(false);
      }
    }
  });

  it('is one for a storm, of all layers that show it within the time', () => {
    let state: HealingState = nothingAsked;
    for (let at = 0; at < 500; at += 1) {
      state = gatherFinding(state, finding(((at % 3) + 4) as LayerNumber, at));
    }
    expect(dueAction(state, { nowMs: gatherMs - 1, gatherMs }).wanted).toBeUndefined();
    const due = dueAction(state, { nowMs: gatherMs, gatherMs });
    expect(due.wanted?.action.layers).toEqual([4, 5, 6]);
    expect(due.wanted?.anomalies).toHaveLength(3);
    const again = gatherFinding(due.state, finding(5, gatherMs + 1, { verdict: 'stands' }));
    expect(dueAction(again, { nowMs: 2 * gatherMs + 1, gatherMs }).wanted).toBeUndefined();
    const later = gatherFinding(due.state, finding(5, gatherMs + askAgainMs));
    expect(dueAction(later, { nowMs: askAgainMs + 3 * gatherMs, gatherMs }).wanted).toBeDefined();
  });

  it('turns what depends on its layers', () => {
    const layersOf = (layers: LayerNumber[]) => requestOfClaim(claimOf(layers), agentsOf()).layers;
    expect(layersOf([4, 1])).toEqual([1, 2, 4, 5]);
    expect(layersOf([2, 6])).toEqual([2, 6]);
  });

  it('turns a layer alone where nobody serves the one that depends on it', () => {
    const agents = agentsOf([1, 3, 4, 6, 7]);
    expect(requestOfClaim(claimOf([4]), agents).layers).toEqual([4]);
    expect(requestOfClaim(claimOf([1, 6]), agents).layers).toEqual([1, 6]);
  });
});

describe('another rotation', () => {
  const other = (phase: RotationPhase, more: Partial<HealingRotation> = {}): HealingRotation => ({
    sagaId: 'rot-1',
    layers: [1, 2],
    phase,
    beganAtMs: nowMs,
    expiresAtMs: nowMs + pauseMs,
    ...more,
  });
  const codeOf = (layers: number[], others: HealingRotation[], atMs: number) =>
    healingShortfall(layers, { others, policy, nowMs: atMs })?.code;

  it('is not begun while one is under way, whatever its layers', () => {
    for (const phase of ['drafted', 'validated', 'approved', 'preparing', 'soaking'] as const) {
      expect(codeOf([5], [other(phase)], nowMs + 1)).toBe('ORCH-8009');
    }
    expect(codeOf([5], [other('validated')], nowMs + pauseMs)).toBeUndefined();
    expect(codeOf([5], [other('preparing')], nowMs + pauseMs)).toBe('ORCH-8009');
    for (const phase of ['committed', 'retired', 'rolled_back', 'locked_out'] as const) {
      expect(codeOf([5], [other(phase)], nowMs + 1)).toBeUndefined();
    }
  });

  it('turns no layer twice within the time of an emergency', () => {
    expect(codeOf([2, 5], [other('retired')], nowMs + pauseMs - 1)).toBe('ORCH-8009');
    expect(codeOf([2, 5], [other('retired')], nowMs + pauseMs)).toBeUndefined();
    expect(codeOf([2], [other('refused')], nowMs + 1)).toBe('ORCH-8009');
    expect(codeOf([2], [other('refused')], nowMs + 20_000)).toBeUndefined();
  });
});

const claim = claimOf([1]);
const requested: Extract<VerifiedEvent, { type: 'healing-action-requested' }> = {
  hash: digestOf('healing'),
  senderId: 'layer-7-a',
  senderKind: 'layer',
  senderLayer: 7,
  type: 'healing-action-requested',
  timeMs: nowMs,
  body: {
    claim,
    signature: {
      version: 1,
      keyId: digestOf('7/healing-signature 1'),
      publicKey: new Uint8Array(2592),
      value: new Uint8Array(4627),
    },
  },
};

const plan = planOf({
  request: requestOfClaim(claim, agentsOf()),
  requestHash: requested.hash,
  requester: { agentId: 'layer-7-a', capabilities: [] },
  isHealing: true,
});

function checkOf(statement: StatementCheck['statement'], event: VerifiedEvent): StatementCheck {
  return {
    ...inForce(),
    statement,
    asker: { agentId: 'orchestrator-1', kind: 'orchestrator' },
    mesh: 'test',
    evidence: [event],
    plan,
    planDigest: digestOf('plan'),
    policy,
    isRevoked: () => false,
    nowMs,
  };
}

describe('the signer', () => {
  const authorization = {
    kind: 'rotation_authorization' as const,
    mesh: 'test',
    rotation_plan_id: plan.rotation_plan_id,
    plan_digest: digestOf('plan'),
    issued_at: plan.created_at,
    policy_digest: plan.basis.policy_digest,
    approvals: [],
    expires_at: plan.expires_at,
  };

  it('states a plan that layer 7 asked for, exactly as it was asked for', () => {
    expect(plan).toMatchObject({ rotation_type: 'emergency', affected_layers: [1, 2] });
    expect(checkStatement(checkOf(plan, requested))).toBe('ok');
    const strangers: VerifiedEvent[] = [
      { ...requested, senderLayer: 6 },
      { ...requested, senderKind: 'orchestrator' },
      { ...requested, senderId: 'layer-7-b' },
      { ...requested, hash: digestOf('other') },
      { ...requested, body: { ...requested.body, claim: claimOf([3]) } },
    ];
    for (const event of strangers) {
      expect(checkStatement(checkOf(plan, event))).toMatchObject({ code: 'ORCH-8015' });
    }
    const later = { ...checkOf(plan, { ...requested, timeMs: nowMs - 60_000 }) };
    expect(checkStatement(later)).toMatchObject({ code: 'ORCH-8004' });
    // Dated back, it would count as long ago for the next one.
    const at = (atMs: number) => checkStatement({ ...checkOf(plan, requested), nowMs: atMs });
    expect(at(nowMs + 61_000)).toBe('ok');
    expect(at(nowMs + 61_001)).toMatchObject({ reason: 'the plan was made long ago' });
  });

  it('states it without the layer whose last agent was revoked, by the enrolments in force', () => {
    const agents = agentsOf([1, 3, 4, 5, 6, 7]);
    const { body } = requested;
    const inspections = agents.map(inspectionOf);
    const request = requestOfClaim(body.claim, agents);
    const requester = { agentId: 'layer-7-a', capabilities: [] };
    const asked = { request, requestHash: requested.hash, requester, isHealing: true };
    const small = planOf({ ...asked, agents, inspections });
    expect(small.affected_layers).toEqual([1]);
    expect(checkStatement({ ...checkOf(small, requested), agents })).toBe('ok');
    // The same plan is not enough where the layer is served.
    expect(checkStatement(checkOf(small, requested))).toMatchObject({
      code: 'ORCH-8015',
      reason: 'the plan is not what was asked for',
    });
  });

  it('authorizes it by the same event, with the approvals of emergencies', () => {
    expect(checkStatement(checkOf(authorization, requested))).toBe('ok');
    const other = { ...requested, hash: digestOf('other') };
    expect(checkStatement(checkOf(authorization, other))).toMatchObject({ code: 'ORCH-8015' });
    const strict = policyOf({ approvals: { ...policy.policies.rotation.approvals, emergency: 1 } });
    const unapproved = { ...checkOf(authorization, requested), policy: strict };
    expect(checkStatement(unapproved)).toMatchObject({ code: 'ORCH-8015' });
  });
});

/** The action as a consumed event, with another claim. */
function acting(change: Partial<HealingClaim>) {
  const body = { ...requested.body, claim: { ...claim, ...change } };
  return { type: requested.type, body };
}

describe('the audit', () => {
  const leaf: KnownLeaf = {
    leafIndex: 1,
    type: requested.type,
    senderId: requested.senderId,
    timeMs: requested.timeMs,
    consumable: { type: requested.type, body: requested.body },
  };
  const leaves = new Map([[requested.hash, leaf]]);
  const context: EvidenceContext = {
    leafOf: (hash) => leaves.get(hash),
    isSigned: () => true,
    digestOf: () => digestOf('plan'),
    planDigest: digestOf('plan'),
    request: requested.hash,
    lockouts: 0,
    isRevoked: () => false,
  };
  const entry = (event: object, consumed: string[]) =>
    ({
      saga: 'rotation',
      sagaId: plan.rotation_plan_id,
      index: 1,
      previous: digestOf('before'),
      consumed,
      event: { atMs: nowMs, ...event },
    }) as Parameters<typeof evidenceMisfit>[0];
  const execution = { type: 'execution-requested', operatorId: 'layer-7-a' };

  it('takes plan and execution that rest on the action, and nothing else of it', () => {
    const drafted = { type: 'plan-drafted', plan: signed(plan) };
    expect(evidenceMisfit(entry(drafted, [requested.hash]), context)).toBeUndefined();
    expect(evidenceMisfit(entry(execution, [requested.hash]), context)).toBeUndefined();
    const code = (event: object, other: EvidenceContext = context) =>
      evidenceMisfit(entry(event, [requested.hash]), other)?.code;
    expect(code({ ...execution, operatorId: 'op-1' })).toBe('CONSUMED_DIFFERS');
    expect(code(execution, { ...context, request: digestOf('other') })).toBe('CONSUMED_DIFFERS');
    expect(code({ type: 'approval-recorded', operatorId: 'layer-7-a' })).toBe('CONSUMED_MISSING');
    expect(code({ type: 'rollback-requested', operatorId: 'layer-7-a', reason: '' })).toBe(
      'CONSUMED_MISSING',
    );
  });

  it('lets one of two that were drafted apart begin', () => {
    const opening = { sagaId: 'rot-0', planDigest: digestOf('plan 0'), entryHash: digestOf('e') };
    const first = beginRotation(opening, {
      index: 0,
      consumed: [requested.hash],
      event: {
        type: 'plan-drafted',
        atMs: nowMs,
        plan: signed({ ...plan, rotation_plan_id: 'rot-0', request: digestOf('healing 0') }),
      },
    });
    const other = { ...leaf, consumable: acting({ actionId: 'heal-0' }) };
    const leafOf = (hash: string) => (hash === digestOf('healing 0') ? other : leaf);
    const judge = (rotations: (typeof first)[], by: EvidenceContext['leafOf'] = leafOf) => {
      const times = { atMs: nowMs, announcedMs: nowMs };
      return healingMisfit(plan, { leafOf: by, rotations, policy, ...times });
    };
    expect(judge([])).toBeUndefined();
    expect(judge([first])).toMatchObject({ code: 'HEALING_CONFLICT' });
    const { consumable: _, ...operators } = { ...leaf, type: 'rotation-requested' };
    expect(judge([first], () => operators)).toBeUndefined();
  });
});
