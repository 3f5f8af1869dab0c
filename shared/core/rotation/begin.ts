/**
 * The first entry of a saga: a signed plan becomes a rotation. Its commands are those outstanding in
 * the state. A plan that contradicts itself begins as refused, so that nothing can ever run under it.
 */

import type { RotationEvent } from '#schemas/saga.ts';
import type { AffectedKey, RotationPlan } from '#schemas/plan.ts';
import { planFaults } from '../plan-faults.ts';
import type { RotationState, SlotProgress } from './state.ts';

export interface RotationOpening {
  /** The plan's id is the saga's id. */
  readonly sagaId: string;
  readonly planDigest: string;
  /** Statement hash of the entry. */
  readonly entryHash: string;
}

export interface FirstRotationInput {
  readonly index: 0;
  readonly consumed: string[];
  readonly event: Extract<RotationEvent, { type: 'plan-drafted' }>;
}

export function beginRotation(opening: RotationOpening, input: FirstRotationInput): RotationState {
  const { plan, atMs } = input.event;
  const state = emptyState(opening, plan, atMs);
  const [fault] = planFaults(plan.body);
  const code = 'ORCH-8004';
  if (plan.body.rotation_plan_id !== opening.sagaId) {
    state.phase = 'refused';
    state.failure = { code, reason: `the plan is not that of saga ${opening.sagaId}`, atMs };
  } else if (fault !== undefined) {
    state.phase = 'refused';
    state.failure = { code: fault.code, reason: fault.reason, atMs };
  } else {
    state.outstanding = [{ type: 'validate-plan', id: `${opening.sagaId}-0-1`, sagaIndex: 0 }];
  }
  return state;
}

function emptyState(opening: RotationOpening, plan: RotationPlan, atMs: number): RotationState {
  const { sagaId, planDigest, entryHash } = opening;
  return {
    sagaId,
    planDigest,
    entryHash,
    plan,
    phase: 'drafted',
    index: 0,
    beganAtMs: atMs,
    atMs,
    decision: 'none',
    decidedAtMs: null,
    approvals: [],
    dryRuns: [],
    execution: null,
    reserved: false,
    authorization: null,
    commit: null,
    recovery: null,
    slots: plan.body.affected_keys.map(emptyProgress),
    cursor: 0,
    outstanding: [],
    waiting: [],
    counters: { failures: 0, resent: 0, ignored: 0 },
    incompatible: false,
    failure: null,
    refusal: null,
    lockout: null,
    lockouts: 0,
    recoveryRequest: null,
  };
}

function emptyProgress(key: AffectedKey): SlotProgress {
  const agentsOf = (role: 'owner' | 'verifier') =>
    key.members.filter((member) => member.role === role).map(({ agent_id }) => agent_id);
  return {
    slot: key.slot,
    layer: key.layer,
    owner: agentsOf('owner')[0] ?? '',
    verifiers: agentsOf('verifier'),
    fenced: [],
    revoked: [],
    checkpoint: { keyId: key.key_id, version: key.version },
    candidate: null,
    accepted: [],
    touched: false,
    activated: [],
    verified: [],
    samples: null,
    released: [],
    heldBy: [],
    retired: [],
    rollbackDue: false,
    rolledBack: [],
    discardDue: [],
  };
}
