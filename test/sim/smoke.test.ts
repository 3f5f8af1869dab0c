/**
 * A small piece of the simulator in every run of the tests: some seeds hold, a seed is the same run
 * whenever and wherever it runs, and a sample of the matrix of crashes comes to rest.
 */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { extentNames } from './extent.ts';
import { runWorld } from './run.ts';
import { runScenario, scenarioNames } from './scenario.ts';

const seeds = [1, 2, 3, 4, 5, 6];
const known = new Map<number, ReturnType<typeof runWorld>>();
const mainFile = fileURLToPath(new URL('main.ts', import.meta.url));

function runOnce(seed: number): ReturnType<typeof runWorld> {
  const run = known.get(seed) ?? runWorld(seed);
  known.set(seed, run);
  return run;
}

describe('seeds', () => {
  it('hold, whatever goes wrong in them', { timeout: 120_000 }, async () => {
    for (const seed of seeds) {
      const { findings } = await runOnce(seed);
      expect({ seed, findings }).toEqual({ seed, findings: [] });
    }
  });

  it('are the same run in another process', { timeout: 60_000 }, async () => {
    const { traceHash, events, kinds } = await runOnce(3);
    expect(events).toBeGreaterThan(20);
    expect(extentNames).toContain(kinds[0]);
    const args = [mainFile, '--seed', '3', '--json'];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(JSON.parse(stdout)).toMatchObject({ traceHash, events, kinds });
  });

  it('differ from one another', { timeout: 60_000 }, async () => {
    const hashes = new Set([
      (await runOnce(3)).traceHash,
      (await runOnce(4)).traceHash,
      (await runWorld(3, { kept: { faults: [], activities: [] } })).traceHash,
    ]);
    expect(hashes.size).toBe(3);
  });
});

describe('a crash at one point', () => {
  it.each(scenarioNames)('of a %s comes to rest', { timeout: 120_000 }, async (name) => {
    const { points, findings } = await runScenario(name);
    expect(findings).toEqual([]);
    // The busiest process, a third of the way and two thirds.
    const [agentId, count] = Object.entries(points).reduce((one, other) =>
      other[1] > one[1] ? other : one,
    );
    expect(count).toBeGreaterThan(2);
    for (const part of [1, 2]) {
      const point = Math.floor((count * part) / 3);
      const result = await runScenario(name, [{ agentId, point }]);
      expect({ agentId, point, findings: result.findings, crashes: result.crashes }).toEqual({
        agentId,
        point,
        findings: [],
        crashes: 1,
      });
    }
  });
});
