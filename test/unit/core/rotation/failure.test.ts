/** Whatever fails before the decision, the mesh ends on one version of every key. */

import { describe, expect, it } from 'vitest';
import { layerNumbers } from '#schemas/layers.ts';
import type { StepOperation } from '#schemas/saga.ts';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import { policyOf } from '../mesh.ts';
import { assertRolledBack, failing } from './outcome.ts';
import { isStep, World, type WorldOptions } from './world.ts';

const forward: readonly StepOperation[] = ['prepare', 'accept', 'activate', 'verify'];

describe('a failure before the commit decision', () => {
  for (const operation of forward) {
    for (const layer of layerNumbers) {
      const isShared = layer === 1 || layer === 4;
      if (operation === 'accept' && !isShared) continue;
      it(`in ${operation} of layer ${layer} takes every slot back`, () => {
        const options = failing((command) => isStep(command, operation, layer), {});
        const world = new World(options).execute().settle();
        assertRolledBack(world);
        expect(world.state.failure).toMatchObject({ slotLayer: layer, operation });
        const row = rotationGrid(world.state).find((one) => one.layer === layer);
        expect(row?.steps[operation as 'prepare']).toBe('failed');
        expect(row?.steps.commit).toBe('skipped');
      });

      it(`silence in ${operation} of layer ${layer} takes every slot back`, () => {
        const options = failing((command) => isStep(command, operation, layer), 'silent');
        const world = new World(options).execute().settle();
        assertRolledBack(world);
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
    assertRolledBack(world);
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
    assertRolledBack(world);
  });

  it('is rolled back when the signer refuses the authorization or the commit', () => {
    for (const statement of ['rotation_authorization', 'rotation_commit'] as const) {
      const world = new World({ refuses: (command) => command.statement === statement });
      world.execute().settle();
      assertRolledBack(world);
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
      assertRolledBack(world);
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
    assertRolledBack(world);
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
    assertRolledBack(world);
    expect(world.state.failure?.reason).toContain('rotation_failure_count > 3');
  });

  it('never tries a violated policy again', () => {
    const options = failing((command) => isStep(command, 'prepare', 3), { code: 'ORCH-8002' });
    const world = new World(options).execute().settle();
    assertRolledBack(world);
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
    for (const operation of ['prepare', 'verify'] as const) {
      const silent = failing((command) => isStep(command, operation, 2), 'silent');
      const world = new World({ policy: fencing, ...silent }).execute().settle();
      assertRolledBack(world);
      expect(world.state.slots.every(({ fenced }) => fenced.length === 0)).toBe(true);
    }
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
