import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatInstant, instantMs } from '#shared/core/instant.ts';

describe('instants', () => {
  it('are those of the calendar', () => {
    for (const timeMs of [0, 951_782_400_000, 1_709_164_799_999, 253_402_300_799_999]) {
      expect(formatInstant(timeMs)).toBe(new Date(timeMs).toISOString());
    }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (timeMs) => {
        expect(formatInstant(timeMs)).toBe(new Date(timeMs).toISOString());
        expect(instantMs(formatInstant(timeMs))).toBe(timeMs);
      }),
    );
  });

  it('is not a number where the text names no moment', () => {
    expect(instantMs('2026-99-01T00:00:00.000Z')).toBeNaN();
  });
});
