/**
 * From the draft to the authorization: the live check, approvals (distinct, never by the requester,
 * each resting on an event that names the plan's digest: invariant 10), dry runs, and the request to
 * execute, which holds only for an approved plan that has not expired, inside its window.
 */

import type { RotationAuthorization, RotationAuthorizationBody } from '#schemas/plan.ts';
import type { RotationEvent } from '#schemas/saga.ts';
import { approvalsMax, approvalsRequired } from '../approvals.ts';
import { sameData } from '../equality.ts';
import { formatInstant, instantMs } from '../instant.ts';
import { windowOf } from '../plan-window.ts';
import {
  issueSlotsCommand,
  issueStatement,
  reject,
  removeOutstanding,
  type Draft,
  type Verdict,
} from './draft.ts';
import { beginPreparing } from './prepare.ts';
import { beginRollback, failureAt } from './rollback.ts';

type EventOf<Name extends RotationEvent['type']> = Extract<RotationEvent, { type: Name }>;

const dryRunsKept = 8;

export function validatePlan(draft: Draft, event: EventOf<'plan-validated'>): Verdict {
  const { state } = draft;
  if (state.phase !== 'drafted') return outOfPhase(draft);
  removeOutstanding(draft, ({ type }) => type === 'validate-plan');
  const answers = new Map(event.readiness.map((answer) => [answer.agentId, answer]));
  for (const { slot, owner } of state.slots) {
    const answer = answers.get(owner);
    if (answer?.ready === true) continue;
    const reason = `${owner} (${slot}): ${answer?.reason ?? 'not ready'}`;
    state.phase = 'refused';
    state.failure = failureAt(draft, { code: 'ORCH-8007', reason });
    return null;
  }
  state.phase = 'validated';
  approveWhenEnough(draft);
  return null;
}

export function refusePlan(draft: Draft, event: EventOf<'plan-refused'>): Verdict {
  const { state } = draft;
  if (state.phase !== 'drafted') return outOfPhase(draft);
  removeOutstanding(draft, ({ type }) => type === 'validate-plan');
  state.phase = 'refused';
  state.failure = failureAt(draft, event);
  return null;
}

export function recordApproval(draft: Draft, event: EventOf<'approval-recorded'>): Verdict {
  const { state } = draft;
  const { operatorId } = event;
  if (!['drafted', 'validated', 'approved'].includes(state.phase)) return outOfPhase(draft);
  const refusal = approvalFault(draft, state.plan.body.requested_by, state.approvals, operatorId);
  if (refusal !== null) return refusal;
  state.approvals.push({ operatorId, event: firstConsumed(draft) });
  approveWhenEnough(draft);
  return null;
}

/** Why an approval does not count: for the plan and for a recovery alike. */
export function approvalFault(
  draft: Draft,
  requester: string,
  approvals: readonly { operatorId: string }[],
  operatorId: string,
): Verdict {
  if (draft.consumed.length !== 1) {
    return reject('EVIDENCE_MISSING', 'an approval rests on exactly one event');
  }
  if (operatorId === requester) {
    return reject('APPROVER_IS_REQUESTER', `${operatorId} asked for it and cannot approve it`);
  }
  if (approvals.some((approval) => approval.operatorId === operatorId)) {
    return reject('APPROVAL_REPEATED', `${operatorId} has approved already`);
  }
  if (approvals.length >= approvalsMax) return reject('APPROVALS_FULL', 'no more are recorded');
  return null;
}

export function recordDryRun(draft: Draft, event: EventOf<'dry-run-completed'>): Verdict {
  const { state } = draft;
  if (!['validated', 'approved'].includes(state.phase)) return outOfPhase(draft);
  const { type: _type, ...run } = event;
  state.dryRuns = [...state.dryRuns, run].slice(-dryRunsKept);
  return null;
}

export function requestExecution(draft: Draft, event: EventOf<'execution-requested'>): Verdict {
  const { state, atMs } = draft;
  const plan = state.plan.body;
  if (state.phase === 'validated') {
    const needed = approvalsRequired(plan, draft.policy);
    return reject('APPROVALS_MISSING', `${state.approvals.length} of ${needed} approvals`);
  }
  if (state.phase !== 'approved') return outOfPhase(draft);
  if (state.approvals.length < approvalsRequired(plan, draft.policy)) {
    return reject('APPROVALS_MISSING', 'the policy now asks for more approvals');
  }
  if (draft.consumed.length !== 1) {
    return reject('EVIDENCE_MISSING', 'an execution rests on exactly one request');
  }
  if (atMs >= instantMs(plan.expires_at)) {
    return reject('PLAN_EXPIRED', `the plan expired at ${plan.expires_at}`);
  }
  const window = windowOf(plan);
  if (!window.contains(atMs, draft.policy.policies.rotation.clock_skew_ms)) {
    const span = `${formatInstant(window.startMs)} to ${formatInstant(window.endMs)}`;
    return reject('WINDOW_CLOSED', `the rotation window is ${span}`);
  }
  state.execution = { operatorId: event.operatorId, event: firstConsumed(draft), atMs };
  state.refusal = null;
  state.phase = 'reserving';
  state.reserved = true;
  removeOutstanding(draft, ({ type }) => type === 'release-slots');
  issueSlotsCommand(draft, 'reserve-slots');
  return null;
}

