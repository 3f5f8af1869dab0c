/** Which intent stands behind a change of a key: the agent wrote it down before it did anything. */

import type { StepOperation } from '#schemas/saga.ts';
import type { AgentView, KeyRow, StepRow } from '../observation.ts';

/** The open intent of one of the operations over the slot; of several the latest of its saga. */
export function openStepOf(
  agent: AgentView,
  slot: string,
  operations: readonly StepOperation[],
): StepRow | undefined {
  let found: StepRow | undefined;
  for (const step of agent.openSteps.values()) {
    const { operation, slots, sagaIndex } = step.task;
    if (!operations.includes(operation) || !slots.some((each) => each.slot === slot)) continue;
    if (found === undefined || found.task.sagaIndex < sagaIndex) found = step;
  }
  return found;
}

export type Turn = 'first' | 'prepared' | 'activated' | 'superseded' | 'restored' | 'withdrawn';

/** What became of a key, by its states before and after. */
export function turnOf(before: KeyRow | undefined, after: KeyRow): Turn | 'destroyed' | 'other' {
  if (after.state === 'destroyed') return 'destroyed';
  if (before === undefined) {
    if (after.state === 'prepared') return 'prepared';
    return after.state === 'primary' && after.version === 1 ? 'first' : 'other';
  }
  const turn = `${before.state} ${after.state}`;
  return turns[turn] ?? 'other';
}

const turns: Readonly<Partial<Record<string, Turn>>> = {
  'prepared primary': 'activated',
  'primary accepted': 'superseded',
  'accepted primary': 'restored',
  'primary withdrawn': 'withdrawn',
  'accepted withdrawn': 'withdrawn',
};

/** The operations that may lead to it. */
export const causesOf: Readonly<Record<Turn | 'destroyed', readonly StepOperation[]>> = {
  first: [],
  prepared: ['prepare'],
  activated: ['activate'],
  superseded: ['activate'],
  restored: ['rollback', 'discard'],
  withdrawn: ['rollback', 'discard'],
  destroyed: ['retire', 'discard', 'rollback'],
};
