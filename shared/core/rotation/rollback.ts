/**
 * The way back: layer by layer in reverse, the checkpointed keys become primary again. Each step is
 * safe to repeat and its report is checked against the plan's checkpoint, as an activation is. New
 * keys that were never active are discarded at once; those that may have been stay accepted for
 * verification until the overlap has passed, so that nothing made under them is orphaned. A rollback
 * that cannot complete is a lockout (ORCH-8006): owners freeze, slots stay held (invariant 14).
 */

import type { OrchCode } from '#schemas/errors.ts';
import { reasonOf } from '../reason.ts';
import type { SlotProgress } from './state.ts';
import type { RotationFailure } from './state.ts';
import type { SendStep } from './commands.ts';
import {
  ensureTimer,
  goingBack,
  isAbandoned,
  issueSlotsCommand,
  issueSteps,
  sentSteps,
  settleBatch,
  slotsOf,
  withdrawAll,
  type Draft,
} from './draft.ts';

/** What is known about a failure; the time is the entry's. */
export function failureAt(
  draft: Draft,
  { code, reason, command }: { code: OrchCode; reason: string; command?: SendStep },
): RotationFailure {
  const { atMs } = draft;
  const failure: RotationFailure = { code, reason: reasonOf(reason), atMs };
  if (command === undefined) return failure;
  const { agentId, slotLayer, operation } = command;
  return { ...failure, agentId, slotLayer, operation };
}

/** Decides for rollback, for ever, and begins it. Only before the commit decision. */
export function beginRollback(draft: Draft, failure: RotationFailure): void {
  const { state } = draft;
  state.decision = 'rollback';
  state.decidedAtMs = draft.atMs;
  state.failure = failure;
  for (const slot of state.slots) slot.rollbackDue = slot.touched;
  startOver(draft);
}

/** After an approved recovery: every slot goes back, because every owner may be frozen. */
export function resumeRollback(draft: Draft): void {
  for (const slot of draft.state.slots) {
    slot.rollbackDue = true;
    slot.rolledBack = [];
  }
  draft.state.lockout = null;
  draft.state.recoveryRequest = null;
  startOver(draft);
}

/** Goes on to the next layer once every member of the present one has gone back. */
export function continueRollback(draft: Draft): void {
  const { state } = draft;
  const order = state.plan.body.rollback_plan.sequence;
  for (; state.cursor < order.length; state.cursor += 1) {
    const layer = order[state.cursor];
    const due = layer === undefined ? [] : slotsOf(state, layer).filter((slot) => !isBack(slot));
    if (due.length === 0) continue;
    if (!isRollingBack(draft)) orderRollback(draft, due);
    return;
  }
  if (sentSteps(state).length === 0) finish(draft);
}

/** Freezes the rotation until operators approve a recovery. The slots stay held. */
export function lockOut(draft: Draft, { reason, command }: LockoutCause): void {
  const { state } = draft;
  withdrawAll(draft);
  state.phase = 'locked_out';
  state.lockouts += 1;
  state.lockout = failureAt(draft, { code: 'ORCH-8006', reason, command });
  state.recoveryRequest = null;
  issueSteps(draft, {
    operation: 'freeze',
    targets: state.slots
      .filter((slot) => !isAbandoned(slot))
      .map((slot) => ({ agentId: slot.owner, slot })),
    evidence: () => [],
    documents: ['plan'],
  });
}

export interface LockoutCause {
  readonly reason: string;
  readonly command: SendStep;
}

/** After the overlap: whoever still holds a new key of this rotation drops it. */
export function orderDiscards(draft: Draft): void {
  sendDiscards(draft, draft.state.slots);
}

function startOver(draft: Draft): void {
  const { state } = draft;
  withdrawAll(draft);
  state.phase = 'rolling_back';
  state.cursor = 0;
  sendDiscards(
    draft,
    state.slots.filter((slot) => !slot.touched),
  );
  continueRollback(draft);
}

function orderRollback(draft: Draft, due: readonly SlotProgress[]): void {
  issueSteps(draft, {
    operation: 'rollback',
    targets: due.flatMap((slot) => goingBack(slot).map((agentId) => ({ agentId, slot }))),
    evidence: () => [],
    documents: draft.state.recovery === null ? ['plan'] : ['plan', 'recovery'],
  });
}

function sendDiscards(draft: Draft, slots: readonly SlotProgress[]): void {
  issueSteps(draft, {
    operation: 'discard',
    targets: slots.flatMap((slot) => slot.discardDue.map((agentId) => ({ agentId, slot }))),
    evidence: () => [],
    documents: ['plan'],
  });
}

function finish(draft: Draft): void {
  const { state } = draft;
  settleBatch(draft);
  state.phase = 'rolled_back';
  if (state.reserved) issueSlotsCommand(draft, 'release-slots');
  if (state.slots.some((slot) => slot.discardDue.length > 0)) {
    ensureTimer(draft, 'overlap', state.plan.body.timing.overlap_ms);
  }
}

function isRollingBack({ state }: Draft): boolean {
  return [...sentSteps(state), ...state.waiting].some(({ operation }) => operation === 'rollback');
}

function isBack(slot: SlotProgress): boolean {
  const back = new Set(slot.rolledBack.map(({ agentId }) => agentId));
  return !slot.rollbackDue || goingBack(slot).every((agentId) => back.has(agentId));
}
