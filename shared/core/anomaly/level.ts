/**
 * Whether a number has left its usual range: several samples in a row beyond so many deviations. It
 * is raised late and let go late (hysteresis), so that a number at the edge does not flicker.
 *
 * How often it is wrong: by Chebyshev's inequality one sample of any distribution lies beyond k
 * deviations with probability at most 1/k², so three independent ones in a row beyond eight with at
 * most 1/64³, four in a million, whatever the noise looks like.
 *
 * Nothing is learnt while it is raised; what goes on for long enough is how it is now, and is learnt
 * anew.
 */

import { deviationOf, isEstimated, learn, noEstimate, type Estimate } from './estimate.ts';

export interface LevelRule {
  /** Deviations beyond which a sample stands out. */
  readonly deviations: number;
  /** Samples in a row that raise it, and that let it go. */
  readonly raiseAfter: number;
  readonly clearAfter: number;
  /** Raised for so many samples, it is learnt anew. */
  readonly learnAnewAfter: number;
  /** The least deviation that is believed: of itself, of the mean, of the root of the mean (counts). */
  readonly floor: { readonly absolute: number; readonly relative: number; readonly root: number };
  readonly sides: 'above' | 'both';
}

export interface Level {
  readonly estimate: Estimate;
  readonly standing: 'usual' | 'raised';
  /** Samples in a row that speak against the standing. */
  readonly against: number;
  /** Samples since it was raised. */
  readonly raisedFor: number;
}

export interface LevelFinding {
  /** `raised` at the sample that raised it, `stands` at later ones that still stand out. */
  readonly verdict: 'raised' | 'stands' | 'cleared';
  readonly observed: number;
  readonly expected: number;
  readonly threshold: number;
  /** Samples that the expectation rests on. */
  readonly samples: number;
}

export const noLevel: Level = { estimate: noEstimate, standing: 'usual', against: 0, raisedFor: 0 };

export interface LevelStep {
  readonly level: Level;
  readonly finding?: LevelFinding;
}

export function stepLevel(level: Level, sample: number, rule: LevelRule): LevelStep {
  const { estimate } = level;
  const floor = floorOf(estimate, rule);
  if (!isEstimated(estimate)) {
    return { level: { ...level, estimate: learn(estimate, sample, floor) } };
  }
  const deviation = Math.max(floor, deviationOf(estimate));
  const distance =
    rule.sides === 'above' ? sample - estimate.mean : Math.abs(sample - estimate.mean);
  const finding = (verdict: LevelFinding['verdict']): LevelFinding => ({
    verdict,
    observed: sample,
    expected: estimate.mean,
    threshold:
      sample < estimate.mean && rule.sides === 'both'
        ? estimate.mean - rule.deviations * deviation
        : estimate.mean + rule.deviations * deviation,
    samples: estimate.count,
  });
  return level.standing === 'usual'
    ? fromUsual({ level, sample, rule, floor }, distance > rule.deviations * deviation, finding)
    : fromRaised({ level, sample, rule, floor }, distance, { deviation, finding });
}

interface Sampled {
  readonly level: Level;
  readonly sample: number;
  readonly rule: LevelRule;
  readonly floor: number;
}

function fromUsual(
  { level, sample, rule, floor }: Sampled,
  standsOut: boolean,
  finding: (verdict: LevelFinding['verdict']) => LevelFinding,
): LevelStep {
  // Clipped, it is learnt all the same: what comes now and then becomes usual.
  const estimate = learn(level.estimate, sample, floor);
  if (!standsOut) return { level: { ...level, estimate, against: 0 } };
  const against = level.against + 1;
  if (against < rule.raiseAfter) return { level: { ...level, estimate, against } };
  return {
    level: { ...level, standing: 'raised', against: 0, raisedFor: 0 },
    finding: finding('raised'),
  };
}

/** Let go at half the distance at which it was raised. */
function fromRaised(
  { level, sample, rule, floor }: Sampled,
  distance: number,
  about: { deviation: number; finding: (verdict: LevelFinding['verdict']) => LevelFinding },
): LevelStep {
  const raisedFor = level.raisedFor + 1;
  if (raisedFor >= rule.learnAnewAfter) {
    return {
      level: { ...noLevel, estimate: learn(noEstimate, sample, floor) },
      finding: about.finding('cleared'),
    };
  }
  const isCalm = distance <= (rule.deviations / 2) * about.deviation;
  if (!isCalm) {
    return { level: { ...level, raisedFor, against: 0 }, finding: about.finding('stands') };
  }
  const against = level.against + 1;
  if (against < rule.clearAfter) return { level: { ...level, raisedFor, against } };
  return {
    level: { ...level, standing: 'usual', against: 0, raisedFor: 0 },
    finding: about.finding('cleared'),
  };
}

function floorOf({ mean }: Estimate, { floor }: LevelRule): number {
  const size = Math.abs(mean);
  return Math.max(floor.absolute, floor.relative * size, floor.root * Math.sqrt(size));
}
