/**
 * One step of a rotation: state and entry in, state and commands out, or the reason why the entry
 * does not apply. Synchronous, total, and the same for every instance that folds the same log. A
 * rejected entry changes nothing and is not to be appended; the caller may drop it.
 */

import type { RotationEvent } from '#schemas/saga.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import {
  authorize,
  outOfPhase,
  recordApproval,
  recordDryRun,
  refuseExecution,
  refusePlan,
  refuseStatement,
  releaseSlots,
  requestExecution,
  requestRollback,
  reserveSlots,
  validatePlan,
} from './approve.ts';
import { decideCommit } from './commit.ts';
import { openDraft, reject, type Draft, type Verdict } from './draft.ts';
import { approveRecovery, authorizeRecovery, requestRecovery } from './recover.ts';
import { fireTimer, receiveReports } from './reports.ts';
import { noteRevocations } from './revoke.ts';
import type { RotationInput, RotationState, RotationStep } from './state.ts';

export function stepRotation(
  state: RotationState,
  input: RotationInput,
  policy: PolicyBody,
): RotationStep {
  if (input.index !== state.index + 1) {
    return reject('INDEX_MISMATCH', `entry ${input.index} does not follow ${state.index}`);
  }
  const draft = openDraft(state, input, policy);
  const verdict = apply(draft, input.event);
  if (verdict !== null) return verdict;
  const standing = new Set(draft.state.outstanding.map(({ id }) => id));
  return {
    state: draft.state,
    commands: draft.commands.filter(({ id }) => standing.has(id)),
  };
}

function apply(draft: Draft, event: RotationEvent): Verdict {
  switch (event.type) {
    case 'plan-drafted':
      return outOfPhase(draft);
    case 'plan-validated':
      return validatePlan(draft, event);
    case 'plan-refused':
      return refusePlan(draft, event);
    case 'approval-recorded':
      return recordApproval(draft, event);
    case 'dry-run-completed':
      return recordDryRun(draft, event);
    case 'execution-requested':
      return requestExecution(draft, event);
    case 'execution-refused':
      return refuseExecution(draft, event);
    case 'slots-reserved':
      return reserveSlots(draft);
    case 'execution-authorized':
      return authorize(draft, event.authorization);
    case 'statement-refused':
      return refuseStatement(draft, event);
    case 'reports-received':
      return receiveReports(draft, event.reports);
    case 'timer-fired':
      return fireTimer(draft, event.timer);
    case 'commit-decided':
      return decideCommit(draft, event.commit);
    case 'rollback-requested':
      return requestRollback(draft, event);
    case 'recovery-requested':
      return requestRecovery(draft, event.operatorId);
    case 'recovery-approved':
      return approveRecovery(draft, event.operatorId);
    case 'recovery-authorized':
      return authorizeRecovery(draft, event.authorization);
    case 'slots-released':
      return releaseSlots(draft);
    case 'members-revoked':
      return noteRevocations(draft, event.agentIds);
  }
}
