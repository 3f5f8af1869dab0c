/**
 * Moments as documents write them (RFC 3339, UTC, milliseconds) and as events carry them
 * (milliseconds since 1970). Pure arithmetic: no clock is read.
 */

const dayMs = 86_400_000;

/** `2026-01-31T12:00:00.000Z` of a moment between the years 1970 and 9999. */
export function formatInstant(timeMs: number): string {
  const days = Math.floor(timeMs / dayMs);
  const { year, month, day } = civilDate(days);
  const rest = timeMs - days * dayMs;
  const date = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  const hours = pad(Math.floor(rest / 3_600_000), 2);
  const minutes = pad(Math.floor(rest / 60_000) % 60, 2);
  const seconds = pad(Math.floor(rest / 1000) % 60, 2);
  return `${date}T${hours}:${minutes}:${seconds}.${pad(rest % 1000, 3)}Z`;
}

/** Milliseconds since 1970 of an instant; NaN when it names no moment. */
export function instantMs(instant: string): number {
  return Date.parse(instant);
}

/** Proleptic Gregorian date of a day number, with eras of 400 years that begin on 1 March. */
function civilDate(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return { year, month, day };
}

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}
