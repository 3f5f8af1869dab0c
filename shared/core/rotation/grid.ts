/**
 * A rotation as people see it: for every layer, in the order in which it is turned, how far each step
 * has come. A pure view of the state; it decides nothing.
 */

import { layerNames, type LayerNumber } from '#schemas/layers.ts';
import type { StepOperation } from '#schemas/saga.ts';
import { goingBack, isAbandoned, membersOf, sentSteps, slotsOf } from './draft.ts';
import type { Acknowledgement, RotationState, SlotProgress } from './state.ts';

export const gridSteps = [
  'prepare',
  'accept',
  'activate',
  'verify',
  'commit',
  'retire',
  'rollback',
] as const;
export type GridStep = (typeof gridSteps)[number];
export type GridStatus = 'waiting' | 'running' | 'done' | 'failed' | 'skipped';

export interface GridRow {
  readonly layer: LayerNumber;
  readonly name: string;
  readonly steps: Readonly<Record<GridStep, GridStatus>>;
}

const operationSteps: Partial<Record<StepOperation, GridStep>> = {
  prepare: 'prepare',
  accept: 'accept',
  activate: 'activate',
  verify: 'verify',
  measure: 'verify',
  rollback: 'rollback',
};

export function rotationGrid(state: RotationState): GridRow[] {
  return state.plan.body.coordination_sequence.map((layer) => ({
    layer,
    name: layerNames[layer],
    steps: {
      prepare: forwardStatus(state, layer, 'prepare'),
      accept: forwardStatus(state, layer, 'accept'),
      activate: forwardStatus(state, layer, 'activate'),
      verify: forwardStatus(state, layer, 'verify'),
      commit: commitStatus(state),
      retire: retireStatus(state, layer),
      rollback: rollbackStatus(state, layer),
    },
  }));
}

function forwardStatus(
  state: RotationState,
  layer: LayerNumber,
  step: 'prepare' | 'accept' | 'activate' | 'verify',
): GridStatus {
  const { failure } = state;
  const failedHere =
    failure?.operation !== undefined &&
    failure.slotLayer === layer &&
    operationSteps[failure.operation] === step;
  if (failedHere) return 'failed';
  if (slotsOf(state, layer).every((slot) => isDone(slot, step))) return 'done';
  if (isOver(state)) return 'skipped';
  return isUnderWay(state, layer, step) ? 'running' : 'waiting';
}

function isDone(slot: SlotProgress, step: 'prepare' | 'accept' | 'activate' | 'verify'): boolean {
  switch (step) {
    case 'prepare':
      return slot.candidate !== null;
    case 'accept':
      return slot.candidate !== null && covers(slot.accepted, membersOf(slot));
    case 'activate':
      return covers(slot.activated, [slot.owner]);
    case 'verify':
      return covers(slot.verified, membersOf(slot));
  }
}

function commitStatus(state: RotationState): GridStatus {
  if (state.decision === 'commit') return 'done';
  if (isOver(state)) return 'skipped';
  return state.phase === 'committing' ? 'running' : 'waiting';
}

function retireStatus(state: RotationState, layer: LayerNumber): GridStatus {
  const slots = slotsOf(state, layer);
  const isNobodys = slots.every((slot) => isAbandoned(slot) && membersOf(slot).length === 0);
  if (isOver(state) || isNobodys) return 'skipped';
  if (slots.every((slot) => covers(slot.retired, membersOf(slot)))) return 'done';
  return state.phase === 'retiring' ? 'running' : 'waiting';
}

function rollbackStatus(state: RotationState, layer: LayerNumber): GridStatus {
  if (state.decision === 'commit' || state.phase === 'refused') return 'skipped';
  if (state.decision === 'none') return 'waiting';
  const due = slotsOf(state, layer).filter(({ rollbackDue }) => rollbackDue);
  if (due.length === 0) return 'skipped';
  const isBack = due.every((slot) => covers(slot.rolledBack, goingBack(slot)));
  if (isBack) return 'done';
  if (state.phase === 'locked_out') {
    return state.lockout?.slotLayer === layer ? 'failed' : 'waiting';
  }
  return isUnderWay(state, layer, 'rollback') ? 'running' : 'waiting';
}

/** Nothing goes forward any more. */
function isOver(state: RotationState): boolean {
  return state.decision === 'rollback' || state.phase === 'refused';
}

function isUnderWay(state: RotationState, layer: LayerNumber, step: GridStep): boolean {
  return [...sentSteps(state), ...state.waiting].some(
    ({ operation, slotLayer }) => slotLayer === layer && operationSteps[operation] === step,
  );
}

function covers(done: readonly Acknowledgement[], agents: readonly string[]): boolean {
  const reported = new Set(done.map(({ agentId }) => agentId));
  return agents.every((agentId) => reported.has(agentId));
}
