/**
 * The ledger of key slots: which rotation holds which (invariant 13). A reservation is all or
 * nothing and harmless to repeat. The index of the entry that commanded it fences: once a saga has
 * released at some index, a reservation commanded before that is refused, and a release commanded
 * before the present reservation changes nothing, however late they arrive.
 */

import type { SlotsEvent } from '#schemas/saga.ts';

export interface SlotHold {
  slot: string;
  sagaId: string;
  sagaIndex: number;
}

export interface SlotsState {
  /** Sorted by slot. */
  held: SlotHold[];
  /** Highest index at which each saga released, the latest releases last. */
  released: { sagaId: string; sagaIndex: number }[];
}

export type SlotsRejection =
  | {
      rejected: 'SLOT_HELD';
      reason: string;
      slot: string;
      /** The saga that holds it. */
      holder: string;
    }
  | { rejected: 'RESERVATION_SUPERSEDED'; reason: string };

/** How many releases are remembered for the sake of late reservations. */
export const releasesKept = 1024;

export function initialSlots(): SlotsState {
  return { held: [], released: [] };
}

export function stepSlots(
  state: SlotsState,
  event: SlotsEvent,
): { state: SlotsState } | SlotsRejection {
  return event.type === 'slots-reserved' ? reserve(state, event) : release(state, event);
}

function reserve(
  state: SlotsState,
  event: Extract<SlotsEvent, { type: 'slots-reserved' }>,
): { state: SlotsState } | SlotsRejection {
  const { sagaId, sagaIndex } = event;
  const wanted = new Set(event.slots);
  const hold = state.held.find((other) => wanted.has(other.slot) && other.sagaId !== sagaId);
  if (hold !== undefined) {
    const { slot, sagaId: holder } = hold;
    return { rejected: 'SLOT_HELD', reason: `${slot} is held by ${holder}`, slot, holder };
  }
  const last = state.released.find((other) => other.sagaId === sagaId);
  if (last !== undefined && sagaIndex <= last.sagaIndex) {
    const reason = `${sagaId} has released its slots since`;
    return { rejected: 'RESERVATION_SUPERSEDED', reason };
  }
  const others = state.held.filter(({ slot }) => !wanted.has(slot));
  const held = [...others, ...[...wanted].map((slot) => ({ slot, sagaId, sagaIndex }))];
  held.sort((one, other) => (one.slot < other.slot ? -1 : 1));
  return { state: { ...state, held } };
}

function release(
  state: SlotsState,
  { sagaId, sagaIndex }: Extract<SlotsEvent, { type: 'slots-released' }>,
): { state: SlotsState } {
  const last = state.released.find((other) => other.sagaId === sagaId);
  if (last !== undefined && last.sagaIndex >= sagaIndex) return { state };
  const held = state.held.filter((hold) => hold.sagaId !== sagaId || hold.sagaIndex > sagaIndex);
  const others = state.released.filter((other) => other.sagaId !== sagaId);
  const released = [...others, { sagaId, sagaIndex }].slice(-releasesKept);
  return { state: { held, released } };
}
