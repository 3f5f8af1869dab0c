/**
 * The only way out of a lockout (invariant 14): an operator asks, others approve for this very
 * lockout, the signer states it, and the rollback is tried again with fresh attempts.
 */

import type { RecoveryAuthorization, RecoveryAuthorizationBody } from '#schemas/plan.ts';
import { recoveryApprovalsRequired } from '../approvals.ts';
import { sameData } from '../equality.ts';
import { formatInstant } from '../instant.ts';
import { approvalFault, outOfPhase } from './approve.ts';
import { issueStatement, reject, removeOutstanding, type Draft, type Verdict } from './draft.ts';
import { resumeRollback } from './rollback.ts';

export function requestRecovery(draft: Draft, operatorId: string): Verdict {
  const { state } = draft;
  if (state.phase !== 'locked_out') return outOfPhase(draft);
  if (state.recoveryRequest !== null) {
    const { operatorId: requester } = state.recoveryRequest;
    return reject('RECOVERY_PENDING', `${requester} has asked for a recovery already`);
  }
  const [event] = draft.consumed;
  if (event === undefined || draft.consumed.length !== 1) {
    return reject('EVIDENCE_MISSING', 'a recovery rests on exactly one request');
  }
  state.recoveryRequest = { operatorId, event, approvals: [] };
  return null;
}

export function approveRecovery(draft: Draft, operatorId: string): Verdict {
  const { recoveryRequest: request } = draft.state;
  if (draft.state.phase !== 'locked_out' || request === null) return outOfPhase(draft);
  const refusal = approvalFault(draft, request.operatorId, request.approvals, operatorId);
  if (refusal !== null) return refusal;
  const needed = recoveryApprovalsRequired(draft.policy);
  if (request.approvals.length >= needed) return reject('APPROVALS_FULL', 'there are enough');
  request.approvals.push({ operatorId, event: draft.consumed[0] ?? '' });
  if (request.approvals.length < needed) return null;
  const approvals = request.approvals.map(({ event }) => event);
  issueStatement(draft, recoveryBody(draft), [request.event, ...approvals]);
  return null;
}

export function authorizeRecovery(draft: Draft, authorization: RecoveryAuthorization): Verdict {
  const { state } = draft;
  if (state.phase !== 'locked_out') return outOfPhase(draft);
  const asked = state.outstanding.find(({ type }) => type === 'sign-statement');
  if (asked?.type !== 'sign-statement' || !sameData(asked.body, authorization.body)) {
    return reject('STATEMENT_MISMATCH', 'the recovery is not the one asked for');
  }
  removeOutstanding(draft, (command) => command === asked);
  state.recovery = authorization;
  resumeRollback(draft);
  return null;
}

function recoveryBody({ state, atMs }: Draft): RecoveryAuthorizationBody {
  const plan = state.plan.body;
  const approvals = state.recoveryRequest?.approvals ?? [];
  return {
    kind: 'recovery_authorization',
    mesh: plan.mesh,
    rotation_plan_id: plan.rotation_plan_id,
    plan_digest: state.planDigest,
    issued_at: formatInstant(atMs),
    lockout: state.lockouts,
    approvals: approvals.map(({ operatorId: operator, event }) => ({ operator, event })),
  };
}
