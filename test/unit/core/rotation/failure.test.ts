/** Whatever fails, the mesh ends on one version of every key. */

import { describe, expect, it } from 'vitest';
import { layerNumbers } from '#schemas/layers.ts';
import type { StepOperation } from '#schemas/saga.ts';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import { agentsOf, planOf, policyOf, requestOf } from '../mesh.ts';
import { isStep, World, type Fault, type WorldOptions } from './world.ts';

function expectRolledBack(world: World): void {
  expect(world.state.phase).toBe('rolled_back');
  expect(world.state.decision).toBe('rollback');
  expect(world.versions()).toEqual([1]);
  expect(world.ledger.held).toEqual([]);
  expect(world.state.outstanding).toEqual([]);
  for (const { slot, owner, verifiers } of world.state.slots) {
    for (const agentId of [owner, ...verifiers]) {
      expect(world.agent(agentId).hasCandidate(slot)).toBe(false);
      expect(world.agent(agentId).isOldKept(slot)).toBe(true);
    }
  }
}

function failing(match: (command: SendStep) => boolean, fault: Fault): WorldOptions {
  return { fault: (command) => (match(command) ? fault : undefined) };
}

const forward: readonly StepOperation[] = ['prepare', 'accept', 'activate', 'verify'];

describe('a failure before the commit decision', () => {
  for (const operation of forward) {
    for (const layer of layerNumbers) {
      const isShared = layer === 1 || layer === 4;
      if (operation === 'accept' && !isShared) continue;
      it(`in ${operation} of layer ${layer} takes every slot back`, () => {
        const options = failing((command) => isStep(command, operation, layer), {});
        const world = new World(options).execute().settle();
        expectRolledBack(world);
        expect(world.state.failure).toMatchObject({ slotLayer: layer, operation });
        const row = rotationGrid(world.state).find((one) => one.layer === layer);
        expect(row?.steps[operation as 'prepare']).toBe('failed');
        expect(row?.steps.commit).toBe('skipped');
      });

      it(`silence in ${operation} of layer ${layer} takes every slot back`, () => {
        const options = failing((command) => isStep(command, operation, layer), 'silent');
        const world = new World(options).execute().settle();
        expectRolledBack(world);
      });
    }
  }

  it('goes back in reverse, only where the new key may be in use', () => {
    const options = failing((command) => isStep(command, 'verify', 3), {});
    const world = new World(options).execute().settle();
    const back = world.issued.filter((command) => isStep(command, 'rollback'));
    const layers = back.map((command) => (command as SendStep).slotLayer);
    expect([...new Set(layers)]).toEqual([3, 4, 1]);
    const row = rotationGrid(world.state).find(({ layer }) => layer === 7);
    expect(row?.steps.rollback).toBe('skipped');
  });

  it('counts an activation without an answer as one that may have happened', () => {
    const lost: WorldOptions = {
      fault: (command, world) => {
        if (!isStep(command, 'activate', 4)) return undefined;
        world.agent(command.agentId).carryOut(command, world.checkOf(command));
        return 'silent';
      },
    };
    const world = new World(lost).execute().settle();
    expectRolledBack(world);
    expect(world.issued.some((command) => isStep(command, 'rollback', 4))).toBe(true);
  });

  it('keeps new keys that were active until the overlap is over', () => {
    const options = failing((command) => isStep(command, 'verify', 1), {});
    const world = new World(options).execute();
    world.settle(({ state }) => state.phase === 'rolled_back');
    const atMs = world.clockMs;
    expect(world.agent('layer-1-a').hasCandidate('1/session-token')).toBe(true);
    expect(world.agent('layer-5-a').hasCandidate('5/column-key')).toBe(false);
    world.settle();
    expect(world.clockMs).toBe(atMs + 2_000);
    expectRolledBack(world);
  });

  it('is rolled back when the signer refuses the authorization or the commit', () => {
    for (const statement of ['rotation_authorization', 'rotation_commit'] as const) {
      const world = new World({ refuses: (command) => command.statement === statement });
      world.execute().settle();
      expectRolledBack(world);
      expect(world.state.failure?.code).toBe('ORCH-8002');
    }
  });

  it('does not believe a report that names another key, another slot or none', () => {
    const lies: [StepOperation, (slots: { keyId: string }[]) => { keyId: string }[]][] = [
      ['prepare', () => []],
      ['accept', (slots) => slots.map((slot) => ({ ...slot, keyId: 'f'.repeat(64) }))],
      ['activate', (slots) => slots.slice(1)],
      ['verify', (slots) => [...slots, ...slots]],
    ];
    for (const [operation, lie] of lies) {
      const world = new World({
        answer: (answer, command) =>
          isStep(command, operation, 1)
            ? { ...answer, slots: lie(answer.slots) as typeof answer.slots }
            : answer,
      });
      world.execute().settle();
      expectRolledBack(world);
      expect(world.state.failure?.code).toBe('ORCH-8005');
    }
  });
});

