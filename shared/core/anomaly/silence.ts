/**
 * Whether an agent that used to speak has fallen silent. How long its pauses are is learnt from its
 * heartbeats; silence is a pause of several usual ones, and of several seconds at the least, so that
 * neither a slow machine nor one lost batch makes it. It ends with the next heartbeat.
 */

import { deviationOf, isEstimated, learn, noEstimate, type Estimate } from './estimate.ts';

export interface SilenceRule {
  readonly pauses: number;
  readonly deviations: number;
  readonly leastMs: number;
}

export interface Silence {
  readonly pauseMs: Estimate;
  readonly heardAtMs: number | undefined;
  readonly standing: 'usual' | 'raised';
}

export const noSilence: Silence = {
  pauseMs: noEstimate,
  heardAtMs: undefined,
  standing: 'usual',
};

export interface SilenceFinding {
  readonly observed: number;
  readonly expected: number;
  readonly threshold: number;
  readonly samples: number;
}

/** The least deviation of pauses that is believed. */
const floorMs = 10;

export function noteHeartbeat(silence: Silence, atMs: number): Silence {
  const { pauseMs, heardAtMs, standing } = silence;
  // Several of one batch, or late ones, say nothing of pauses; the one after a silence neither.
  const pause = heardAtMs === undefined ? 0 : atMs - heardAtMs;
  const isPause = pause > 0 && standing === 'usual';
  return {
    pauseMs: isPause ? learn(pauseMs, pause, floorMs) : pauseMs,
    heardAtMs: Math.max(atMs, heardAtMs ?? atMs),
    standing: pause > 0 ? 'usual' : standing,
  };
}

/** The watcher was asleep: what it did not hear meanwhile was not silence. */
export function overslept(silence: Silence, sleptMs: number): Silence {
  const { heardAtMs } = silence;
  if (heardAtMs === undefined || sleptMs === 0) return silence;
  return { ...silence, heardAtMs: heardAtMs + sleptMs };
}

/** What time it is by now. A silence is found once. */
export function checkSilence(
  silence: Silence,
  nowMs: number,
  rule: SilenceRule,
): { readonly silence: Silence; readonly finding?: SilenceFinding } {
  const { pauseMs, heardAtMs, standing } = silence;
  if (heardAtMs === undefined || standing === 'raised' || !isEstimated(pauseMs)) return { silence };
  const { mean, count: samples } = pauseMs;
  const deviation = Math.max(floorMs, deviationOf(pauseMs));
  const threshold = Math.max(rule.leastMs, rule.pauses * mean, mean + rule.deviations * deviation);
  const observed = nowMs - heardAtMs;
  if (observed <= threshold) return { silence };
  return {
    silence: { ...silence, standing: 'raised' },
    finding: { observed, expected: mean, threshold, samples },
  };
}
