/**
 * What follows when a step fails or nobody answers. Before the commit decision a failure is tried
 * again as often as its code allows and then ends in a rollback; a verifier that stays silent is
 * fenced out where the plan says so, an owner never. A rollback that fails too often is a lockout.
 * After the commit decision, and for keys that are to be discarded, it is tried without end.
 */

import { orchestrationCodes, type OrchCode } from '#schemas/errors.ts';
import type { SendStep } from './commands.ts';
import { holdStep, type Draft } from './draft.ts';
import { beginRollback, failureAt, lockOut } from './rollback.ts';
import { firedTrigger } from './soak.ts';

/** Codes of failures that may pass: the layer is busy, out of reach, or did not get the key. */
const passing: readonly OrchCode[] = ['ORCH-8007', 'ORCH-8013', 'ORCH-8014'];

export interface StepFault {
  readonly code: OrchCode;
  readonly reason: string;
  /** Asking again cannot help: the agent's answer contradicts what is known. */
  readonly final?: boolean;
}

/** The step's agent reported a failure. */
export function stepFailed(draft: Draft, command: SendStep, fault: StepFault): void {
  const { state } = draft;
  state.counters.failures += 1;
  if (fault.code === 'ORCH-8012') state.incompatible = true;
  switch (command.operation) {
    case 'freeze':
      return;
    case 'discard':
      if (state.phase === 'rolled_back') holdStep(draft, command, command.slots);
      return;
    case 'release':
    case 'retire':
      holdStep(draft, command, command.slots);
      return;
    case 'rollback':
      if (command.attempt + command.failures < rollbackAttemptsMax(draft)) {
        holdStep(draft, command, command.slots);
      } else lockOut(draft, { reason: fault.reason, command });
      return;
    case 'prepare':
    case 'accept':
    case 'activate':
    case 'verify':
    case 'measure':
      failedBeforeCommit(draft, command, fault);
  }
}

/** Whether a step without an answer has been sent often enough. */
export function isExhausted(draft: Draft, command: SendStep): boolean {
  const { phase, plan } = draft.state;
  if (phase === 'retiring' || phase === 'rolled_back') return false;
  return command.operation === 'rollback'
    ? command.attempt + command.failures >= rollbackAttemptsMax(draft)
    : command.attempt >= plan.body.timing.step_attempts_max;
}

/** Nobody answered; the step has been taken off the outstanding ones. */
export function stepUnanswered(draft: Draft, command: SendStep): void {
  const { state } = draft;
  const { agentId, operation } = command;
  state.counters.failures += 1;
  if (operation === 'freeze' || operation === 'discard') return;
  if (mayBeFenced(draft, command)) {
    fence(draft, command);
    if (state.decision === 'none') rollBackIfTriggered(draft);
    return;
  }
  const reason = `${agentId} did not answer ${operation} in ${command.attempt} attempts`;
  if (operation === 'rollback') {
    lockOut(draft, { reason, command });
    return;
  }
  const code = operation === 'accept' ? 'ORCH-8014' : 'ORCH-8013';
  beginRollback(draft, failureAt(draft, { code, reason, command }));
}

function failedBeforeCommit(draft: Draft, command: SendStep, fault: StepFault): void {
  const { code, reason } = fault;
  const retriesMax = passing.includes(code) ? orchestrationCodes[code].retriesMax : 0;
  if (fault.final === true || command.failures >= retriesMax) {
    beginRollback(draft, failureAt(draft, { code, reason, command }));
    return;
  }
  if (!rollBackIfTriggered(draft)) holdStep(draft, command, command.slots);
}

function rollBackIfTriggered(draft: Draft): boolean {
  const trigger = firedTrigger(draft);
  if (trigger === undefined) return false;
  beginRollback(draft, failureAt(draft, { code: 'ORCH-8005', reason: `trigger ${trigger}` }));
  return true;
}

function mayBeFenced({ state }: Draft, { agentId, operation, slots }: SendStep): boolean {
  const owned = state.slots.some(({ slot, owner }) => owner === agentId && slots.includes(slot));
  const fenceable = ['accept', 'verify', 'rollback'].includes(operation);
  return fenceable && !owned && state.plan.body.silent_member === 'fence';
}

function fence({ state }: Draft, { agentId, slots }: SendStep): void {
  for (const slot of state.slots.filter(({ slot: name }) => slots.includes(name))) {
    slot.fenced.push(agentId);
    slot.accepted = slot.accepted.filter((member) => member.agentId !== agentId);
    slot.verified = slot.verified.filter((member) => member.agentId !== agentId);
  }
}

function rollbackAttemptsMax({ state }: Draft): number {
  return state.plan.body.rollback_plan.attempts_max;
}
