/**
 * How long a property is tried. In `make test` a modest number of inputs; in `make fuzz` as many as fit
 * into GYRE_FUZZ_SECONDS for each property. What fails names its seed and path, and GYRE_FUZZ_SEED with
 * GYRE_FUZZ_PATH runs just that input again.
 */
import fc from 'fast-check';

const secondsLong = numberOf('GYRE_FUZZ_SECONDS');
const seed = numberOf('GYRE_FUZZ_SEED');
const path = process.env['GYRE_FUZZ_PATH'];
const runsLong = 10_000_000;
const shownCharsMax = 800;

/** Above the time that one property may take. */
export const timeoutMs = secondsLong === undefined ? 60_000 : (secondsLong + 60) * 1000;

export function tries<Values>(count: number): fc.Parameters<Values> {
  return {
    ...(secondsLong === undefined
      ? { numRuns: count }
      : { numRuns: runsLong, interruptAfterTimeLimit: secondsLong * 1000 }),
    ...(seed === undefined ? {} : { seed }),
    ...(path === undefined ? {} : { path }),
    reporter: report,
  };
}

/** Documents have tens of thousands of characters: their begin is shown, seed and path give the rest. */
function report<Values>(run: fc.RunDetails<Values>): void {
  if (!run.failed || (run.interrupted && run.errorInstance === null)) return;
  const input = fc.stringify(run.counterexample).slice(0, shownCharsMax);
  const where = `GYRE_FUZZ_SEED=${run.seed} GYRE_FUZZ_PATH=${run.counterexamplePath ?? ''}`;
  throw new Error(`${where}\n${input}`, { cause: run.errorInstance });
}

function numberOf(name: string): number | undefined {
  const value = Number(process.env[name] ?? Number.NaN);
  return Number.isNaN(value) ? undefined : value;
}
