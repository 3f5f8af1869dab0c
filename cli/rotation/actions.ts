/**
 * What an operator can do with rotations. Whatever an operator signs is checked first: the plan must
 * bear the orchestration role's signature and have the digest that the request will name.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationType } from '#schemas/plan.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { servedBy, withDependants } from '#shared/core/dependants.ts';
import { servingAgents } from '#shared/core/plan-members.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import { checks, type RotationDetails, type RotationSummary } from '../answers.ts';
import { CliFault, exitCodes } from '../fault.ts';
import { longPollMs, type OperatorSession } from '../operator-session.ts';
import { orchestrationFault } from '../orchestration-fault.ts';
import { words } from '../style.ts';
import { checkWindowStart, type WindowMs } from './arguments.ts';
import { waitsFor } from './holding.ts';
import { approvedAlready, isApprovedBy } from './approved-already.ts';
import { refusalHint } from './refusal-hint.ts';
import { waitsForPeople } from './waits-for-people.ts';

export interface PlanRequest {
  readonly layers: readonly LayerNumber[];
  readonly rotationType: RotationType;
  readonly window?: WindowMs;
  readonly reason: string;
}

export type Watcher = (details: RotationDetails) => void;

/** Phases in which nothing more happens without somebody's doing. */
export const restingPhases: ReadonlySet<RotationPhase> = new Set([
  'refused',
  'retired',
  'rolled_back',
  'locked_out',
]);

/**
 * Asks for a plan of the layers and of all that depend on them: none would be stated without these. Waits
 * until the layers have been asked whether it can run.
 */
export async function planRotation(
  session: OperatorSession,
  request: PlanRequest,
): Promise<RotationDetails> {
  const { rotationType, window, reason } = request;
  if (window !== undefined) {
    const planValidMs = session.trust.policy.policies.rotation.plan_valid_ms;
    checkWindowStart(window, { nowMs: Date.now(), planValidMs });
  }
  const planId = await session.request('rotation-requested', {
    requestId: toHex(session.crypto.randomBytes(16)),
    rotationType,
    layers: withDependants(request.layers, servedIn(session)),
    ...(window === undefined ? {} : { windowStartMs: window.startMs, windowEndMs: window.endMs }),
    reason,
  });
  const details = await follow(session, planId, ({ phase }) => phase !== 'drafted');
  if (details.phase !== 'refused') return details;
  throw orchestrationFault(
    details.failure?.code ?? 'ORCH-8004',
    `${planId}: ${details.failure?.reason ?? 'refused'}`,
    planId,
  );
}

/** Whether somebody serves a layer, by the trust documents that this operator has verified. */
function servedIn({ trust }: OperatorSession): (layer: LayerNumber) => boolean {
  return servedBy(servingAgents(trust.agents()));
}

/**
 * Signs the plan as another operator; on a locked-out plan, its recovery. `beforehand` is told what will
 * be signed. Of a plan that can no longer be executed nothing is signed.
 */
export async function approveRotation(
  session: OperatorSession,
  planId: string,
  beforehand: Watcher = () => undefined,
): Promise<RotationDetails> {
  const { bound, details } = await checkedPlan(session, planId);
  if (details.phase === 'locked_out') return approveRecovery(session, planId);
  if (details.stale !== undefined) throw staleFault(planId, details.stale.reason);
  if (isApprovedBy(session.operatorId, details)) {
    throw approvedAlready(details, askingOf(session));
  }
  beforehand(details);
  await advised(session, planId, () => session.request('plan-approved', bound, planId));
  return follow(session, planId, ({ state }) =>
    state.approvals.some(({ operatorId }) => operatorId === session.operatorId),
  );
}

/** Signs the recovery of a locked-out plan; a plan in any other phase is not approved by this. */
export async function approveRecovery(
  session: OperatorSession,
  planId: string,
): Promise<RotationDetails> {
  const { bound, details } = await checkedPlan(session, planId);
  requireLockout(details);
  await session.request('recovery-approved', { ...bound, lockout: details.state.lockouts }, planId);
  return follow(session, planId, ({ phase }) => phase !== 'locked_out');
}

