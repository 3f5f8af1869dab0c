/**
 * As `requests.test.ts`, with runs that take minutes: `vitest run --config vitest.long.config.ts test/sim`.
 * `REQUESTS_RUNS` says how many of each kind.
 */

import { describe, expect, it } from 'vitest';
import { holdRequests } from './requests-runs.ts';

const numRuns = Number(process.env['REQUESTS_RUNS'] ?? 400);
const timeout = 7_200_000;

describe('many requests of operators', () => {
  it.each([false, true])(
    'are answered as the model allows; faults: %s',
    { timeout },
    async (hasFaults) => {
      const counts = await holdRequests({ hasFaults, numRuns });
      process.stdout.write(`requests: ${JSON.stringify(counts)}\n`);
      // With so many runs, everything has been said.
      const codes = ['accepted', 'ORCH-8004', 'ORCH-8005', 'ORCH-8015'];
      expect(Object.keys(counts.told)).toEqual(expect.arrayContaining(codes));
      expect(counts.atOnce).toBeGreaterThan(numRuns);
    },
  );
});