describe('trying again', () => {
  it('sends an unanswered step again under its id, and goes on', () => {
    const world = new World({
      fault: (command) => (command.attempt === 1 ? 'silent' : undefined),
    });
    world.execute().settle();
    expect(world.state.phase).toBe('retired');
    expect(world.state.counters.resent).toBeGreaterThan(10);
    const activations = world.issued.filter((command) => isStep(command, 'activate', 6));
    expect(activations.map((command) => (command as SendStep).attempt)).toEqual([1, 2]);
    expect(new Set(activations.map(({ id }) => id)).size).toBe(1);
  });

  it.each([
    ['ORCH-8007', 5],
    ['ORCH-8013', 5],
    ['ORCH-8014', 3],
  ] as const)('tries %s again %i times under new ids', (code, retries) => {
    const policy = policyOf({ rollback_triggers: [] });
    const world = new World({
      policy,
      ...failing((command) => isStep(command, 'prepare', 3), { code }),
    });
    world.execute().settle();
    expectRolledBack(world);
    const tries = world.issued.filter((command) => isStep(command, 'prepare', 3));
    expect(new Set(tries.map(({ id }) => id)).size).toBe(1 + retries);
    expect(world.state.failure?.code).toBe(code);
  });

  it('goes on when a layer that was not ready is', () => {
    const world = new World({
      fault: (command) =>
        command.operation === 'verify' && command.failures < 1
          ? command.slotLayer === 5
            ? { code: 'ORCH-8007' }
            : undefined
          : undefined,
    });
    world.execute().settle();
    expect(world.state.phase).toBe('retired');
    expect(world.state.counters.failures).toBe(1);
  });

  it('stops trying when the count of failures is a trigger', () => {
    const options = failing((command) => isStep(command, 'prepare', 3), { code: 'ORCH-8007' });
    const world = new World(options).execute().settle();
    expectRolledBack(world);
    expect(world.state.failure?.reason).toContain('rotation_failure_count > 3');
  });

  it('never tries a violated policy again', () => {
    const options = failing((command) => isStep(command, 'prepare', 3), { code: 'ORCH-8002' });
    const world = new World(options).execute().settle();
    expectRolledBack(world);
    expect(world.issued.filter((command) => isStep(command, 'prepare', 3))).toHaveLength(1);
  });
});

describe('a verifier that stays silent', () => {
  const fencing = policyOf({ silent_member: 'fence' });
  const isOfVerifier = (command: SendStep): boolean =>
    command.agentId === 'layer-2-a' && command.slotLayer === 1;

  it.each(['accept', 'verify'] as const)(
    'is fenced out in %s where the policy says so',
    (operation) => {
      const world = new World({
        policy: fencing,
        fault: (command) =>
          isOfVerifier(command) && (operation === 'accept' || command.operation !== 'accept')
            ? 'silent'
            : undefined,
      });
      world.execute().settle();
      expect(world.state.phase).toBe('retired');
      expect(world.versions()).toEqual([2]);
      const fenced = world.state.slots.filter((slot) => slot.fenced.includes('layer-2-a'));
      expect(fenced.map(({ layer }) => layer)).toEqual([1, 1]);
      for (const slot of fenced) {
        expect(slot.accepted.map(({ agentId }) => agentId)).toEqual(['layer-1-a']);
        expect(slot.verified.map(({ agentId }) => agentId)).toEqual(['layer-1-a']);
      }
    },
  );

  it('fails the plan where it does not', () => {
    const world = new World(failing(isOfVerifier, 'silent')).execute();
    world.settle(({ state }) => state.phase === 'rolled_back');
    expect(world.versions()).toEqual([1]);
    expect(world.state.failure).toMatchObject({ code: 'ORCH-8014', agentId: 'layer-2-a' });
  });

  it('is not fenced for saying no, and an owner never is', () => {
    const refusing = new World({ policy: fencing, ...failing(isOfVerifier, {}) });
    refusing.execute().settle(({ state }) => state.decision !== 'none');
    expect(refusing.state.decision).toBe('rollback');
    expect(refusing.state.slots.every(({ fenced }) => fenced.length === 0)).toBe(true);
    const silent = failing((command) => isStep(command, 'prepare', 2), 'silent');
    const world = new World({ policy: fencing, ...silent }).execute().settle();
    expectRolledBack(world);
    expect(world.state.slots.every(({ fenced }) => fenced.length === 0)).toBe(true);
  });

  it('does not keep a rollback from completing', () => {
    let isDown = false;
    const world = new World({
      policy: fencing,
      fault: (command) => {
        if (isStep(command, 'verify', 4)) isDown = true;
        if (isDown && command.agentId === 'layer-2-a') return 'silent';
        return isStep(command, 'verify', 4) ? {} : undefined;
      },
    });
    world.execute().settle(({ state }) => state.phase === 'rolled_back');
    expect(world.versions()).toEqual([1]);
  });
});

