/** The straight way of a rotation, and what it commands on it. */

import { describe, expect, it } from 'vitest';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import { agentsOf, digestOf, planOf, planningInput, policyOf, requestOf, signed } from '../mesh.ts';
import { isStep, World } from './world.ts';

describe('a rotation of seven layers', () => {
  it('goes from the draft to retired, one layer after the other', () => {
    const world = new World().execute().settle();
    expect(world.state.phase).toBe('retired');
    expect(world.state.outstanding).toEqual([]);
    expect(world.refusals).toEqual([]);
    expect(world.versions()).toEqual([2]);
    const activated = world.issued.filter((command) => isStep(command, 'activate'));
    expect(activated.map((command) => (command as SendStep).slotLayer)).toEqual([
      1, 4, 3, 2, 5, 6, 7,
    ]);
    expect(world.ledger.held).toEqual([]);
    for (const { slot, owner } of world.state.slots) {
      expect(world.agent(owner).isOldKept(slot)).toBe(false);
    }
  });

  it('has dependants accept, verify and let go of the public keys they rely on', () => {
    const world = new World().execute().settle();
    const identity = world.state.slots.find(({ slot }) => slot === '1/identity-signature');
    expect(identity?.verifiers).toEqual(['layer-2-a']);
    for (const done of ['accepted', 'verified', 'released', 'retired'] as const) {
      const agents = identity?.[done].map(({ agentId }) => agentId).toSorted();
      expect(agents).toEqual(['layer-1-a', 'layer-2-a']);
    }
    const accepting = world.issued.find(
      (command) => isStep(command, 'accept') && command.agentId === 'layer-2-a',
    );
    expect(accepting).toMatchObject({
      layer: 2,
      slotLayer: 1,
      documents: ['plan', 'authorization'],
    });
  });

  it('carries the acknowledgements with each activation and the releases with each retirement', () => {
    const world = new World().execute().settle();
    const activation = world.issued.find((command) => isStep(command, 'activate', 1)) as SendStep;
    const accepted = world.state.slots
      .filter(({ layer }) => layer === 1)
      .flatMap((slot) => slot.accepted.map(({ report }) => report));
    expect(new Set(activation.evidence)).toEqual(new Set(accepted));
    const retirement = world.issued.find((command) => isStep(command, 'retire', 1)) as SendStep;
    const released = world.state.slots
      .filter(({ layer }) => layer === 1)
      .flatMap((slot) => slot.released.map(({ report }) => report));
    expect(new Set(retirement.evidence)).toEqual(new Set(released));
  });

  it('waits for the overlap before anything is retired', () => {
    const world = new World().execute().settle(({ state }) => state.phase === 'committed');
    const committedAtMs = world.clockMs;
    world.settle(({ issued }) => issued.some((command) => isStep(command, 'release')));
    expect(world.clockMs).toBe(committedAtMs + 2_000);
  });

  it('says who still uses an old key, and how much, until nobody does', () => {
    const token = '1/session-token';
    const [uses, refusals] = [[3, 1], [2]];
    const seen = new Set<string>();
    const world = new World({
      answer: (given, { agentId, operation }) => {
        if (agentId !== 'layer-1-a') return given;
        const inUse = (count: number) =>
          given.slots.flatMap((one) => (one.slot === token ? { ...one, inUse: count } : []));
        if (operation === 'release' && given.slots.some(({ slot }) => slot === token)) {
          const others = given.slots.filter(({ slot }) => slot !== token);
          return { ...given, slots: [...others, ...inUse(uses.shift() ?? 0)] };
        }
        const refusal = operation === 'retire' ? refusals.shift() : undefined;
        if (refusal === undefined) return given;
        return { status: 'failed', code: 'ORCH-8007', reason: 'in use', slots: inUse(refusal) };
      },
    }).execute();
    world.settle(({ state }) => {
      const { heldBy } = state.slots.find(({ slot }) => slot === token) ?? { heldBy: [] };
      seen.add(heldBy.map(({ agentId, uses: count }) => `${agentId}:${count}`).join());
      return false;
    });
    expect([...seen]).toEqual(['', 'layer-1-a:3', 'layer-1-a:1', 'layer-1-a:2']);
    expect(world.state.phase).toBe('retired');
    expect(world.state.slots.flatMap(({ heldBy }) => heldBy)).toEqual([]);
  });

  it('distributes to further agents of a layer and activates after them', () => {
    const agents = agentsOf([1, 2], 3);
    const plan = planOf({ agents, request: requestOf([1, 2]) });
    const world = new World({ plan }).execute().settle();
    expect(world.state.phase).toBe('retired');
    const [slot] = world.state.slots;
    expect(slot?.verifiers).toEqual([
      'layer-1-b',
      'layer-1-c',
      'layer-2-a',
      'layer-2-b',
      'layer-2-c',
    ]);
  });

  it('skips the distribution when nobody besides the owners is a member', () => {
    const plan = planOf({ agents: agentsOf([6]), request: requestOf([6]) });
    const world = new World({ plan }).execute().settle();
    expect(world.state.phase).toBe('retired');
    expect(world.issued.some((command) => isStep(command, 'accept'))).toBe(false);
  });

  it('gives every command its own id and names the entry that issued it', () => {
    const world = new World().execute().settle();
    const ids = world.issued.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { id, sagaIndex } of world.issued) {
      expect(id).toMatch(new RegExp(`^rot-1-${sagaIndex}-\\d+$`));
    }
  });
});

