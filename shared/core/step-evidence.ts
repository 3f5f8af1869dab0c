/**
 * What a layer agent checks by itself before it acts. It trusts no orchestrator: a step holds only
 * with an auditor's receipt that the saga is where the step belongs, with the approvals of this very
 * plan, and with the reports that the operation rests on (invariants 1, 5, 7, 9, 10, 14). Signatures
 * were checked by the caller; here it is only asked what the signed things say.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { StepCommanded } from '#schemas/steps.ts';
import type {
  RecoveryAuthorizationBody,
  RotationAuthorizationBody,
  RotationCommitBody,
  RotationPlanBody,
} from '#schemas/plan.ts';
import type { RotationPhase, StepOperation } from '#schemas/saga.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { instantMs } from './instant.ts';
import { windowOf } from './plan-window.ts';
import {
  approvalShortfall,
  isSameKey,
  mayBeFenced,
  memberReports,
  membersOf,
  ownerOf,
  preparedKey,
  type VerifiedEvent,
} from './verified-event.ts';

export type { VerifiedEvent } from './verified-event.ts';

export interface StepCheck {
  readonly command: StepCommanded;
  readonly plan: RotationPlanBody;
  readonly planDigest: string;
  /** The documents' signatures were checked; without them, those that the command carries count. */
  readonly authorization?: RotationAuthorizationBody;
  readonly evidence: readonly VerifiedEvent[];
  /** The auditor's `receipts-issued`. */
  readonly receipt: VerifiedEvent;
  readonly agentId: string;
  readonly layer: number;
  /** By the agent's own clock. */
  readonly nowMs: number;
  readonly policy: PolicyBody;
  /** Highest index of this saga that the agent has acted on; absent when there is none. */
  readonly lastSagaIndex?: number;
  /** By the agent's own trust documents: no orchestrator's word makes a member's report needless. */
  readonly isRevoked: (agentId: string) => boolean;
  /** The agent froze these slots in a lockout. */
  readonly frozen?: boolean;
  readonly commit?: RotationCommitBody;
  readonly recovery?: RecoveryAuthorizationBody;
}

export interface StepRefusal {
  readonly code: OrchCode;
  readonly reason: string;
}

export type StepVerdict = 'ok' | StepRefusal;

/** Phases of the saga in which an operation may be done. */
const phases: Readonly<Record<StepOperation, readonly RotationPhase[]>> = {
  prepare: ['preparing'],
  accept: ['distributing'],
  activate: ['activating', 'verifying'],
  verify: ['activating', 'verifying'],
  measure: ['soaking'],
  release: ['retiring'],
  retire: ['retiring'],
  rollback: ['rolling_back'],
  discard: ['rolling_back', 'rolled_back'],
  freeze: ['locked_out'],
};

/** Who of a slot's members an operation is for; the others are refused. */
const roles: Partial<Record<StepOperation, 'owner' | 'verifier'>> = {
  prepare: 'owner',
  accept: 'verifier',
  activate: 'owner',
  measure: 'owner',
  freeze: 'owner',
};

type SlotCheck = (check: StepCheck, slot: string) => StepRefusal | null;

const slotChecks: Partial<Record<StepOperation, SlotCheck>> = {
  accept: checkPrepared,
  activate: checkAcknowledgements,
  verify: checkActivated,
  retire: checkReleases,
};

export function checkStep(given: StepCheck): StepVerdict {
  const check = withDocuments(given);
  return (
    checkIdentity(check) ??
    checkReceipt(check) ??
    checkMembership(check) ??
    checkDocuments(check) ??
    checkSlots(check) ??
    'ok'
  );
}

function withDocuments(check: StepCheck): StepCheck {
  const { command } = check;
  const authorization = check.authorization ?? command.authorization?.body;
  const commit = check.commit ?? command.commit?.body;
  const recovery = check.recovery ?? command.recovery?.body;
  return {
    ...check,
    ...(authorization === undefined ? {} : { authorization }),
    ...(commit === undefined ? {} : { commit }),
    ...(recovery === undefined ? {} : { recovery }),
  };
}

function checkIdentity({ command, plan, planDigest, lastSagaIndex = -1 }: StepCheck) {
  if (command.planDigest !== planDigest || command.sagaId !== plan.rotation_plan_id) {
    return refuse('ORCH-8004', 'the step is not of this plan');
  }
  if (command.sagaIndex < lastSagaIndex) {
    const reason = `entry ${command.sagaIndex} is overtaken by entry ${lastSagaIndex}`;
    return refuse('ORCH-8005', reason);
  }
  return null;
}

