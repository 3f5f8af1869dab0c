/**
 * One step in the making: a copy of the state that the handlers of a step may change, and the
 * commands that it issues. The state that was handed in is never touched; documents, which nobody
 * changes, are shared with it.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import type { StepOperation } from '#schemas/saga.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { copyData } from '#shared/core/plain-copy.ts';
import type {
  HeldStep,
  RotationCommand,
  SagaStatement,
  SendStep,
  StepDocument,
  TimerPurpose,
} from './commands.ts';
import type {
  Rejection,
  RejectionCode,
  RotationInput,
  RotationState,
  SlotProgress,
} from './state.ts';

export interface Draft {
  readonly state: RotationState;
  readonly policy: PolicyBody;
  readonly consumed: readonly string[];
  readonly atMs: number;
  /** Issued, or issued again, by this step. */
  readonly commands: RotationCommand[];
  issued: number;
}

/** A handler's verdict: null when the event was applied. */
export type Verdict = Rejection | null;

/** Longest pause between two tries of what is tried without end. */
export const retryDelayMsMax = 3_600_000;
const retryDelayMsMin = 100;
/** A step whose pause has no more than this part left goes out along with another one. */
const earlyPart = 0.25;

export function openDraft(state: RotationState, input: RotationInput, policy: PolicyBody): Draft {
  const { plan, authorization, commit, recovery, ...rest } = state;
  const copy: RotationState = {
    ...copyData(rest),
    plan,
    authorization,
    commit,
    recovery,
    index: input.index,
    atMs: input.event.atMs,
  };
  const { consumed, event } = input;
  return { state: copy, policy, consumed, atMs: event.atMs, commands: [], issued: 0 };
}

export function reject(rejected: RejectionCode, reason: string): Rejection {
  return { rejected, reason };
}

export interface StepOrder {
  readonly operation: StepOperation;
  readonly targets: readonly { readonly agentId: string; readonly slot: SlotProgress }[];
  readonly evidence: (slots: readonly SlotProgress[]) => readonly string[];
  readonly documents: readonly StepDocument[];
}

/** One command per agent and layer of slots, in the order of the targets. */
export function issueSteps(draft: Draft, order: StepOrder): void {
  const groups = new Map<string, { agentId: string; slots: SlotProgress[] }>();
  for (const { agentId, slot } of order.targets) {
    const key = `${slot.layer} ${agentId}`;
    const group = groups.get(key) ?? { agentId, slots: [] };
    group.slots.push(slot);
    groups.set(key, group);
  }
  for (const { agentId, slots } of groups.values()) {
    const slotLayer = (slots[0] as SlotProgress).layer;
    const command: SendStep = {
      type: 'send-step',
      ...nextIssue(draft),
      agentId,
      layer: layerOfAgent(draft.state, agentId) ?? slotLayer,
      slotLayer,
      operation: order.operation,
      slots: slots.map(({ slot }) => slot),
      evidence: [...new Set(order.evidence(slots))],
      documents: [...order.documents],
      attempt: 1,
      failures: 0,
    };
    put(draft, command);
  }
  if (groups.size > 0) ensureStepTimer(draft);
}

/** The same step under a new id, because its former answer stands under the old one. */
export function reissueStep(draft: Draft, former: SendStep): void {
  put(draft, { ...former, ...nextIssue(draft), attempt: 1 });
}

/** The same command once more: same id, this step's index. */
export function resendStep(draft: Draft, command: SendStep): void {
  command.attempt += 1;
  command.sagaIndex = draft.state.index;
  draft.state.counters.resent += 1;
  draft.commands.push(copyData(command));
}

export function issueSlotsCommand(draft: Draft, type: 'reserve-slots' | 'release-slots'): void {
  const slots = draft.state.slots.map(({ slot }) => slot);
  if (type === 'reserve-slots') put(draft, { type, ...nextIssue(draft), slots });
  else put(draft, { type, ...nextIssue(draft) });
}

export function issueStatement(
  draft: Draft,
  body: SagaStatement,
  evidence: readonly string[],
): void {
  put(draft, {
    type: 'sign-statement',
    ...nextIssue(draft),
    statement: body.kind,
    body,
    evidence: [...new Set(evidence)],
  });
}

/** Starts a timer unless one of the same purpose is running that is as short. */
export function ensureTimer(draft: Draft, purpose: TimerPurpose, delayMs: number): void {
  const running = timerOf(draft.state, purpose);
  if (running?.type === 'start-timer' && running.delayMs <= delayMs) return;
  stopTimer(draft, purpose);
  const issue = nextIssue(draft);
  put(draft, { type: 'start-timer', ...issue, timer: issue.id, purpose, delayMs });
}

/** The timer of the steps that are out; where there is no last attempt, it grows slower. */
export function ensureStepTimer(draft: Draft): void {
  const baseMs = draft.state.plan.body.timing.step_timeout_ms;
  const endless = draft.state.phase === 'retiring' || draft.state.phase === 'rolled_back';
  const attempts = sentSteps(draft.state).map(({ attempt }) => attempt);
  const round = endless && attempts.length > 0 ? Math.min(...attempts) - 1 : 0;
  ensureTimer(draft, 'step', backoffMs(baseMs, round));
}