describe('replay', () => {
  it('gives the same state and the same commands', () => {
    const world = new World({ fault: flaky() }).execute().settle();
    const opening = {
      sagaId: 'rot-1',
      planDigest: world.planDigest,
      entryHash: digestOf('entry 0'),
    };
    const event = {
      type: 'plan-drafted',
      atMs: world.state.beganAtMs,
      plan: signed(world.plan),
    } as const;
    let state: RotationState = beginRotation(opening, {
      index: 0,
      consumed: [world.plan.request],
      event,
    });
    const commands = [...state.outstanding];
    for (const input of world.history) {
      const step = stepRotation(state, structuredClone(input), world.policy);
      if ('rejected' in step) throw new Error(step.reason);
      state = JSON.parse(JSON.stringify(step.state)) as RotationState;
      commands.push(...step.commands);
    }
    expect(state).toEqual(world.state);
    expect(commands).toEqual(world.issued);
  });

  it('ends the same when every runtime is lost after every entry', () => {
    const world = new World().execute();
    let index = -1;
    world.settle(({ state }) => {
      if (state.index > index) world.restart();
      index = state.index;
      return false;
    });
    expect(world.state.phase).toBe('retired');
    expect(world.versions()).toEqual([2]);
  });

  function flaky() {
    let count = 0;
    return () => ((count += 1) % 9 === 0 ? ('silent' as const) : undefined);
  }
});

