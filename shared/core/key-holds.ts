/**
 * What holds a slot, and what keeps the older keys of one: the ledger holds slots for the rotation that
 * is turning them, until its decision; after it the old keys stay accepted through the overlap, and
 * then for as long as something needs them. For people: nothing is decided by it.
 */

import type { KeyUse, RotationState, SlotProgress } from './rotation/state.ts';
import type { SlotHold } from './slots.ts';

export type KeyHold =
  /** The slot is this rotation's: no other one can turn it. */
  | { readonly kind: 'slot'; readonly slot: string; readonly planId: string }
  /** A key beside the primary one that this rotation has yet to see destroyed. */
  | {
      readonly kind: 'key';
      readonly slot: string;
      readonly planId: string;
      readonly version: number;
      /** The end of the overlap, before which nobody is asked to let go. */
      readonly untilMs?: number;
      /** Who still needs it, as each said when last asked. */
      readonly heldBy: readonly KeyUse[];
    };

/** Of the whole mesh, by slot. */
export function keyHolds(
  held: readonly SlotHold[],
  rotations: readonly RotationState[],
): KeyHold[] {
  const slots = held.map(({ slot, sagaId }) => ({ kind: 'slot', slot, planId: sagaId }) as const);
  return [...slots, ...rotations.flatMap(keysOf)].toSorted((one, other) =>
    one.slot < other.slot ? -1 : one.slot > other.slot ? 1 : 0,
  );
}

function keysOf(state: RotationState): KeyHold[] {
  switch (state.phase) {
    case 'committed': {
      const untilMs = (state.decidedAtMs ?? state.atMs) + state.plan.body.timing.overlap_ms;
      return state.slots.map((slot) => oldKey(state, slot, { untilMs }));
    }
    case 'retiring':
      return state.slots.filter((slot) => !isDestroyed(slot)).map((slot) => oldKey(state, slot));
    case 'rolled_back':
      return state.slots.flatMap((slot) => withdrawnKey(state, slot));
    default:
      return [];
  }
}

function oldKey(
  { sagaId: planId }: RotationState,
  { slot, checkpoint: { version }, heldBy }: SlotProgress,
  until: { readonly untilMs?: number } = {},
): KeyHold {
  return { kind: 'key', slot, planId, version, ...until, heldBy };
}

function withdrawnKey({ sagaId: planId }: RotationState, progress: SlotProgress): KeyHold[] {
  const { slot, owner, candidate, discardDue, heldBy } = progress;
  if (candidate === null || !discardDue.includes(owner)) return [];
  return [{ kind: 'key', slot, planId, version: candidate.version, heldBy }];
}

function isDestroyed({ owner, retired, revoked }: SlotProgress): boolean {
  return revoked.includes(owner) || retired.some(({ agentId }) => agentId === owner);
}
