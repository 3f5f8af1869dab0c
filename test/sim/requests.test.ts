/**
 * Operators' requests, at once and one after the other, against a model of what the mesh must say. A
 * failing run prints its commands, cut down, and the options that run it again: put them into
 * `REQUESTS_SEED`, `REQUESTS_PATH` and `REQUESTS_REPLAY`.
 */

import { describe, expect, it } from 'vitest';
import { holdRequests } from './requests-runs.ts';

const timeout = 300_000;

describe('requests of operators', () => {
  it('are answered as the model allows', { timeout }, async () => {
    const { runs, told } = await holdRequests({ hasFaults: false, numRuns: 6 });
    expect(runs).toBeGreaterThan(0);
    expect(told['unknown'] ?? 0).toBe(0);
  });

  it('are so where something goes wrong', { timeout }, async () => {
    const { runs } = await holdRequests({ hasFaults: true, numRuns: 3 });
    expect(runs).toBeGreaterThan(0);
  });
});
