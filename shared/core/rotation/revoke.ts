/**
 * What becomes of a rotation when members are revoked that it still waits for: they say nothing any
 * more that counts, so that waiting would have no end (invariant 13). A verifier is out of its slots
 * for good, as a fenced one is. Without its owner a slot can be turned by nobody: before the commit
 * decision the rotation goes back, after it the others let go of the old key, and either way the slot
 * is left behind with its owner, whose events nobody takes. Whether an agent is revoked is for those to
 * say who hold the trust documents: the auditor at the entry's leaf, each agent and the signer by their
 * own.
 */

import { revocationsPerEntryMax, type RotationPhase } from '#schemas/saga.ts';
import { advance } from './advance.ts';
import { outOfPhase } from './approve.ts';
import { askForCommit } from './commit.ts';
import {
  isAbandoned,
  reissueStep,
  reject,
  removeOutstanding,
  sentSteps,
  type Draft,
  type Verdict,
} from './draft.ts';
import { beginRollback, failureAt } from './rollback.ts';
import type { Acknowledgement, RotationState, SlotProgress } from './state.ts';

/**
 * Phases in which members are waited for. Before them nothing was begun, and the live check before the
 * reservation refuses a plan with a revoked member. In a lockout nothing is waited for but a recovery,
 * and nothing else is taken; on the way back that it opens, the members are waited for again.
 */
const waiting: ReadonlySet<RotationPhase> = new Set([
  'authorizing',
  'preparing',
  'distributing',
  'activating',
  'verifying',
  'soaking',
  'committing',
  'committed',
  'retiring',
  'rolling_back',
  'rolled_back',
]);

/** Members that the rotation waits for though they are revoked: what the next entry can say. */
export function revokedMembers(
  state: RotationState,
  isRevoked: (agentId: string) => boolean,
): string[] {
  if (!waiting.has(state.phase)) return [];
  const members = state.slots.flatMap((slot) =>
    [slot.owner, ...slot.verifiers].filter((agentId) => isAwaited(state, slot, agentId)),
  );
  return [...new Set(members)].filter(isRevoked).slice(0, revocationsPerEntryMax);
}

export function noteRevocations(draft: Draft, agentIds: readonly string[]): Verdict {
  const { state } = draft;
  if (!waiting.has(state.phase)) return outOfPhase(draft);
  const gone = new Set(agentIds);
  const awaited = new Set(revokedMembers(state, (agentId) => gone.has(agentId)));
  const other = agentIds.find((agentId) => !awaited.has(agentId));
  if (other !== undefined || awaited.size !== agentIds.length) {
    return reject('NOT_AWAITED', `the rotation does not wait for ${other ?? 'one agent twice'}`);
  }
  const reports = new Set(state.slots.flatMap((slot) => putOut(slot, gone)));
  dropSteps(draft, gone, reports);
  goOn(draft, reports);
  return null;
}

/** Once a rotation has gone back it waits only for who still has to drop a key. */
function isAwaited({ phase }: RotationState, slot: SlotProgress, agentId: string): boolean {
  if (slot.revoked.includes(agentId)) return false;
  return phase !== 'rolled_back' || slot.discardDue.includes(agentId);
}

/** Takes members out of a slot. Returns their reports, which prove nothing from now on. */
function putOut(slot: SlotProgress, gone: ReadonlySet<string>): string[] {
  const out = [slot.owner, ...slot.verifiers].filter((agentId) => gone.has(agentId));
  slot.revoked.push(...out.filter((agentId) => !slot.revoked.includes(agentId)));
  slot.discardDue = slot.discardDue.filter((agentId) => !gone.has(agentId));
  slot.heldBy = slot.heldBy.filter(({ agentId }) => !gone.has(agentId));
  const reports: string[] = [];
  const without = (done: readonly Acknowledgement[]): Acknowledgement[] => {
    reports.push(...done.flatMap(({ agentId, report }) => (gone.has(agentId) ? report : [])));
    return done.filter(({ agentId }) => !gone.has(agentId));
  };
  slot.accepted = without(slot.accepted);
  slot.verified = without(slot.verified);
  slot.released = without(slot.released);
  slot.retired = without(slot.retired);
  slot.rolledBack = without(slot.rolledBack);
  return reports;
}

/** What others were sent on the word of a revoked member is sent again without it, under a new id. */
function dropSteps(draft: Draft, gone: ReadonlySet<string>, reports: ReadonlySet<string>): void {
  const { state } = draft;
  const without = (evidence: readonly string[]): string[] =>
    evidence.filter((hash) => !reports.has(hash));
  state.waiting = state.waiting
    .filter(({ agentId }) => !gone.has(agentId))
    .map((step) => ({ ...step, evidence: without(step.evidence) }));
  for (const step of sentSteps(state)) {
    const evidence = without(step.evidence);
    const isOut = gone.has(step.agentId);
    if (!isOut && evidence.length === step.evidence.length) continue;
    removeOutstanding(draft, (command) => command === step);
    if (!isOut) reissueStep(draft, { ...step, evidence });
  }
}

function goOn(draft: Draft, reports: ReadonlySet<string>): void {
  const { state } = draft;
  const abandoned = state.slots.find(isAbandoned);
  if (state.decision === 'none' && (abandoned !== undefined || state.phase === 'authorizing')) {
    const agentId = abandoned?.owner ?? state.slots.flatMap(({ revoked }) => revoked)[0] ?? '';
    const whose =
      abandoned === undefined ? 'a member of the plan' : `the owner of ${abandoned.slot}`;
    const reason = `${agentId}, ${whose}, was revoked`;
    beginRollback(draft, { ...failureAt(draft, { code: 'ORCH-8007', reason }), agentId });
    return;
  }
  const asked = state.outstanding.find(({ type }) => type === 'sign-statement');
  const restsOnIt =
    asked?.type === 'sign-statement' && asked.evidence.some((hash) => reports.has(hash));
  if (state.phase === 'committing' && restsOnIt) {
    removeOutstanding(draft, (command) => command === asked);
    askForCommit(draft);
    return;
  }
  advance(draft);
}