/** A slot is held or something has changed. What was reserved, if anything, is given back. */
export function refuseExecution(draft: Draft, event: EventOf<'execution-refused'>): Verdict {
  const { state } = draft;
  if (state.phase !== 'reserving') return outOfPhase(draft);
  removeOutstanding(draft, ({ type }) => type === 'reserve-slots');
  state.phase = 'approved';
  state.execution = null;
  state.reserved = false;
  state.refusal = failureAt(draft, event);
  issueSlotsCommand(draft, 'release-slots');
  return null;
}

export function reserveSlots(draft: Draft): Verdict {
  const { state } = draft;
  if (state.phase !== 'reserving') return outOfPhase(draft);
  removeOutstanding(draft, ({ type }) => type === 'reserve-slots');
  state.phase = 'authorizing';
  const approvals = state.approvals.map(({ event }) => event);
  const request = state.execution === null ? [] : [state.execution.event];
  issueStatement(draft, authorizationBody(draft), [...approvals, ...request]);
  return null;
}

export function authorize(draft: Draft, authorization: RotationAuthorization): Verdict {
  const { state } = draft;
  if (state.phase !== 'authorizing') return outOfPhase(draft);
  const asked = state.outstanding.find(({ type }) => type === 'sign-statement');
  if (asked?.type !== 'sign-statement' || !sameData(asked.body, authorization.body)) {
    return reject('STATEMENT_MISMATCH', 'the authorization is not the one asked for');
  }
  removeOutstanding(draft, (command) => command === asked);
  state.authorization = authorization;
  beginPreparing(draft);
  return null;
}

export function refuseStatement(draft: Draft, event: EventOf<'statement-refused'>): Verdict {
  const { state } = draft;
  const asked = state.outstanding.find(
    (command) => command.type === 'sign-statement' && command.statement === event.statement,
  );
  if (asked === undefined) return outOfPhase(draft);
  removeOutstanding(draft, (command) => command === asked);
  if (event.statement === 'recovery_authorization') {
    state.recoveryRequest = null;
    return null;
  }
  beginRollback(draft, failureAt(draft, event));
  return null;
}

/** Before the commit decision only; a plan that was not executed yet is withdrawn by it. */
export function requestRollback(draft: Draft, event: EventOf<'rollback-requested'>): Verdict {
  const { state } = draft;
  if (state.decision !== 'none') {
    return reject('DECISION_TAKEN', `the decision is ${state.decision}`);
  }
  if (state.phase === 'refused') return outOfPhase(draft);
  const reason = `${event.operatorId} asked for it: ${event.reason}`;
  beginRollback(draft, failureAt(draft, { code: 'ORCH-8005', reason }));
  return null;
}

export function releaseSlots(draft: Draft): Verdict {
  const { state } = draft;
  const due = state.outstanding.some(({ type }) => type === 'release-slots');
  if (!due) return outOfPhase(draft);
  removeOutstanding(draft, ({ type }) => type === 'release-slots');
  state.reserved = false;
  return null;
}

export function outOfPhase({ state }: Draft): Verdict {
  return reject('PHASE_MISMATCH', `the rotation is ${state.phase}`);
}

function approveWhenEnough({ state, policy }: Draft): void {
  if (state.phase !== 'validated') return;
  if (state.approvals.length >= approvalsRequired(state.plan.body, policy)) {
    state.phase = 'approved';
  }
}

function authorizationBody({ state, atMs }: Draft): RotationAuthorizationBody {
  const plan = state.plan.body;
  return {
    kind: 'rotation_authorization',
    mesh: plan.mesh,
    rotation_plan_id: plan.rotation_plan_id,
    plan_digest: state.planDigest,
    issued_at: formatInstant(atMs),
    policy_digest: plan.basis.policy_digest,
    approvals: state.approvals.map(({ operatorId: operator, event }) => ({ operator, event })),
    expires_at: plan.expires_at,
  };
}

function firstConsumed({ consumed }: Draft): string {
  return consumed[0] ?? '';
}