/** Checks the plan against the live agents, as an execution would, and stops there. */
export async function dryRunRotation(
  session: OperatorSession,
  planId: string,
): Promise<RotationDetails> {
  const { bound, details } = await checkedPlan(session, planId);
  await advised(session, planId, () =>
    session.request('execution-requested', { ...bound, dryRun: true }, planId),
  );
  return follow(session, planId, ({ index }) => index > details.index);
}

/** Executes the plan and watches until it is decided. */
export async function executeRotation(
  session: OperatorSession,
  planId: string,
  watcher: Watcher,
): Promise<RotationDetails> {
  const { bound, details: before } = await checkedPlan(session, planId);
  await advised(session, planId, () =>
    session.request('execution-requested', { ...bound, dryRun: false }, planId),
  );
  const isDecided = ({ phase, index, state }: RotationDetails): boolean =>
    index > before.index &&
    (state.decision === 'commit' ||
      restingPhases.has(phase) ||
      (phase === 'approved' && state.refusal !== null));
  const after = await follow(session, planId, isDecided, watcher);
  if (after.phase === 'approved' && after.state.refusal !== null) {
    const { code, reason } = after.state.refusal;
    throw orchestrationFault(code, `${planId}: ${reason}`, planId);
  }
  checkCommit(session, after);
  return after;
}

/** Goes back to the old keys, where the rotation is not committed yet. */
export async function rollbackRotation(
  session: OperatorSession,
  planId: string,
  { reason, watcher }: { readonly reason: string; readonly watcher: Watcher },
): Promise<RotationDetails> {
  const { bound } = await checkedPlan(session, planId);
  await advised(session, planId, () =>
    session.request('rollback-requested', { ...bound, reason }, planId),
  );
  return follow(session, planId, ({ phase }) => restingPhases.has(phase), watcher);
}

/** Asks for the recovery of a locked-out rotation. */
export async function requestRecovery(
  session: OperatorSession,
  planId: string,
): Promise<RotationDetails> {
  const { bound, details } = await checkedPlan(session, planId);
  requireLockout(details);
  await session.request('recovery-requested', bound, planId);
  return follow(
    session,
    planId,
    ({ phase, state }) => phase !== 'locked_out' || state.recoveryRequest !== null,
  );
}

/**
 * Watches until the rotation rests; nothing of one that rests already, whose result says it all. Where the
 * time is over first, people may have to do something before it ever goes on.
 */
export async function watchRotation(
  session: OperatorSession,
  planId: string,
  watcher: Watcher,
): Promise<RotationDetails> {
  const details = await showRotation(session, planId);
  if (restingPhases.has(details.phase)) return details;
  const late = (seen: RotationDetails): CliFault =>
    waitsForPeople(seen, askingOf(session).operators) ?? undecided(seen);
  return follow(session, planId, ({ phase }) => restingPhases.has(phase), watcher, late);
}

export async function showRotation(
  session: OperatorSession,
  planId: string,
): Promise<RotationDetails> {
  return ask(session, planId, undefined);
}

export async function listRotations(session: OperatorSession): Promise<RotationSummary[]> {
  return session.askOrchestrator({ ask: 'rotation-list' }, checks.rotationList);
}

/** Between two questions: several entries are read at once, and the processor is the mesh's. */
const pollPauseMs = 40;

/** Asks again and again, each time past the index seen last, until `until` holds. */
async function follow(
  session: OperatorSession,
  planId: string,
  until: (details: RotationDetails) => boolean,
  watcher: Watcher = () => undefined,
  late: (seen: RotationDetails) => CliFault = undecided,
): Promise<RotationDetails> {
  let seen: RotationDetails | undefined;
  for (;;) {
    const details = await ask(session, planId, seen?.index);
    // The other orchestrator may be a little behind; what was seen stays seen.
    if (seen === undefined || details.index > seen.index) {
      seen = details;
      watcher(details);
    }
    if (until(seen)) return seen;
    if (performance.now() > session.deadlineMs) throw late(seen);
    await sleep(pollPauseMs);
  }
}

