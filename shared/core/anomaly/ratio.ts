/**
 * Whether failures among operations have become more than they usually are. The last few reports are
 * held against all before them: by Chernoff's bound, n operations of which a part q fails are seen with
 * probability at most exp(−n·D(q‖p)) where the usual part is p; D is the relative entropy of two coins.
 * Failures come in bursts, so operations count for a quarter of themselves. Below one in a million it is
 * no accident.
 */

export interface RatioRule {
  /** Reports that make up the present. */
  readonly recentReports: number;
  /** Operations before there is a verdict: of the past, and of the present. */
  readonly pastMin: number;
  readonly recentMin: number;
  /** A usual part of failures below this counts as this. */
  readonly usualMin: number;
  /** Failures that there must be more than usual, as a part of operations. */
  readonly marginMin: number;
  /** How unlikely an accident must be. */
  readonly chance: number;
  /** Operations of a burst that count as one. */
  readonly burst: number;
  /** Reports in a row without a finding that let it go. */
  readonly clearAfter: number;
}

interface Uses {
  readonly operations: number;
  readonly failures: number;
}

export interface Ratio {
  /** The newest last. */
  readonly recent: readonly Uses[];
  /** Before them, slowly forgotten. */
  readonly past: Uses;
  readonly standing: 'usual' | 'raised';
  readonly against: number;
}

export interface RatioFinding {
  readonly verdict: 'raised' | 'stands' | 'cleared';
  readonly observed: number;
  readonly expected: number;
  readonly threshold: number;
  /** Operations of the present. */
  readonly samples: number;
}

export const noRatio: Ratio = {
  recent: [],
  past: { operations: 0, failures: 0 },
  standing: 'usual',
  against: 0,
};

/** A report of the past counts for so much less with each further one. */
const memory = 0.98;

export interface RatioStep {
  readonly ratio: Ratio;
  readonly finding?: RatioFinding;
}

export function stepRatio(ratio: Ratio, uses: Uses, rule: RatioRule): RatioStep {
  const recent = [...ratio.recent, uses];
  const leaving = recent.length > rule.recentReports ? recent[0] : undefined;
  const isRaised = ratio.standing === 'raised';
  // What is doubtful does not become usual.
  const past = leaving === undefined || isRaised ? ratio.past : forgetting(ratio.past, leaving);
  const next: Ratio = { ...ratio, recent: recent.slice(-rule.recentReports), past };
  const sum = next.recent.reduce(added, { operations: 0, failures: 0 });
  if (past.operations < rule.pastMin || sum.operations < rule.recentMin) return { ratio: next };
  const expected = Math.max(rule.usualMin, past.failures / past.operations);
  const observed = sum.failures / sum.operations;
  const needed = Math.log(1 / rule.chance);
  const isUnlikely =
    observed > expected + rule.marginMin &&
    (sum.operations / rule.burst) * relativeEntropy(observed, expected) > needed;
  const finding = (verdict: RatioFinding['verdict']): RatioFinding => ({
    verdict,
    observed,
    expected,
    threshold: expected + rule.marginMin,
    samples: sum.operations,
  });
  if (isUnlikely) {
    const verdict = isRaised ? 'stands' : 'raised';
    return { ratio: { ...next, standing: 'raised', against: 0 }, finding: finding(verdict) };
  }
  const against = next.against + 1;
  if (!isRaised || against < rule.clearAfter) return { ratio: { ...next, against } };
  return { ratio: { ...next, standing: 'usual', against: 0 }, finding: finding('cleared') };
}

/** D(q‖p) in nats, for 0 ≤ q ≤ 1 and 0 < p < 1. */
export function relativeEntropy(observed: number, expected: number): number {
  const term = (one: number, other: number): number =>
    one === 0 ? 0 : one * Math.log(one / other);
  return term(observed, expected) + term(1 - observed, 1 - expected);
}

function added(one: Uses, other: Uses): Uses {
  return {
    operations: one.operations + other.operations,
    failures: one.failures + Math.min(other.failures, other.operations),
  };
}

function forgetting(past: Uses, { operations, failures }: Uses): Uses {
  return {
    operations: memory * past.operations + operations,
    failures: memory * past.failures + Math.min(failures, operations),
  };
}
