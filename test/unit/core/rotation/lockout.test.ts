/** A rollback that cannot complete, and the only way out of it. */

import { describe, expect, it } from 'vitest';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import { assertRolledBack, failing } from './outcome.ts';
import { isStep, World, type Fault } from './world.ts';

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
    assertRolledBack(world);
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
    assertRolledBack(world);
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
