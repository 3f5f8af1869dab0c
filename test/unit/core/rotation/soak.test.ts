/** The soak before the decision, the patience after it, and the window around both. */

import { describe, expect, it } from 'vitest';
import { agentsOf, planOf, policyOf, requestOf } from '../mesh.ts';
import { assertRolledBack, failing } from './outcome.ts';
import { isStep, World } from './world.ts';

describe('after the commit decision', () => {
  it('tries until it is done', () => {
    const world = new World({
      fault: (command) => {
        const isLate = ['release', 'retire'].includes(command.operation);
        if (!isLate || command.slotLayer !== 3) return undefined;
        if (command.attempt <= 6) return 'silent';
        return command.failures < 8 ? { code: 'ORCH-8007' } : undefined;
      },
    });
    world.execute().settle();
    expect(world.state.phase).toBe('retired');
    expect(world.versions()).toEqual([2]);
  });

  it('does not retire a key that is in use, and asks ever more slowly', () => {
    let asked = 0;
    const world = new World({
      answer: (answer, command) => {
        if (!isStep(command, 'release', 5)) return answer;
        asked += 1;
        const inUse = asked <= 12 ? 3 : 0;
        return {
          ...answer,
          slots: answer.slots.map((slot) =>
            slot.slot === '5/column-key' ? { ...slot, inUse } : slot,
          ),
        };
      },
    });
    world.execute().settle(({ state }) => state.slots.some(({ retired }) => retired.length > 0));
    expect(world.issued.some((command) => isStep(command, 'retire', 5))).toBe(false);
    world.settle();
    expect(world.state.phase).toBe('retired');
    expect(asked).toBe(13);
    const waits = world.issued.flatMap((command) =>
      command.type === 'start-timer' && command.purpose === 'retry' ? [command.delayMs] : [],
    );
    expect(waits.at(-1)).toBeGreaterThan(100_000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(3_600_000);
  });
});

describe('the soak', () => {
  const soaking = policyOf({ soak_ms: 10_000, soak_samples_min: 50 });

  function soakWith(samples: object, policy = soaking): World {
    const world = new World({
      policy,
      answer: (answer, command) =>
        isStep(command, 'measure', 6)
          ? {
              ...answer,
              slots: answer.slots.map((slot) => ({
                ...slot,
                samples: { operations: 100, failures: 0, latencyPercent: 100, ...samples },
              })),
            }
          : answer,
    });
    return world.execute().settle();
  }

  it('leads to the commit when every slot is healthy', () => {
    const world = soakWith({});
    expect(world.state.phase).toBe('retired');
    expect(world.clockMs).toBeGreaterThanOrEqual(world.state.beganAtMs + 10_000);
  });

  it.each([
    [{ failures: 2 }, 'service_availability < 99%'],
    [{ latencyPercent: 160 }, 'performance_degradation > 50%'],
    [{ operations: 49 }, '49 of 50 samples'],
    [{ operations: 0 }, '0 of 50 samples'],
  ])('leads back for %o', (samples, reason) => {
    const world = soakWith(samples);
    assertRolledBack(world);
    expect(world.state.failure?.reason).toContain(reason);
  });

  it('takes silence for no failure only where no samples are demanded', () => {
    const world = soakWith({ operations: 0 }, policyOf({ soak_ms: 10_000, soak_samples_min: 0 }));
    expect(world.state.phase).toBe('retired');
  });

  it('leads back when an owner does not measure', () => {
    const options = failing((command) => isStep(command, 'measure', 6), 'silent');
    assertRolledBack(new World({ policy: soaking, ...options }).execute().settle());
  });
});

describe('the window', () => {
  it('is not left by an activation', () => {
    const plan = planOf({
      agents: agentsOf([6, 7]),
      request: requestOf([6, 7], { windowEndMs: 1_800_000_001_000 }),
    });
    const world = new World({
      plan,
      fault: (command) =>
        isStep(command, 'verify', 6) && command.attempt === 1 ? 'silent' : undefined,
    });
    world.execute().settle();
    expect(world.state).toMatchObject({ phase: 'rolled_back', failure: { code: 'ORCH-8004' } });
    expect(world.versions()).toEqual([1]);
  });
});