async function ask(
  session: OperatorSession,
  planId: string,
  afterIndex: number | undefined,
): Promise<RotationDetails> {
  const past = afterIndex === undefined ? {} : { afterIndex };
  const waitMs = afterIndex === undefined ? 0 : longPollMs;
  const query = { ask: 'rotation-show', planId, waitMs, ...past } as const;
  try {
    return await session.askOrchestrator(query, checks.rotationDetails);
  } catch (error) {
    // The only thing that can be wrong with this question is the id.
    if (!(error instanceof CliFault) || error.code !== 'ORCH-8004') throw error;
    throw new CliFault({
      code: error.code,
      reason: `there is no plan ${planId}`,
      hint: 'See the plans, and write the whole id: gyre rotation list.',
      cause: error,
    });
  }
}

/** A refusal with what to do about it where the rotation stands now. */
async function advised(
  session: OperatorSession,
  planId: string,
  request: () => Promise<string>,
): Promise<void> {
  try {
    await request();
  } catch (error) {
    if (!(error instanceof CliFault)) throw error;
    const standing = await showRotation(session, planId);
    const hint = refusalHint(error.code, standing, askingOf(session));
    if (hint === undefined) throw error;
    const { code, reason, exitCode } = error;
    throw new CliFault({ code, reason, hint, exitCode, cause: error });
  }
}

function askingOf({ operatorId, trust }: OperatorSession) {
  const operators = trust.agents().filter(({ kind }) => kind === 'operator');
  return { operatorId, operators: operators.map(({ agentId }) => agentId).toSorted() };
}

/** The plan as an operator may rely on it. */
async function checkedPlan(session: OperatorSession, planId: string) {
  const details = await showRotation(session, planId);
  const { plan, planDigest } = details;
  const signature = session.trust.verifyStatement(plan, 'orchestration');
  const digest = documentDigest(session.crypto, plan.body);
  const holds =
    signature === 'ok' && digest === planDigest && plan.body.rotation_plan_id === planId;
  if (holds) return { details, bound: { planId, planDigest } };
  throw new CliFault({
    code: signature === 'ok' ? 'PLAN_DIGEST_MISMATCH' : signature,
    reason: `what the orchestrator shows as ${planId} is not a plan that the signer stated`,
    hint: 'Do not approve or execute it; look at the logs of the orchestrators.',
  });
}

function requireLockout({ planId, phase }: RotationDetails): void {
  if (phase === 'locked_out') return;
  throw new CliFault({
    code: 'NOT_LOCKED_OUT',
    reason: `${planId} is ${words(phase)}; only a rotation that is locked out can be recovered`,
    hint: `See where it stands: gyre rotation show ${planId}.`,
  });
}

/** A commit counts by the signer's statement, not by an orchestrator's word. */
function checkCommit(
  session: OperatorSession,
  { planId, planDigest, state }: RotationDetails,
): void {
  if (state.decision !== 'commit') return;
  const { commit } = state;
  const holds =
    commit !== null &&
    commit.body.plan_digest === planDigest &&
    session.trust.verifyStatement(commit, 'orchestration') === 'ok';
  if (holds) return;
  throw new CliFault({
    code: 'COMMIT_UNPROVEN',
    reason: `${planId} is said to be committed, but the signer's statement does not hold`,
    hint: 'Export and verify the audit: gyre audit export, gyre audit verify.',
  });
}

function undecided(details: RotationDetails): CliFault {
  const { planId } = details;
  return new CliFault({
    code: 'TIMEOUT',
    reason: waitsFor(details),
    hint: `It goes on by itself; follow it: gyre rotation watch ${planId} --timeout MS.`,
    exitCode: exitCodes.timeOver,
    about: { planId },
  });
}

function staleFault(planId: string, why: string): CliFault {
  return new CliFault({
    code: 'PLAN_STALE',
    reason: `${planId} can no longer be executed: ${why}`,
    hint: 'Nothing was signed; make another plan: gyre rotation plan.',
    about: { planId },
  });
}
