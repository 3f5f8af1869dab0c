/**
 * What must hold after every entry of every rotation, whatever happened.
 */

import { expect } from 'vitest';
import { IDENTIFIER_PATTERN } from '#schemas/primitives.ts';
import { membersOf } from '#shared/core/rotation/draft.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { World } from './world.ts';

const afterCommit = ['committed', 'retiring', 'retired'];
const afterRollback = ['rolling_back', 'rolled_back', 'locked_out'];

export function checkInvariants(before: RotationState, world: World): void {
  const { state } = world;
  if (before.decision !== 'none') expect(state.decision).toBe(before.decision);
  expect(afterCommit.includes(state.phase)).toBe(state.decision === 'commit');
  expect(afterRollback.includes(state.phase)).toBe(state.decision === 'rollback');
  for (const slot of state.slots) {
    const accepted = slot.accepted.map(({ agentId }) => agentId);
    if (slot.touched && !slot.fenced.length) {
      expect(accepted.toSorted()).toEqual(membersOf(slot).toSorted());
    }
    for (const fenced of slot.fenced) expect(accepted).not.toContain(fenced);
    if (slot.retired.length > 0) expect(state.decision).toBe('commit');
    const owner = world.agent(slot.owner);
    expect(owner.isOldKept(slot.slot) || state.decision === 'commit').toBe(true);
    if (['rolled_back'].includes(state.phase)) {
      expect(owner.primary(slot.slot).version).toBe(slot.checkpoint.version);
    }
    if (state.decision === 'commit') {
      expect(owner.primary(slot.slot).version).toBe(slot.checkpoint.version + 1);
    }
  }
  const ids = state.outstanding.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(new RegExp(IDENTIFIER_PATTERN));
  const purposes = state.outstanding.flatMap((command) =>
    command.type === 'start-timer' ? [command.purpose] : [],
  );
  expect(new Set(purposes).size).toBe(purposes.length);
  const isAtRest = ['refused', 'retired', 'rolled_back', 'locked_out'].includes(state.phase);
  const isWithPeople = ['validated', 'approved'].includes(state.phase);
  if (!isAtRest && !isWithPeople) expect(state.outstanding.length).toBeGreaterThan(0);
}
