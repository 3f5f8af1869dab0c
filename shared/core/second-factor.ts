/**
 * Attempts at a second factor, as a decision: a code is good once (RFC 6238 section 5.2), and whoever
 * guesses is stopped, ever longer. Only attempts by somebody who has proved the first factor come here,
 * so that nobody is locked out by one who knows a name alone.
 */

export interface FactorState {
  /** The latest time step whose code was taken; no code of it or of an earlier one is taken again. */
  readonly lastStep: number;
  /** Wrong codes since the last right one. */
  readonly failures: number;
  readonly lockedUntilMs: number;
}

export type FactorOutcome = 'accepted' | 'wrong' | 'locked';

export const freshFactor: FactorState = { lastStep: 0, failures: 0, lockedUntilMs: 0 };

/** Wrong codes that lead to a lock, each time anew. */
export const failuresPerLock = 5;
const firstLockMs = 60_000;
const longestLockMs = 3_600_000;

/** `step` is that of the code, undefined where it is the code of none. */
export function judgeFactor(
  state: FactorState,
  { nowMs, step }: { readonly nowMs: number; readonly step: number | undefined },
): { readonly outcome: FactorOutcome; readonly state: FactorState } {
  if (nowMs < state.lockedUntilMs) return { outcome: 'locked', state: lockedFor(state, nowMs) };
  if (step !== undefined && step > state.lastStep) {
    return { outcome: 'accepted', state: { lastStep: step, failures: 0, lockedUntilMs: 0 } };
  }
  const failures = state.failures + 1;
  const isLock = failures % failuresPerLock === 0;
  const lockedUntilMs = isLock ? nowMs + lockMs(failures / failuresPerLock) : 0;
  return { outcome: 'wrong', state: { lastStep: state.lastStep, failures, lockedUntilMs } };
}

/** A lock of a clock that was ahead lasts from now on no longer than any of its number does. */
function lockedFor(state: FactorState, nowMs: number): FactorState {
  const latestMs = nowMs + lockMs(Math.floor(state.failures / failuresPerLock));
  return state.lockedUntilMs <= latestMs ? state : { ...state, lockedUntilMs: latestMs };
}

/** The first lock lasts a minute, each further one twice as long, none longer than an hour. */
function lockMs(locks: number): number {
  return Math.min(longestLockMs, firstLockMs * 2 ** Math.min(Math.max(locks, 1) - 1, 10));
}