describe('a lockout', () => {
  /** Layer 4 can neither be verified nor go back until it is repaired. */
  function brokenWorld(fault: Fault = {}) {
    const repair = { done: false };
    const world = new World({
      fault: (command) =>
        !repair.done && (isStep(command, 'rollback', 4) || isStep(command, 'verify', 4))
          ? fault
          : undefined,
    });
    return { world: world.execute(), repair };
  }

  it.each([[{} as Fault], ['silent' as Fault]])(
    'ends a rollback that cannot complete (%o)',
    (fault) => {
      const { world } = brokenWorld(fault);
      world.settle();
      expect(world.state).toMatchObject({
        phase: 'locked_out',
        lockouts: 1,
        lockout: { code: 'ORCH-8006', slotLayer: 4, operation: 'rollback' },
      });
      expect(world.ledger.held).toHaveLength(14);
      expect(world.agent('layer-1-a').isFrozen('1/session-token')).toBe(true);
      expect(world.state.outstanding).toEqual([]);
      const row = rotationGrid(world.state).find(({ layer }) => layer === 4);
      expect(row?.steps.rollback).toBe('failed');
    },
  );

  it('is left only by a recovery that others approved, and comes back complete', () => {
    const { world, repair } = brokenWorld();
    world.settle();
    expect(world.approveRecovery()).toMatchObject({ rejected: 'PHASE_MISMATCH' });
    expect(world.requestRecovery('op-1')).toBeNull();
    expect(world.requestRecovery('op-2')).toMatchObject({ rejected: 'RECOVERY_PENDING' });
    expect(world.approveRecovery('op-1')).toMatchObject({ rejected: 'APPROVER_IS_REQUESTER' });
    expect(world.state.phase).toBe('locked_out');
    repair.done = true;
    expect(world.approveRecovery('op-2')).toBeNull();
    expect(world.approveRecovery('op-3')).toMatchObject({ rejected: 'APPROVALS_FULL' });
    world.settle();
    expectRolledBack(world);
    expect(world.state.lockout).toBeNull();
    expect(world.refusals).toEqual([]);
    for (const { slot, owner } of world.state.slots) {
      expect(world.agent(owner).isFrozen(slot)).toBe(false);
    }
    const again = world.issued.filter((command) => isStep(command, 'rollback', 4)).at(-1);
    expect(again).toMatchObject({ documents: ['plan', 'recovery'] });
  });

  it('comes back when the recovery does not help, counted', () => {
    const { world, repair } = brokenWorld();
    world.settle();
    world.requestRecovery();
    world.approveRecovery();
    world.settle();
    expect(world.state).toMatchObject({ phase: 'locked_out', lockouts: 2, recoveryRequest: null });
    repair.done = true;
    world.requestRecovery();
    world.approveRecovery();
    world.settle();
    expectRolledBack(world);
  });

  it('follows when the report names another key than the checkpoint', () => {
    const world = new World({
      ...failing((command) => isStep(command, 'verify', 4), {}),
      answer: (answer, command) =>
        isStep(command, 'rollback', 4)
          ? { ...answer, slots: answer.slots.map((slot) => ({ ...slot, keyId: 'e'.repeat(64) })) }
          : answer,
    });
    world.execute().settle();
    expect(world.state.phase).toBe('locked_out');
  });
});

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
    expectRolledBack(world);
    expect(world.state.failure?.reason).toContain(reason);
  });

  it('takes silence for no failure only where no samples are demanded', () => {
    const world = soakWith({ operations: 0 }, policyOf({ soak_ms: 10_000, soak_samples_min: 0 }));
    expect(world.state.phase).toBe('retired');
  });

  it('leads back when an owner does not measure', () => {
    const options = failing((command) => isStep(command, 'measure', 6), 'silent');
    expectRolledBack(new World({ policy: soaking, ...options }).execute().settle());
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