/** The latest accepted entry of the saga that the receipt covers decides where the saga stands. */
function checkReceipt({ command, receipt }: StepCheck): StepRefusal | null {
  if (receipt.type !== 'receipts-issued' || receipt.senderKind !== 'auditor') {
    return refuse('ORCH-8015', 'without a receipt of an auditor');
  }
  const entries = receipt.body.entries
    .filter(({ sagaId, verdict }) => sagaId === command.sagaId && verdict === 'accepted')
    .sort((one, other) => (other.sagaIndex ?? -1) - (one.sagaIndex ?? -1));
  const [latest] = entries;
  if (latest?.sagaIndex === undefined || latest.phase === undefined) {
    return refuse('ORCH-8015', 'the receipt covers no entry of the saga');
  }
  if (latest.sagaIndex < command.sagaIndex) {
    return refuse('ORCH-8015', `the receipt covers entry ${latest.sagaIndex} only`);
  }
  if (!phases[command.operation].includes(latest.phase)) {
    const reason = `${command.operation} is not for a rotation that is ${latest.phase}`;
    return refuse('ORCH-8015', reason);
  }
  return null;
}

function checkMembership({ command, plan, agentId, layer }: StepCheck): StepRefusal | null {
  const { operation, slots } = command;
  if (new Set(slots).size !== slots.length) {
    return refuse('ORCH-8004', 'a slot is named twice');
  }
  const role = roles[operation];
  for (const slot of slots) {
    const member = membersOf(plan, slot).find(({ agent_id }) => agent_id === agentId);
    if (member === undefined || member.layer !== layer) {
      return refuse('ORCH-8015', `${agentId} is no member of ${slot}`);
    }
    if (role !== undefined && member.role !== role) {
      return refuse('ORCH-8015', `${operation} of ${slot} is not for a ${member.role}`);
    }
  }
  return null;
}

function checkDocuments(check: StepCheck): StepRefusal | null {
  switch (check.command.operation) {
    case 'prepare':
    case 'accept':
      return checkAuthorization(check) ?? checkTime(check) ?? checkApprovals(check);
    case 'activate':
      return checkAuthorization(check) ?? checkWindow(check);
    case 'verify':
    case 'measure':
      return checkAuthorization(check);
    case 'release':
      return checkCommit(check);
    case 'retire':
      return checkCommit(check) ?? checkOverlap(check);
    case 'rollback':
      return checkRecovery(check);
    case 'discard':
    case 'freeze':
      return null;
  }
}

function checkAuthorization(check: StepCheck): StepRefusal | null {
  const { authorization } = check;
  if (authorization === undefined || !isBound(check, authorization)) {
    return refuse('ORCH-8015', 'without an authorization of this plan');
  }
  return null;
}

function checkTime(check: StepCheck): StepRefusal | null {
  const { authorization, plan, nowMs, policy } = check;
  const skewMs = policy.policies.rotation.clock_skew_ms;
  const expiresAt = authorization?.expires_at ?? plan.expires_at;
  if (nowMs >= instantMs(expiresAt) + skewMs || nowMs >= instantMs(plan.expires_at) + skewMs) {
    return refuse('ORCH-8004', `the authorization expired at ${expiresAt}`);
  }
  return checkWindow(check);
}

function checkWindow({ plan, nowMs, policy }: StepCheck): StepRefusal | null {
  return windowOf(plan).contains(nowMs, policy.policies.rotation.clock_skew_ms)
    ? null
    : refuse('ORCH-8004', 'outside of the rotation window');
}

function checkApprovals({ evidence, plan, planDigest, policy }: StepCheck): StepRefusal | null {
  const shortfall = approvalShortfall(evidence, { plan, planDigest }, policy);
  return shortfall === undefined ? null : refuse('ORCH-8015', shortfall);
}

function checkCommit(check: StepCheck): StepRefusal | null {
  const { commit, command } = check;
  if (commit === undefined || !isBound(check, commit)) {
    return refuse('ORCH-8015', 'without a commit decision of this plan');
  }
  const missing = command.slots.find((slot) => !commit.keys.some((key) => key.slot === slot));
  return missing === undefined
    ? null
    : refuse('ORCH-8015', `the commit decision does not name ${missing}`);
}

/** Not ready rather than refused: the step is right, only early by this agent's clock. */
function checkOverlap({ commit, plan, nowMs }: StepCheck): StepRefusal | null {
  const overMs = instantMs(commit?.issued_at ?? '') + plan.timing.overlap_ms;
  return nowMs >= overMs ? null : refuse('ORCH-8007', 'the overlap window is not over');
}

