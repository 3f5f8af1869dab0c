import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SlotsEvent } from '#schemas/saga.ts';
import { initialSlots, releasesKept, stepSlots, type SlotsState } from '#shared/core/slots.ts';

const reserve = (sagaId: string, sagaIndex: number, ...slots: string[]): SlotsEvent => ({
  type: 'slots-reserved',
  atMs: 1,
  sagaId,
  sagaIndex,
  slots,
});
const release = (sagaId: string, sagaIndex: number): SlotsEvent => ({
  type: 'slots-released',
  atMs: 1,
  sagaId,
  sagaIndex,
});

function fold(...events: SlotsEvent[]): SlotsState {
  return events.reduce((state, event) => {
    const step = stepSlots(state, event);
    if ('rejected' in step) throw new Error(step.reason);
    return step.state;
  }, initialSlots());
}

describe('the slot ledger', () => {
  it('reserves all or nothing and names the holder', () => {
    const state = fold(reserve('rot-1', 3, '1/a', '1/b'));
    expect(stepSlots(state, reserve('rot-2', 3, '2/a', '1/b'))).toMatchObject({
      rejected: 'SLOT_HELD',
      slot: '1/b',
      holder: 'rot-1',
    });
    expect(state.held.map(({ slot }) => slot)).toEqual(['1/a', '1/b']);
  });

  it('takes the same reservation and the same release twice', () => {
    const once = fold(reserve('rot-1', 3, '1/a'));
    expect(fold(reserve('rot-1', 3, '1/a'), reserve('rot-1', 3, '1/a'))).toEqual(once);
    const over = fold(reserve('rot-1', 3, '1/a'), release('rot-1', 9));
    expect(over.held).toEqual([]);
    expect(stepSlots(over, release('rot-1', 9))).toEqual({ state: over });
  });

  it('gives a released slot to the next', () => {
    const state = fold(reserve('rot-1', 3, '1/a'), release('rot-1', 9), reserve('rot-2', 3, '1/a'));
    expect(state.held).toEqual([{ slot: '1/a', sagaId: 'rot-2', sagaIndex: 3 }]);
  });

  it('refuses a reservation that was overtaken by a release', () => {
    const state = fold(reserve('rot-1', 3, '1/a'), release('rot-1', 9));
    expect(stepSlots(state, reserve('rot-1', 3, '1/a'))).toMatchObject({
      rejected: 'RESERVATION_SUPERSEDED',
    });
    expect(stepSlots(state, reserve('rot-1', 10, '1/a'))).toHaveProperty('state');
  });

  it('does not let a late release take a newer reservation', () => {
    const state = fold(reserve('rot-1', 3, '1/a'), release('rot-1', 4), reserve('rot-1', 6, '1/a'));
    expect(stepSlots(state, release('rot-1', 4))).toEqual({ state });
    expect(fold(reserve('rot-1', 6, '1/a'), release('rot-1', 5)).held).toHaveLength(1);
  });

  it('remembers a bounded number of releases', () => {
    let state = initialSlots();
    for (let count = 0; count < releasesKept + 5; count += 1) {
      const step = stepSlots(state, release(`rot-${count}`, 1));
      if ('rejected' in step) throw new Error(step.reason);
      state = step.state;
    }
    expect(state.released).toHaveLength(releasesKept);
  });

  it('never lets two sagas hold one slot', () => {
    const event = fc.oneof(
      fc.record({
        saga: fc.constantFrom('rot-1', 'rot-2', 'rot-3'),
        index: fc.nat(5),
        slots: fc.subarray(['1/a', '2/a', '3/a'], { minLength: 1 }),
      }),
      fc.record({ saga: fc.constantFrom('rot-1', 'rot-2', 'rot-3'), index: fc.nat(5) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        let state = initialSlots();
        for (const one of events) {
          const step = stepSlots(
            state,
            'slots' in one
              ? reserve(one.saga, one.index, ...one.slots)
              : release(one.saga, one.index),
          );
          if ('rejected' in step) continue;
          state = step.state;
          const slots = state.held.map(({ slot }) => slot);
          expect(new Set(slots).size).toBe(slots.length);
        }
      }),
    );
  });
});
