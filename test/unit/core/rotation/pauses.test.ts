/**
 * Steps that fail are tried again after pauses of their own: how long an old key stays is said by who
 * uses it, not by how often somebody else had to be asked.
 */

import assert from 'node:assert/strict';
import { describe, expect, it } from 'vitest';
import { layerNumbers } from '#schemas/layers.ts';
import type { SendStep, StartTimer } from '#shared/core/rotation/commands.ts';
import { timerOf } from '#shared/core/rotation/draft.ts';
import { World, type Fault } from './world.ts';

const overlapMs = 2_000;
const busy = { code: 'ORCH-8007' } as const;

/** When each owner is asked to let go, in milliseconds since the overlap is over. */
class Asked {
  readonly atMs: Record<string, number[]> = {};
  readonly world: World;
  #beganMs = Infinity;

  /** `away`, `uses`: until when an agent answers nothing, and says that the old key is in use. */
  constructor(agents: Readonly<Record<string, { awayMs?: number; usesMs: number }>>) {
    const fault = (command: SendStep, { clockMs }: World): Fault | undefined => {
      const { agentId, operation, layer, slotLayer } = command;
      const { awayMs = 0, usesMs = 0 } = agents[agentId] ?? {};
      if (operation !== 'release' || layer !== slotLayer) return undefined;
      const atMs = clockMs - this.#beganMs;
      if (atMs < awayMs) return 'silent';
      (this.atMs[agentId] ??= []).push(atMs);
      return atMs < usesMs ? busy : undefined;
    };
    this.world = new World({ fault });
    this.world.execute().settle(({ state }) => state.phase === 'committed');
    this.#beganMs = this.world.clockMs + overlapMs;
  }

  /** Milliseconds from the end of the overlap until all old keys are gone. */
  retire(): number {
    assert.equal(this.world.settle().state.phase, 'retired');
    return this.world.clockMs - this.#beganMs;
  }
}

describe('an old key that is in use', () => {
  it('goes in twice the time, though another agent came late and was asked again and again', () => {
    const asked = new Asked({
      'layer-1-a': { usesMs: 60_000 },
      'layer-2-a': { awayMs: 10_000, usesMs: 30_000 },
    });
    expect(asked.retire(), JSON.stringify(asked.atMs)).toBeLessThanOrEqual(2 * 60_000);
    for (const times of Object.values(asked.atMs)) {
      const pauses = times.slice(1).map((atMs, index) => atMs - (times[index] ?? NaN));
      // Each is twice the one before; what is nearly due goes along with another one.
      const isItsOwn = (pauseMs: number, index: number): boolean => {
        const ownMs = 100 * 2 ** index;
        return pauseMs >= 0.75 * ownMs && pauseMs <= ownMs;
      };
      expect(pauses.every(isItsOwn), times.join()).toBe(true);
    }
  });
});

describe('steps that were held', () => {
  it('go out together where they failed nearly at once', () => {
    const world = allHeld({ apartMs: 3 });
    fireRetry(world, firstDueMs(world));
    expect(world.state.waiting).toEqual([]);
  });

  it('go out one after the other where they did not', () => {
    const world = allHeld({ apartMs: 15 });
    const nowMs = firstDueMs(world);
    fireRetry(world, nowMs);
    expect(world.state.waiting.map(({ againAtMs }) => againAtMs - nowMs)).toEqual([
      30, 45, 60, 75, 90,
    ]);
    expect(retryTimer(world).delayMs).toBe(30);
  });

  it.each([-3_600_000, 3_600_000])('go out by a clock that is %i ms off', (skewMs) => {
    const world = allHeld({ apartMs: 3 });
    fireRetry(world, firstDueMs(world) + skewMs);
    expect(world.state.waiting).toEqual([]);
  });

  it('by a clock that was ahead wait no longer than their pause', () => {
    const world = allHeld({ apartMs: 3, firstAheadMs: 3_600_000 });
    fireRetry(world, world.clockMs + 80);
    expect(world.state.waiting).toHaveLength(1);
    expect(retryTimer(world).delayMs).toBeLessThanOrEqual(100);
  });

  it('go out at their time, though another one fails right before', () => {
    const world = new World({
      fault: ({ agentId, operation, failures, layer, slotLayer }) => {
        if (operation !== 'release' || layer !== slotLayer) return undefined;
        if (agentId === 'layer-1-a') return busy;
        if (agentId !== 'layer-2-a') return undefined;
        return failures < 5 ? busy : 'silent';
      },
    });
    world.execute().settle(({ state }) => state.waiting[0]?.failures === 9);
    const command = world.state.outstanding.find(
      (each) => each.type === 'send-step' && each.agentId === 'layer-2-a',
    );
    if (command?.type !== 'send-step') throw new Error('layer 2 was asked');
    world.clockMs = firstDueMs(world) - 1_000;
    const report = world.report(command, { status: 'failed', ...busy, slots: [] });
    expect(world.propose({ type: 'reports-received', reports: [report] }, [report.report])).toBe(
      null,
    );
    expect(world.state.waiting).toHaveLength(2);
    expect(retryTimer(world).delayMs).toBe(1_000);
  });
});

/** Every owner has said once that an old key is in use, one after the other. */
function allHeld({ apartMs, firstAheadMs = 0 }: { apartMs: number; firstAheadMs?: number }): World {
  let aheadMs = firstAheadMs;
  const world = new World({
    fault: ({ operation, layer, slotLayer }, given) => {
      if (operation !== 'release' || layer !== slotLayer) return undefined;
      given.clockMs += apartMs + aheadMs;
      // From the second one on by a clock that is right.
      aheadMs = aheadMs > 0 ? -aheadMs : 0;
      return busy;
    },
  });
  world.execute().settle(({ state }) => state.waiting.length === layerNumbers.length);
  return world;
}

function fireRetry(world: World, atMs: number): void {
  const { timer } = retryTimer(world);
  world.clockMs = atMs;
  assert.equal(world.propose({ type: 'timer-fired', timer }), null);
}

function retryTimer({ state }: World): StartTimer {
  const found = timerOf(state, 'retry');
  if (found?.type !== 'start-timer') throw new Error('nothing waits for another try');
  return found;
}

function firstDueMs({ state }: World): number {
  return Math.min(...state.waiting.map(({ againAtMs }) => againAtMs));
}
