import { describe, expect, it } from 'vitest';
import { keyHolds } from '#shared/core/key-holds.ts';
import type { World as RotationWorld } from './rotation/world.ts';
import { isStep, World } from './rotation/world.ts';

const slot = '3/tls-certificate';
const holdsOf = ({ ledger, state }: RotationWorld) =>
  keyHolds(ledger.held, [state]).filter((hold) => hold.slot === slot);

describe('what holds a slot, and its older keys', () => {
  it('is nothing before the rotation and after it', () => {
    const world = new World();
    expect(keyHolds(world.ledger.held, [world.state])).toEqual([]);
    world.execute().settle();
    expect(world.state.phase).toBe('retired');
    expect(keyHolds(world.ledger.held, [world.state])).toEqual([]);
  });

  it('is the rotation until it is decided, and then the overlap', () => {
    const world = new World().execute();
    world.settle(({ state }) => state.phase === 'activating');
    expect(holdsOf(world)).toEqual([{ kind: 'slot', slot, planId: 'rot-1' }]);
    world.settle(({ state, ledger }) => state.phase === 'committed' && ledger.held.length === 0);
    const { decidedAtMs, plan } = world.state;
    const untilMs = (decidedAtMs ?? 0) + plan.body.timing.overlap_ms;
    expect(holdsOf(world)).toEqual([
      { kind: 'key', slot, planId: 'rot-1', version: 1, untilMs, heldBy: [] },
    ]);
  });

  it('is whoever uses the old key, until it is destroyed', () => {
    let uses = 3;
    const world = new World({
      answer: (answer, command) =>
        isStep(command, 'release', 3) && command.agentId === 'layer-3-a' && uses > 0
          ? { ...answer, slots: answer.slots.map((each) => ({ ...each, inUse: uses })) }
          : answer,
    });
    world.execute().settle(({ state }) => state.slots.some(({ heldBy }) => heldBy.length > 0));
    const heldBy = [{ agentId: 'layer-3-a', uses: 3 }];
    expect(holdsOf(world)).toEqual([{ kind: 'key', slot, planId: 'rot-1', version: 1, heldBy }]);
    uses = 0;
    world.settle();
    expect(holdsOf(world)).toEqual([]);
  });

  it('is a withdrawn key after the way back, as long as it is there', () => {
    const world = new World({
      fault: (command) => (isStep(command, 'verify', 3) ? { code: 'ORCH-8005' } : undefined),
    });
    world.execute().settle(({ state }) => state.phase === 'rolled_back');
    expect(holdsOf(world).filter(({ kind }) => kind === 'key')).toEqual([
      { kind: 'key', slot, planId: 'rot-1', version: 2, heldBy: [] },
    ]);
    world.settle();
    expect(holdsOf(world)).toEqual([]);
  });
});
