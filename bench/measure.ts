/**
 * The measuring core of the benchmarks: runs something a bounded number of times and says how long
 * single runs took. Percentiles are nearest-rank (the smallest sample that at least that share of
 * all samples does not exceed), so every figure is a time that was really seen; with fewer than a
 * hundred runs p99 is therefore the slowest run.
 */

/** Milliseconds of a steady clock; sub-millisecond parts count. */
export type StopWatch = () => number;

export interface Summary {
  /** Samples taken. */
  readonly runs: number;
  readonly minMs: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface MeasureOptions {
  /** Samples wanted, from 1. */
  readonly runs: number;
  /** Samples taken before and thrown away. */
  readonly warmupRuns?: number;
  /** Calls per sample, for what is faster than the clock can see; a sample is their mean. */
  readonly callsPerRun?: number;
  /** No further sample is begun after this time; at least one is taken. */
  readonly budgetMs?: number;
  readonly now?: StopWatch;
}

const budgetMsDefault = 30_000;
const steadyNow: StopWatch = () => performance.now();

/** Measures `call`, which may be synchronous or not. What it throws ends the measurement. */
export async function measure(call: () => unknown, options: MeasureOptions): Promise<Summary> {
  return (await measureInTurn({ call }, options)).call;
}

/**
 * Measures several calls in turn, one of each per round, so that they meet the same disturbances and
 * their ratio holds on a busy machine too. `runs`, `warmupRuns` and `budgetMs` count rounds.
 */
export async function measureInTurn<Name extends string>(
  calls: Readonly<Record<Name, () => unknown>>,
  options: MeasureOptions,
): Promise<Record<Name, Summary>> {
  const { runs, warmupRuns = 0, budgetMs = budgetMsDefault, now = steadyNow } = options;
  const names = Object.keys(calls) as Name[];
  for (let run = 0; run < warmupRuns; run += 1) {
    for (const name of names) await callOnce(calls[name]);
  }
  const samples = new Map<Name, number[]>(names.map((name) => [name, []]));
  const deadlineMs = now() + budgetMs;
  for (let round = 0; round < runs && (round === 0 || now() < deadlineMs); round += 1) {
    for (const name of names) samples.get(name)?.push(await timed(calls[name], options));
  }
  const summaries = names.map((name) => [name, summarise(samples.get(name) ?? [])] as const);
  return Object.fromEntries(summaries) as Record<Name, Summary>;
}

/** Of at least one sample, in milliseconds. */
export function summarise(samplesMs: readonly number[]): Summary {
  const sorted = samplesMs.toSorted((one, other) => one - other);
  return {
    runs: sorted.length,
    minMs: ranked(sorted, 0),
    medianMs: ranked(sorted, 0.5),
    p99Ms: ranked(sorted, 0.99),
    maxMs: ranked(sorted, 1),
  };
}

/** Three figures, in the unit that suits them: `870 ns`, `12.3 µs`, `4.57 ms`, `1.02 s`. */
export function formatMs(ms: number): string {
  if (ms >= 1000) return `${threeFigures(ms / 1000)} s`;
  if (ms >= 1) return `${threeFigures(ms)} ms`;
  return ms >= 0.001 ? `${threeFigures(ms * 1000)} µs` : `${threeFigures(ms * 1e6)} ns`;
}

/** Sample at the nearest rank of `share` (0 to 1) of a sorted list. */
function ranked(sorted: readonly number[], share: number): number {
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  const sample = sorted[rank - 1];
  if (sample === undefined) throw new RangeError('there is nothing to summarise');
  return sample;
}

function threeFigures(value: number): string {
  if (value === 0) return '0';
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(value)));
  return value.toFixed(Math.min(decimals, 2));
}

/** One sample: the mean of its calls. */
async function timed(
  call: () => unknown,
  { callsPerRun = 1, now = steadyNow }: MeasureOptions,
): Promise<number> {
  const startMs = now();
  for (let repeat = 0; repeat < callsPerRun; repeat += 1) {
    const result = call();
    if (result instanceof Promise) await result;
  }
  return (now() - startMs) / callsPerRun;
}

async function callOnce(call: () => unknown): Promise<void> {
  const result = call();
  if (result instanceof Promise) await result;
}
