/** Runs of the model of requests: drawn, carried out, cut down where one fails, and run again when asked. */

import fc from 'fast-check';
import { carryOut, drawnRuns } from './requests-commands.ts';
import type { RequestCounts } from './requests-mesh.ts';

export interface RunsCounts extends RequestCounts {
  runs: number;
}

/** A failing run is cut down for so long. */
const shrinkMs = 90_000;

export async function holdRequests({
  hasFaults,
  numRuns,
}: {
  readonly hasFaults: boolean;
  readonly numRuns: number;
}): Promise<RunsCounts> {
  const { REQUESTS_SEED: seed, REQUESTS_PATH: path, REQUESTS_REPLAY: replay } = process.env;
  const total: RunsCounts = { runs: 0, plans: 0, requests: 0, atOnce: 0, mishaps: 0, told: {} };
  await fc.assert(
    fc.asyncProperty(drawnRuns(hasFaults, replay), async (run) => {
      add(total, await carryOut(run, hasFaults));
    }),
    {
      numRuns,
      ...(seed === undefined ? {} : { seed: Number(seed) }),
      ...(path === undefined ? {} : { path }),
      interruptAfterTimeLimit: numRuns * 5_000 + shrinkMs,
      markInterruptAsFailure: true,
    },
  );
  return total;
}

function add(total: RunsCounts, { plans, requests, atOnce, mishaps, told }: RequestCounts): void {
  total.runs += 1;
  total.plans += plans;
  total.requests += requests;
  total.atOnce += atOnce;
  total.mishaps += mishaps;
  for (const [name, count] of Object.entries(told)) {
    total.told[name] = (total.told[name] ?? 0) + count;
  }
}
