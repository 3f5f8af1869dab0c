/**
 * Reports of agents and timers: the two kinds of answer to steps. A report counts only when it
 * answers an outstanding step of the same agent and operation. What is late or repeated is passed
 * over; an entry with nothing else in it is rejected, so that it is never appended and a log cannot
 * grow without the rotation getting anywhere.
 */

import type { StepReport } from '#schemas/saga.ts';
import { advance } from './advance.ts';
import type { SendStep } from './commands.ts';
import {
  ensureStepTimer,
  holdStep,
  reject,
  removeOutstanding,
  resendStep,
  sendDue,
  sentSteps,
  type Draft,
  type Verdict,
} from './draft.ts';
import { isExhausted, stepFailed, stepUnanswered } from './failures.ts';
import { noteUses, recordOutcome, slotsInUse } from './outcomes.ts';
import { beginRetiring } from './retire.ts';
import { orderDiscards } from './rollback.ts';
import { measure } from './soak.ts';

export function receiveReports(draft: Draft, reports: readonly StepReport[]): Verdict {
  const unnamed = reports.find(({ report }) => !draft.consumed.includes(report));
  if (unnamed !== undefined) {
    return reject('EVIDENCE_MISSING', 'the entry does not name a report that it rests on');
  }
  let answered = 0;
  for (const report of reports) {
    const command = sentSteps(draft.state).find(
      ({ id, agentId, operation }) =>
        id === report.commandId && agentId === report.agentId && operation === report.operation,
    );
    if (command === undefined) {
      draft.state.counters.ignored += 1;
      continue;
    }
    answered += 1;
    receiveReport(draft, command, report);
  }
  if (answered === 0) return reject('REPORT_SUPERSEDED', 'no report answers an outstanding step');
  advance(draft);
  return null;
}

export function fireTimer(draft: Draft, timer: string): Verdict {
  const running = draft.state.outstanding.find(
    (command) => command.type === 'start-timer' && command.timer === timer,
  );
  if (running?.type !== 'start-timer') return reject('TIMER_UNKNOWN', 'the timer is not running');
  removeOutstanding(draft, (command) => command === running);
  switch (running.purpose) {
    case 'step':
      sendUnanswered(draft);
      break;
    case 'retry':
      sendDue(draft);
      break;
    case 'soak':
      measure(draft);
      break;
    case 'overlap':
      if (draft.state.phase === 'committed') beginRetiring(draft);
      else orderDiscards(draft);
      break;
  }
  advance(draft);
  return null;
}

function receiveReport(draft: Draft, command: SendStep, report: StepReport): void {
  removeOutstanding(draft, (other) => other === command);
  if (report.status === 'failed') {
    noteUses(draft, command, report);
    const reason = report.reason ?? `${command.operation} failed at ${command.agentId}`;
    stepFailed(draft, command, { code: report.code ?? 'ORCH-8005', reason });
    return;
  }
  const fault = recordOutcome(draft, command, report);
  if (fault !== null) {
    stepFailed(draft, command, { code: 'ORCH-8005', reason: fault, final: true });
    return;
  }
  noteUses(draft, command, report);
  const inUse = slotsInUse(command, report);
  if (inUse.length > 0) holdStep(draft, command, inUse);
}

function sendUnanswered(draft: Draft): void {
  for (const command of sentSteps(draft.state)) {
    if (!draft.state.outstanding.includes(command)) return;
    if (isExhausted(draft, command)) {
      removeOutstanding(draft, (other) => other === command);
      stepUnanswered(draft, command);
    } else resendStep(draft, command);
  }
  if (sentSteps(draft.state).length > 0) ensureStepTimer(draft);
}
