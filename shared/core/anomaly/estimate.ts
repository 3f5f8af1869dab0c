/**
 * What a number usually is: its mean and deviation, exponentially weighted, begun robustly. The first
 * samples are only collected. Their median is the beginning, and the larger of two robust deviations
 * (median absolute deviation, distance of the deciles): the first one sees nothing of a second peak,
 * and a few wild samples count in neither. Afterwards each sample moves the estimate a little, and is
 * clipped first: what lies far outside cannot make itself usual at once.
 */

export interface Estimate {
  /** The first samples, until there are enough of them. */
  readonly first: readonly number[];
  /** Samples that were learnt. */
  readonly count: number;
  readonly mean: number;
  readonly variance: number;
}

/** Before so many samples there is no estimate, and no verdict. */
export const firstSamples = 24;
/** Weight of a new sample: the last forty or so make up the estimate. */
const weight = 0.05;
/** Deviations at which a sample is clipped before it is learnt. */
const clipAt = 4;
/** Median absolute deviation, and distance of the deciles, to standard deviation for normal noise. */
const madToDeviation = 1.4826;
const decilesToDeviation = 1 / 2.563;

export const noEstimate: Estimate = { first: [], count: 0, mean: 0, variance: 0 };

export function isEstimated({ count }: Estimate): boolean {
  return count >= firstSamples;
}

export function deviationOf({ variance }: Estimate): number {
  return Math.sqrt(variance);
}

/** `floor`: the least deviation that is believed, so that a constant does not become a trap. */
export function learn(estimate: Estimate, sample: number, floor: number): Estimate {
  const { first, count, mean, variance } = estimate;
  if (count < firstSamples) {
    const collected = [...first, sample];
    const { length } = collected;
    if (length < firstSamples) return { ...estimate, first: collected, count: length };
    return { first: [], count: length, ...robustStart(collected) };
  }
  const reach = clipAt * Math.max(floor, Math.sqrt(variance));
  const clipped = Math.min(mean + reach, Math.max(mean - reach, sample));
  const step = clipped - mean;
  return {
    first: [],
    count: count + 1,
    mean: mean + weight * step,
    variance: (1 - weight) * (variance + weight * step * step),
  };
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

function robustStart(samples: readonly number[]): { mean: number; variance: number } {
  const mean = median(samples);
  const mad = median(samples.map((sample) => Math.abs(sample - mean)));
  const sorted = samples.toSorted((one, other) => one - other);
  const tenth = Math.floor(samples.length / 10);
  const deciles = (sorted.at(-1 - tenth) ?? 0) - (sorted[tenth] ?? 0);
  const deviation = Math.max(madToDeviation * mad, decilesToDeviation * deciles);
  return { mean, variance: deviation * deviation };
}
