/** One decision, whatever arrives late, twice or in another order. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import { digestOf, policyOf, signed } from '../mesh.ts';
import { isStep, World, type Fault } from './world.ts';

describe('commit and rollback', () => {
  const request = { type: 'rollback-requested', operatorId: 'op-1', reason: 'stop' } as const;

  it('exclude each other when the rollback comes first', () => {
    const world = new World().execute().settle(({ state }) => state.phase === 'committing');
    const asked = world.state.outstanding.find(({ type }) => type === 'sign-statement');
    expect(asked?.type).toBe('sign-statement');
    expect(world.propose(request)).toBeNull();
    if (asked?.type !== 'sign-statement' || asked.body.kind !== 'rotation_commit') return;
    const late = { type: 'commit-decided', commit: signed(asked.body) } as const;
    expect(world.propose(late)).toMatchObject({ rejected: 'DECISION_TAKEN' });
    world.settle();
    expect(world.state.phase).toBe('rolled_back');
    expect(world.versions()).toEqual([1]);
  });

  it('exclude each other when the commit comes first', () => {
    const world = new World().execute().settle(({ state }) => state.phase === 'committed');
    const { commit } = world.state;
    expect(world.propose(request)).toMatchObject({ rejected: 'DECISION_TAKEN' });
    if (commit === null) throw new Error('committed without a statement');
    expect(world.propose({ type: 'commit-decided', commit })).toMatchObject({
      rejected: 'DECISION_TAKEN',
    });
    world.settle();
    expect(world.propose(request)).toMatchObject({ rejected: 'DECISION_TAKEN' });
    expect(world.versions()).toEqual([2]);
  });

  it('do not take a commit statement that differs from the one asked for', () => {
    const world = new World().execute().settle(({ state }) => state.phase === 'committing');
    const asked = world.state.outstanding.find(({ type }) => type === 'sign-statement');
    if (asked?.type !== 'sign-statement' || asked.body.kind !== 'rotation_commit') {
      throw new Error('no commit is asked for');
    }
    const other = { ...asked.body, reports: asked.body.reports.slice(1) };
    expect(world.propose({ type: 'commit-decided', commit: signed(other) })).toMatchObject({
      rejected: 'STATEMENT_MISMATCH',
    });
  });

  it('take the request to go back in every phase before the decision', () => {
    const phases = ['validated', 'approved', 'reserving', 'authorizing', 'preparing'] as const;
    const later = ['distributing', 'activating', 'verifying', 'soaking', 'committing'] as const;
    for (const phase of [...phases, ...later]) {
      const world = new World({ policy: policyOf({ soak_ms: 100 }) });
      world.settle(({ state }) => state.phase === phase);
      if (world.state.phase !== phase) {
        world.approve('op-2');
        if (phase !== 'approved') world.requestExecution();
        world.settle(({ state }) => state.phase === phase);
      }
      expect(world.state.phase).toBe(phase);
      expect(world.propose(request)).toBeNull();
      world.settle();
      expect(world.state.phase).toBe('rolled_back');
      expect(world.versions()).toEqual([1]);
      expect(world.ledger.held).toEqual([]);
    }
  });
});

describe('late and repeated events', () => {
  it('rejects a report that was answered, is unknown, or of another agent or operation', () => {
    const world = new World().execute();
    world.settle(({ state }) => state.phase === 'preparing');
    const command = world.pending.find((one) => isStep(one, 'prepare', 1)) as SendStep;
    world.advance();
    const answer = { status: 'done', slots: [] } as const;
    const report = world.report(command, { ...answer, slots: [] });
    for (const wrong of [
      report,
      { ...report, commandId: 'rot-1-99-1' },
      { ...report, agentId: 'layer-5-a' },
      { ...report, operation: 'retire' as const },
    ]) {
      expect(
        world.propose({ type: 'reports-received', reports: [wrong] }, [report.report]),
      ).toMatchObject({ rejected: 'REPORT_SUPERSEDED' });
    }
    expect(world.settle().state.phase).toBe('retired');
  });

  it('takes what is useful of an entry and passes over the rest', () => {
    const world = new World().execute();
    world.settle(({ state }) => state.phase === 'preparing');
    const [first, second] = world.pending.filter((one) => isStep(one, 'prepare')) as SendStep[];
    if (first === undefined || second === undefined) throw new Error('no steps');
    const answers = [first, second].map((command) => {
      const answer = world.agent(command.agentId).carryOut(command, world.checkOf(command));
      if (answer === 'overtaken') throw new Error('overtaken');
      return world.report(command, answer);
    });
    const reports = [...answers, ...answers];
    const consumed = answers.map(({ report }) => report);
    expect(world.propose({ type: 'reports-received', reports }, consumed)).toBeNull();
    expect(world.state.counters.ignored).toBe(2);
    expect(world.settle().state.phase).toBe('retired');
  });

  it('rejects reports that the entry does not name', () => {
    const world = new World().execute();
    world.settle(({ state }) => state.phase === 'preparing');
    const command = world.pending[0] as SendStep;
    const report = world.report(command, { status: 'failed', slots: [] });
    expect(world.propose({ type: 'reports-received', reports: [report] })).toMatchObject({
      rejected: 'EVIDENCE_MISSING',
    });
  });

  it('rejects timers that do not run and entries that do not follow', () => {
    const world = new World().execute().settle(({ state }) => state.phase === 'distributing');
    const old = world.issued.find(({ type }) => type === 'start-timer');
    expect(world.propose({ type: 'timer-fired', timer: old?.id ?? '' })).toMatchObject({
      rejected: 'TIMER_UNKNOWN',
    });
    expect(world.propose({ type: 'slots-released' })).toMatchObject({ rejected: 'PHASE_MISMATCH' });
    expect(world.propose({ type: 'slots-reserved' })).toMatchObject({ rejected: 'PHASE_MISMATCH' });
  });

  it('rejects the late report of an activation once the rollback has begun', () => {
    const world = new World();
    world.execute().settle(({ state }) => state.phase === 'activating');
    const command = world.pending.find((one) => isStep(one, 'activate')) as SendStep;
    const agent = world.agent(command.agentId);
    const answer = agent.carryOut(command, world.checkOf(command));
    if (answer === 'overtaken') throw new Error('overtaken');
    world.pending = world.pending.filter((one) => one !== command);
    world.propose({ type: 'rollback-requested', operatorId: 'op-1', reason: 'stop' });
    const late = world.report(command, answer);
    expect(
      world.propose({ type: 'reports-received', reports: [late] }, [late.report]),
    ).toMatchObject({ rejected: 'REPORT_SUPERSEDED' });
    expect(agent.primary('1/session-token').version).toBe(2);
    world.settle();
    expect(world.versions()).toEqual([1]);
  });
});

describe('any order, any faults', () => {
  const faults: readonly (Fault | undefined)[] = [
    undefined,
    undefined,
    undefined,
    undefined,
    'silent',
    { code: 'ORCH-8007' },
    { code: 'ORCH-8014' },
    {},
  ];

  it('comes to an end that holds, once the faults stop', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1_000), { minLength: 1, maxLength: 120 }),
        fc.constantFrom('fail' as const, 'fence' as const),
        fc.constantFrom(0, 1_000),
        (choices, silentMember, soakMs) => {
          let turn = 0;
          let isFaulty = true;
          const choose = (): number => choices[(turn += 1) % choices.length] ?? 0;
          const policy = policyOf({ silent_member: silentMember, soak_ms: soakMs });
          const world = new World({
            policy,
            fault: () => (isFaulty ? faults[choose() % faults.length] : undefined),
          }).execute();
          for (let steps = 0; steps < 150; steps += 1) {
            meddle(world, choose());
            if (!world.advance(choose() % 4)) break;
          }
          isFaulty = false;
          world.restart();
          world.settle();
          recoverIfLocked(world);
          expect(['retired', 'rolled_back']).toContain(world.state.phase);
          expect(world.versions()).toEqual([world.state.phase === 'retired' ? 2 : 1]);
          expect(world.ledger.held).toEqual([]);
          expect(rotationGrid(world.state)).toHaveLength(7);
          expect(world.state.outstanding).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  /** Now and then somebody stops it, restarts it, or plays old events again. */
  function meddle(world: World, choice: number): void {
    const last = world.history.at(-(choice % 5) - 1);
    if (choice % 97 === 0) {
      world.propose({ type: 'rollback-requested', operatorId: 'op-3', reason: 'chance' });
    } else if (choice % 13 === 0) world.restart();
    else if (choice % 7 === 0 && last !== undefined) world.propose(last.event, last.consumed);
    else if (choice % 11 === 0) {
      const { commit } = world.state;
      if (commit !== null) world.propose({ type: 'commit-decided', commit }, [digestOf('again')]);
    }
  }

  function recoverIfLocked(world: World): void {
    if (world.state.phase !== 'locked_out') return;
    expect(world.requestRecovery()).toBeNull();
    expect(world.approveRecovery()).toBeNull();
    world.settle();
  }
});
