/**
 * What the policy's `rotation_schedule` may say, and when it comes round: a cron expression of five
 * fields (minute, hour, day of month, month, day of week), read in UTC. Functions of their arguments
 * alone: no clock is read, nothing is started.
 */

import { Cron } from 'croner';

/**
 * Whether the expression has five readable fields and comes round at all after `afterMs`:
 * `0 0 31 2 *` is readable, and never does.
 */
export function isSchedule(expression: string, afterMs: number): boolean {
  return nextOccurrence(expression, afterMs) !== undefined;
}

/** Whether the schedule comes round at `startMs` or later and before `endMs`. */
export function occursWithin(
  expression: string,
  { startMs, endMs }: { readonly startMs: number; readonly endMs: number },
): boolean {
  const next = nextOccurrence(expression, startMs - 1);
  return next !== undefined && next < endMs;
}

/** The first occurrence after `afterMs` in milliseconds, or undefined where there is none. */
export function nextOccurrence(expression: string, afterMs: number): number | undefined {
  return parse(expression)?.nextRun(new Date(afterMs))?.getTime();
}

/** Five fields of cron's characters: with a colon the library would read a moment instead. */
const fivePartPattern = /^[0-9A-Za-z*?,/#+-]{1,64}(?: [0-9A-Za-z*?,/#+-]{1,64}){4}$/;

/** The library throws on what it cannot read; without a function to call it schedules nothing. */
function parse(expression: string): Cron | undefined {
  if (!fivePartPattern.test(expression)) return undefined;
  try {
    return new Cron(expression, { mode: '5-part', paused: true, utcOffset: 0 });
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return undefined;
    throw error;
  }
}
