/** How long an operation takes on this machine: what measurements are made of. */

/** Milliseconds by operation: `keygen_ms`, `sign_ms` … */
export type Performance = Readonly<Record<string, number>>;

/** By the registry's names of the algorithms. */
export type Measurements = Readonly<Record<string, Performance>>;

/** Odd, so that there is a middle. */
const runs = 9;
/** Code is compiled as it gets warm: so many runs, or so long, before the clock counts. */
const warmUp = { runsMax: 100, msMax: 5 } as const;

/** Middle time of a few runs, in milliseconds. */
export function medianMs(run: () => unknown): number {
  const beganMs = performance.now();
  for (let count = 0; count < warmUp.runsMax; count += 1) {
    run();
    if (performance.now() - beganMs > warmUp.msMax) break;
  }
  const times = Array.from({ length: runs }, () => {
    const startedMs = performance.now();
    run();
    return performance.now() - startedMs;
  }).toSorted((left, right) => left - right);
  return roundedMs(times[(runs - 1) / 2] ?? 0);
}

/** One run, for what is too slow for more. */
export async function timedMs<Result>(
  run: () => Result | Promise<Result>,
): Promise<{ readonly result: Result; readonly ms: number }> {
  const startedMs = performance.now();
  const result = await run();
  return { result, ms: roundedMs(performance.now() - startedMs) };
}

function roundedMs(ms: number): number {
  return Math.round(ms * 10_000) / 10_000;
}
