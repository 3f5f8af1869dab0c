/**
 * What must hold after every entry of every rotation, whatever happened.
 */

import assert from 'node:assert/strict';
import { IDENTIFIER_PATTERN } from '#schemas/primitives.ts';
import { isAbandoned, membersOf } from '#shared/core/rotation/draft.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { World } from './world.ts';

const afterCommit = ['committed', 'retiring', 'retired'];
const afterRollback = ['rolling_back', 'rolled_back', 'locked_out'];

export function checkInvariants(before: RotationState, world: World): void {
  const { state } = world;
  if (before.decision !== 'none') assert.equal(state.decision, before.decision);
  assert.equal(afterCommit.includes(state.phase), state.decision === 'commit');
  assert.equal(afterRollback.includes(state.phase), state.decision === 'rollback');
  for (const slot of state.slots) {
    const accepted = slot.accepted.map(({ agentId }) => agentId);
    if (slot.touched) {
      assert.deepEqual(accepted.toSorted(), membersOf(slot).toSorted());
    }
    for (const fenced of slot.fenced) assert.ok(!accepted.includes(fenced));
    if (slot.retired.length > 0) assert.equal(state.decision, 'commit');
    const owner = world.agent(slot.owner);
    assert.ok(owner.isOldKept(slot.slot) || state.decision === 'commit');
    if (state.phase === 'rolled_back' && !isAbandoned(slot)) {
      assert.equal(owner.primary(slot.slot).version, slot.checkpoint.version);
    }
    if (state.decision === 'commit') {
      assert.equal(owner.primary(slot.slot).version, slot.checkpoint.version + 1);
    }
  }
  // Nothing that is still to be done waits for a revoked member, or rests on its word.
  const revoked = new Set(state.slots.flatMap((slot) => slot.revoked));
  for (const command of [...state.outstanding, ...state.waiting]) {
    if (command.type === 'send-step') assert.ok(!revoked.has(command.agentId));
    for (const hash of 'evidence' in command ? command.evidence : []) {
      assert.ok(!revoked.has(world.events.get(hash)?.senderId ?? ''));
    }
  }
  const ids = state.outstanding.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, new RegExp(IDENTIFIER_PATTERN));
  const purposes = state.outstanding.flatMap((command) =>
    command.type === 'start-timer' ? [command.purpose] : [],
  );
  assert.equal(new Set(purposes).size, purposes.length);
  const isAtRest = ['refused', 'retired', 'rolled_back', 'locked_out'].includes(state.phase);
  const isWithPeople = ['validated', 'approved'].includes(state.phase);
  if (!isAtRest && !isWithPeople) assert.ok(state.outstanding.length > 0);
}