/** Keeps a failed step for another try, after a pause that doubles with each failure. */
export function holdStep(draft: Draft, command: SendStep, slots: readonly string[]): void {
  const { state, atMs } = draft;
  const failures = command.failures + 1;
  const delayMs = pauseMs(state, failures);
  state.waiting.push({ ...command, slots: [...slots], failures, againAtMs: atMs + delayMs });
  const running = timerOf(state, 'retry');
  if (running?.type === 'start-timer' && running.delayMs <= delayMs) return;
  // Another one may be due before: its timer gives way to this one.
  ensureTimer(draft, 'retry', Math.max(0, firstDueMs(state.waiting) - atMs));
}

/**
 * Sends what is due of the steps that are held, and waits on for the others: each keeps to its own
 * pauses. Were it sent whenever another one is, the other's failures would double its pause. What has
 * most of its pause behind it goes along, so that those that failed nearly at once stay together.
 */
export function sendDue(draft: Draft): void {
  const { state, atMs } = draft;
  // Clocks differ: whatever the one showed by which it was held, no pause is longer than it is.
  const held = state.waiting.map((step) => ({
    ...step,
    againAtMs: Math.min(step.againAtMs, atMs + pauseMs(state, step.failures)),
  }));
  // Whatever this one shows, the timer was for the first of them.
  const nowMs = Math.max(atMs, firstDueMs(held));
  const isDue = ({ againAtMs, failures }: HeldStep): boolean =>
    againAtMs - pauseMs(state, failures) * earlyPart <= nowMs;
  state.waiting = held.filter((step) => !isDue(step));
  for (const { againAtMs: _, ...step } of held.filter(isDue)) reissueStep(draft, step);
  if (held.length > 0) ensureStepTimer(draft);
  if (state.waiting.length > 0) ensureTimer(draft, 'retry', firstDueMs(state.waiting) - nowMs);
}

export function removeOutstanding(
  draft: Draft,
  matches: (command: RotationCommand) => boolean,
): void {
  draft.state.outstanding = draft.state.outstanding.filter((command) => !matches(command));
}

/** Takes back all that is out, but for the release of the slots. */
export function withdrawAll(draft: Draft): void {
  removeOutstanding(draft, ({ type }) => type !== 'release-slots');
  draft.state.waiting = [];
}

/** Drops the timers of a batch that has all of its answers. */
export function settleBatch(draft: Draft): void {
  if (sentSteps(draft.state).length === 0) stopTimer(draft, 'step');
  if (draft.state.waiting.length === 0) stopTimer(draft, 'retry');
}

export function isIdle(state: RotationState): boolean {
  return sentSteps(state).length === 0 && state.waiting.length === 0;
}

export function sentSteps(state: RotationState): SendStep[] {
  return state.outstanding.filter((command) => command.type === 'send-step');
}

export function timerOf(state: RotationState, purpose: TimerPurpose) {
  return state.outstanding.find(
    (command) => command.type === 'start-timer' && command.purpose === purpose,
  );
}

export function slotsOf(state: RotationState, layer: LayerNumber): SlotProgress[] {
  return state.slots.filter((slot) => slot.layer === layer);
}

/** Members that count: those that are neither fenced out nor revoked, the owner first. */
export function membersOf(slot: SlotProgress): string[] {
  const owner = isAbandoned(slot) ? [] : [slot.owner];
  return [...owner, ...verifiersOf(slot)];
}

export function verifiersOf({ verifiers, fenced, revoked }: SlotProgress): string[] {
  return verifiers.filter((agentId) => !fenced.includes(agentId) && !revoked.includes(agentId));
}

/** Its owner was revoked: nobody can turn the slot any more, and nobody takes what its keys make. */
export function isAbandoned({ owner, revoked }: SlotProgress): boolean {
  return revoked.includes(owner);
}

/** Who makes the checkpoint primary again: verifiers only heard of the new key in use by its activation. */
export function goingBack(slot: SlotProgress): string[] {
  return membersOf(slot).filter((agentId) => slot.touched || agentId === slot.owner);
}

function stopTimer(draft: Draft, purpose: TimerPurpose): void {
  removeOutstanding(
    draft,
    (command) => command.type === 'start-timer' && command.purpose === purpose,
  );
}

function layerOfAgent(state: RotationState, agentId: string): LayerNumber | undefined {
  for (const { members } of state.plan.body.affected_keys) {
    const member = members.find(({ agent_id }) => agent_id === agentId);
    if (member !== undefined) return member.layer;
  }
  return undefined;
}

function nextIssue(draft: Draft): { id: string; sagaIndex: number } {
  const { sagaId, index } = draft.state;
  draft.issued += 1;
  return { id: `${sagaId}-${index}-${draft.issued}`, sagaIndex: index };
}

function put(draft: Draft, command: RotationCommand): void {
  draft.state.outstanding.push(command);
  draft.commands.push(copyData(command));
}

/** Before a step that failed so often goes out again. */
function pauseMs({ plan }: RotationState, failures: number): number {
  const baseMs = Math.min(retryDelayMsMin, plan.body.timing.step_timeout_ms);
  return backoffMs(baseMs, failures - 1);
}

function firstDueMs(held: readonly HeldStep[]): number {
  return Math.min(...held.map(({ againAtMs }) => againAtMs));
}

function backoffMs(baseMs: number, round: number): number {
  return Math.max(baseMs, Math.min(baseMs * 2 ** Math.min(round, 30), retryDelayMsMax));
}
