/** Where a follower stands: it notices that a stream came back from an older copy, and passes over nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BusMessage } from '#shared/bus/bus.ts';
import { FollowPlace, placesMax } from '#shared/bus/follow-place.ts';

function stored(sequence: number, messageId: string, timeMs = sequence): BusMessage {
  const subject = 'gyre.v1.test.saga.slots';
  return { subject, data: new Uint8Array(), messageId, sequence, timeMs, deliveryCount: 1 };
}

/** Begins anew as a follower does, until the stream is what the place takes it for; what is handed on. */
function followOn(place: FollowPlace, stream: readonly BusMessage[]): BusMessage[] {
  const handed: BusMessage[] = [];
  for (let beginnings = 0; ; beginnings++) {
    if (beginnings > 3) throw new Error('it does not come to an end');
    const from = place.begin();
    const delivered = stream.filter(({ sequence }) => sequence >= from);
    const isGone = place.isAnchored && delivered.length === 0;
    if (isGone || !delivered.every((one) => isTaken(place, one, handed))) place.stepBack();
    else return handed;
  }
}

function isTaken(place: FollowPlace, one: BusMessage, handed: BusMessage[]): boolean {
  const what = place.arrived(one);
  if (what === 'new') handed.push(one);
  return what !== 'gone';
}

describe('the place of a follower', () => {
  it('begins where it is told, and then at what it received last', () => {
    const place = new FollowPlace(7);
    expect(place.begin()).toBe(7);
    expect(place.isAnchored).toBe(false);
    expect(place.arrived(stored(9, 'a'))).toBe('new');
    expect(place.begin()).toBe(9);
    expect(place.isAnchored).toBe(true);
    expect(place.arrived(stored(9, 'a'))).toBe('known');
    expect(place.arrived(stored(12, 'b'))).toBe('new');
  });

  it('notices another message in the old place, be it the same one stored again', () => {
    for (const other of [stored(2, 'other'), stored(2, 'b', 99), stored(3, 'c')]) {
      const place = new FollowPlace(1);
      place.begin();
      place.arrived(stored(1, 'a'));
      place.arrived(stored(2, 'b'));
      place.begin();
      expect(place.arrived(other)).toBe('gone');
      place.stepBack();
      expect(place.begin()).toBe(1);
    }
  });

  it('hands on what is new, and nothing twice, however far a stream went back', () => {
    const lengths = fc.record({
      before: fc.integer({ min: 0, max: 40 }),
      kept: fc.nat(40),
      after: fc.nat(40),
    });
    fc.assert(
      fc.property(lengths, ({ before, kept, after }) => {
        const old = Array.from({ length: before }, (_, index) => stored(index + 1, `old ${index}`));
        const place = new FollowPlace(1);
        expect(followOn(place, old)).toEqual(old);
        const keptCount = Math.min(kept, before);
        const fresh = Array.from({ length: after }, (_, index) =>
          stored(keptCount + index + 1, `fresh ${index}`, 1_000 + index),
        );
        expect(followOn(place, [...old.slice(0, keptCount), ...fresh])).toEqual(fresh);
      }),
    );
  });

  it('repeats, and passes over nothing, where a stream went back behind its memory', () => {
    const old = Array.from({ length: placesMax * 2 }, (_, index) =>
      stored(index + 1, `o ${index}`),
    );
    const place = new FollowPlace(1);
    followOn(place, old);
    const stream = [...old.slice(0, 10), stored(11, 'fresh', 9_999)];
    expect(followOn(place, stream)).toEqual(stream);
  });
});
