/** A moment of a document has one text: what the calendar or the clock does not have is refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Instant } from '#schemas/document.ts';
import { compile } from '#schemas/primitives.ts';

const { check } = compile(Instant());
const two = (max: number) =>
  fc.integer({ min: 0, max }).map((number) => String(number).padStart(2, '0'));

describe('a moment', () => {
  test('is what the same moment would be written as, and nothing else', () => {
    const year = fc.integer({ min: 1960, max: 9999 }).map(String);
    const texts = fc
      .tuple(year, two(14), two(33), two(25), two(61), two(61))
      .map(([y, m, d, h, min, s]) => `${y}-${m}-${d}T${h}:${min}:${s}.000Z`);
    fc.assert(
      fc.property(texts, (text) => {
        const timeMs = Date.parse(text);
        const isMoment = timeMs >= 0 && new Date(timeMs).toISOString() === text;
        expect(check(text)).toBe(isMoment);
      }),
      { numRuns: 3_000 },
    );
  });

  test.each([
    ['2026-02-28T23:59:59.999Z', true],
    ['2028-02-29T00:00:00.000Z', true],
    ['2026-02-29T00:00:00.000Z', false],
    ['2026-02-31T00:00:00.000Z', false],
    ['2026-04-31T00:00:00.000Z', false],
    ['2026-13-01T00:00:00.000Z', false],
    ['2026-01-31T24:00:00.000Z', false],
    ['2026-12-31T24:00:00.000Z', false],
    ['2026-01-31T23:60:00.000Z', false],
    ['1969-12-31T23:59:59.999Z', false],
    ['2026-01-31T12:00:00Z', false],
  ])('%s: %s', (text, isMoment) => {
    expect(check(text)).toBe(isMoment);
  });
});