describe('approvals and execution', () => {
  it('counts distinct approvers, never the requester', () => {
    const policy = policyOf({
      approvals: { scheduled: 2, emergency: 0, policy_change: 2, recovery: 1 },
    });
    const world = new World({ policy });
    world.settle();
    expect(world.approve('op-1')).toMatchObject({ rejected: 'APPROVER_IS_REQUESTER' });
    expect(world.approve('op-2')).toBeNull();
    expect(world.approve('op-2')).toMatchObject({ rejected: 'APPROVAL_REPEATED' });
    expect(world.requestExecution()).toMatchObject({ rejected: 'APPROVALS_MISSING' });
    expect(world.approve('op-3')).toBeNull();
    expect(world.state.phase).toBe('approved');
    expect(world.requestExecution()).toBeNull();
  });

  it('asks for as many approvals as the policy does now, if that is more than the plan says', () => {
    const plan = planOf();
    const policy = policyOf({
      approvals: { scheduled: 2, emergency: 0, policy_change: 2, recovery: 1 },
    });
    const world = new World({ plan, policy });
    world.settle();
    expect(world.approve('op-2')).toBeNull();
    expect(world.state.phase).toBe('validated');
  });

  it('is approved at once where no approval is asked for', () => {
    const plan = planOf({ request: requestOf([6], { rotationType: 'emergency' }) });
    const world = new World({ plan });
    world.settle();
    expect(world.state.phase).toBe('approved');
  });

  it('does not take an approval without the event that says so', () => {
    const world = new World();
    world.settle();
    expect(world.propose({ type: 'approval-recorded', operatorId: 'op-2' })).toMatchObject({
      rejected: 'EVIDENCE_MISSING',
    });
  });

  it('refuses an expired plan and a closed window', () => {
    const world = new World();
    world.settle();
    world.approve('op-2');
    const startMs = world.clockMs;
    world.clockMs = startMs + 3_600_000;
    expect(world.requestExecution()).toMatchObject({ rejected: 'PLAN_EXPIRED' });
    const later = requestOf([6], {
      windowStartMs: startMs + 60_000,
      windowEndMs: startMs + 120_000,
    });
    const windowed = new World({ plan: planOf({ request: later }) });
    windowed.settle();
    windowed.approve('op-2');
    expect(windowed.requestExecution()).toMatchObject({ rejected: 'WINDOW_CLOSED' });
    windowed.clockMs = startMs + 130_000;
    expect(windowed.requestExecution()).toMatchObject({ rejected: 'WINDOW_CLOSED' });
    windowed.clockMs = startMs + 60_000;
    expect(windowed.requestExecution()).toBeNull();
  });

  it('is refused when an owner is not ready, and for good', () => {
    const world = new World();
    world.pending = [];
    const readiness = [...world.agents.keys()].map((agentId) => ({
      agentId,
      ready: agentId !== 'layer-3-a',
    }));
    expect(world.propose({ type: 'plan-validated', readiness })).toBeNull();
    expect(world.state).toMatchObject({ phase: 'refused', failure: { code: 'ORCH-8007' } });
    expect(world.approve('op-2')).toMatchObject({ rejected: 'PHASE_MISMATCH' });
    expect(world.state.outstanding).toEqual([]);
  });

  it('stays approved when a slot is held, and can be executed later', () => {
    const world = new World();
    world.ledger = { held: [{ slot: '4/kek', sagaId: 'rot-0', sagaIndex: 3 }], released: [] };
    world.execute().settle();
    expect(world.state).toMatchObject({ phase: 'approved', refusal: { code: 'ORCH-8004' } });
    expect(world.ledger.held).toHaveLength(1);
    world.ledger = { ...world.ledger, held: [] };
    expect(world.requestExecution()).toBeNull();
    world.settle();
    expect(world.state.phase).toBe('retired');
  });

  it('records dry runs without any effect', () => {
    const world = new World();
    world.settle();
    const outcome = { type: 'dry-run-completed', operatorId: 'op-1', ok: true } as const;
    expect(world.propose(outcome)).toBeNull();
    expect(world.state.dryRuns).toMatchObject([{ operatorId: 'op-1', ok: true }]);
    expect(world.state.phase).toBe('validated');
    expect(world.state.outstanding).toEqual([]);
  });

  it('begins refused when the plan contradicts itself or is another saga’s', () => {
    const plan = planOf();
    const broken = { ...plan, coordination_sequence: plan.coordination_sequence.slice(1) };
    const begun = beginOf(broken, 'rot-1');
    expect(begun).toMatchObject({ phase: 'refused', failure: { code: 'ORCH-8008' } });
    expect(beginOf(plan, 'rot-2')).toMatchObject({ phase: 'refused', outstanding: [] });
  });

  function beginOf(plan: ReturnType<typeof planOf>, sagaId: string): RotationState {
    const { nowMs: atMs, digests } = planningInput();
    return beginRotation(
      { sagaId, planDigest: digests.policy, entryHash: digests.policy },
      { index: 0, consumed: [], event: { type: 'plan-drafted', atMs, plan: signed(plan) } },
    );
  }
});

describe('the grid', () => {
  it('shows each layer waiting, running, done', () => {
    const world = new World();
    expect(rotationGrid(world.state)[0]?.steps.prepare).toBe('waiting');
    world.execute().settle(({ state }) => state.phase === 'verifying' && state.cursor === 1);
    const grid = rotationGrid(world.state);
    expect(grid.map(({ layer }) => layer)).toEqual([1, 4, 3, 2, 5, 6, 7]);
    expect(grid[0]).toMatchObject({
      name: 'identity',
      steps: {
        prepare: 'done',
        accept: 'done',
        activate: 'done',
        verify: 'done',
        commit: 'waiting',
      },
    });
    expect(grid[1]?.steps).toMatchObject({ activate: 'done', verify: 'running' });
    expect(grid[2]?.steps).toMatchObject({ prepare: 'done', activate: 'waiting' });
    world.settle();
    for (const { steps } of rotationGrid(world.state)) {
      expect(steps).toMatchObject({ commit: 'done', retire: 'done', rollback: 'skipped' });
    }
  });
});