function checkRecovery(check: StepCheck): StepRefusal | null {
  const { recovery, frozen } = check;
  if (recovery !== undefined && !isBound(check, recovery)) {
    return refuse('ORCH-8015', 'the recovery is not of this plan');
  }
  return frozen === true && recovery === undefined
    ? refuse('ORCH-8006', 'locked out: a rollback needs an approved recovery')
    : null;
}

function checkSlots(check: StepCheck): StepRefusal | null {
  const slotCheck = slotChecks[check.command.operation];
  if (slotCheck === undefined) return null;
  for (const slot of check.command.slots) {
    const refusal = slotCheck(check, slot);
    if (refusal !== null) return refusal;
  }
  return null;
}

function checkPrepared(check: StepCheck, slot: string): StepRefusal | null {
  const { evidence, plan, planDigest } = check;
  const revoked = checkOwner(check, slot);
  if (revoked !== null) return revoked;
  return preparedKey(evidence, { plan, planDigest }, slot) === undefined
    ? refuse('ORCH-8014', `no single report of the owner's new key of ${slot}`)
    : null;
}

/** Nobody takes up a key of an agent that is out of the mesh, whenever it was made. */
function checkOwner({ plan, isRevoked }: StepCheck, slot: string): StepRefusal | null {
  const owner = ownerOf(plan, slot);
  return owner !== undefined && isRevoked(owner)
    ? refuse('ORCH-8014', `${owner}, the owner of ${slot}, is revoked`)
    : null;
}

/** Every member, but for those that may be fenced out or are revoked, accepted exactly the owner's new key. */
function checkAcknowledgements(check: StepCheck, slot: string): StepRefusal | null {
  const { evidence, plan, planDigest, policy, isRevoked } = check;
  const identity = { plan, planDigest };
  const prepared = preparedKey(evidence, identity, slot);
  if (prepared === undefined) {
    return refuse('ORCH-8014', `no single report of the owner's new key of ${slot}`);
  }
  const accepted = memberReports(evidence, identity, { slot, operation: 'accept' });
  const other = accepted.find(({ outcome }) => !isSameKey(outcome, prepared));
  if (other !== undefined) {
    return refuse('ORCH-8014', `${other.agentId} accepted another key of ${slot}`);
  }
  const missing = membersOf(plan, slot).find(
    (member) =>
      member.role === 'verifier' &&
      !mayBeFenced(plan, policy, member) &&
      !isRevoked(member.agent_id) &&
      !accepted.some(({ agentId }) => agentId === member.agent_id),
  );
  return missing === undefined
    ? null
    : refuse('ORCH-8014', `${missing.agent_id} has not accepted the new key of ${slot}`);
}

function checkActivated(check: StepCheck, slot: string): StepRefusal | null {
  const { evidence, plan, planDigest } = check;
  const revoked = checkOwner(check, slot);
  if (revoked !== null) return revoked;
  const reports = memberReports(evidence, { plan, planDigest }, { slot, operation: 'activate' });
  const owner = ownerOf(plan, slot);
  return reports.some(({ agentId }) => agentId === owner)
    ? null
    : refuse('ORCH-8014', `the new key of ${slot} was not activated by its owner`);
}

/** Every member, but for those that may be fenced out or are revoked, says that nothing needs the old key. */
function checkReleases(check: StepCheck, slot: string): StepRefusal | null {
  const { evidence, plan, planDigest, policy, isRevoked } = check;
  const oldKey = plan.affected_keys.find((key) => key.slot === slot);
  const released = memberReports(evidence, { plan, planDigest }, { slot, operation: 'release' })
    .filter(({ outcome }) => outcome.keyId === oldKey?.key_id && outcome.inUse === 0)
    .map(({ agentId }) => agentId);
  const missing = membersOf(plan, slot).find(
    (member) =>
      !released.includes(member.agent_id) &&
      !mayBeFenced(plan, policy, member) &&
      !isRevoked(member.agent_id),
  );
  return missing === undefined
    ? null
    : refuse('ORCH-8007', `${missing.agent_id} has not let go of the old key of ${slot}`);
}

function isBound(
  { plan, planDigest }: StepCheck,
  statement: { readonly plan_digest: string; rotation_plan_id: string; mesh: string },
): boolean {
  return (
    statement.plan_digest === planDigest &&
    statement.rotation_plan_id === plan.rotation_plan_id &&
    statement.mesh === plan.mesh
  );
}

function refuse(code: OrchCode, reason: string): StepRefusal {
  return { code, reason };
}
