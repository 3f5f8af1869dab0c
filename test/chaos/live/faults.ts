/**
 * What people and machines do wrong with a mesh that is there: each ends in an exit code that a
 * script can use, a code, and what to do about it, and leaves everything as it was. What can be wrong
 * before there is a mesh is in `cli-faults.test.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { expectHelp, type Drive, type Plan, type Told } from '../drive.ts';
import { drive } from './mesh.ts';
import { hangMs } from '../../support/patience.ts';

interface Rotations {
  readonly rotations: readonly { readonly planId: string }[];
}

const unknown = 'rot-0123456789abcdef';

/** Stops a process without ending it, as a machine that hangs does. */
async function asleep<Result>(ids: readonly string[], work: () => Promise<Result>) {
  const pids = await Promise.all(ids.map((id) => drive.mesh.pidOf(id)));
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  try {
    return await work();
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  }
}

const plans = async () =>
  (await drive.json<Rotations>('rotation', 'list')).rotations.map(({ planId }) => planId);

describe('a layer agent that is not there', () => {
  it('refuses the plan, names the agent, and leaves no plan', { timeout: hangMs }, async () => {
    const before = await plans();
    const told = await asleep(['network-a'], () =>
      drive.told('rotation', 'plan', '--layers', '1-7'),
    );
    expect(told).toMatchObject({ exit: 1, code: 'ORCH-8007' });
    expect(told.reason).toContain('network-a');
    expectHelp(told);
    expect(await plans()).toEqual(before);
  });

  it('refuses the execution of a plan that others made', { timeout: hangMs }, async () => {
    const versions = await drive.versions();
    const { planId } = await drive.approvedPlan('3');
    const told = await asleep(['network-a'], () => drive.told('rotation', 'execute', planId));
    expect(told).toMatchObject({ exit: 1, code: 'ORCH-8007' });
    expect(told.reason).toContain('network-a');
    expectHelp(told);
    expect((await drive.show(planId)).phase).toBe('approved');
    expect(await drive.versions()).toEqual(versions);
    expect(await drive.gyre('rotation', 'execute', planId)).toMatchObject({ code: 0 });
  });
});

describe('a plan that is not there', () => {
  it.each([['approve', '--as', 'op-2'], ['execute'], ['rollback'], ['recover']])(
    'cannot be used: %s',
    { timeout: hangMs },
    async (command, ...more) => {
      const told = await drive.told('rotation', command, unknown, ...more);
      expect(told).toMatchObject({ exit: 1, code: 'ORCH-8004' });
      expect(told.reason).toContain(unknown);
      expectHelp(told);
    },
  );
});

describe('what is done twice, or too late', () => {
  let plan: Plan;

  it('a second approval by the same operator is refused', { timeout: hangMs }, async () => {
    plan = await drive.approvedPlan('1,4');
    const told = await drive.told('rotation', 'approve', plan.planId, '--as', 'op-2');
    expect(told).toMatchObject({ exit: 6, code: 'ORCH-8015' });
    expect(told.reason).toContain('op-2 has approved already');
    expectHelp(told);
    expect((await drive.show(plan.planId)).state.approvals).toHaveLength(1);
  });

  it('a second execution is refused, also while the first runs', { timeout: hangMs }, async () => {
    let second: Promise<Told> | undefined;
    const first = await drive.execute(plan.planId, (line) => {
      if (line.includes('activate done')) {
        second ??= drive.told('rotation', 'execute', plan.planId);
      }
    });
    expect(first.code, first.stderr).toBe(0);
    for (const told of [await second, await drive.told('rotation', 'execute', plan.planId)]) {
      expect(told).toMatchObject({ exit: 1, code: 'ORCH-8004' });
      expect(told?.hint).not.toBe('');
    }
    const { timeline } = await drive.show(plan.planId);
    expect(timeline.filter(({ event }) => event === 'commit-decided')).toHaveLength(1);
  });

  it('a rollback after the commit is refused', { timeout: hangMs }, async () => {
    const versions = await drive.versions();
    const told = await drive.told('rotation', 'rollback', plan.planId);
    expect(told).toMatchObject({ exit: 1, code: 'ORCH-8005' });
    expect(told.reason).toContain('the decision is commit');
    expectHelp(told);
    expect(await drive.versions()).toEqual(versions);
  });

  it('a rollback before it goes back: execute ends with 7', { timeout: hangMs }, async () => {
    const versions = await drive.versions();
    const { planId } = await drive.approvedPlan('3,6');
    const pid = await drive.mesh.pidOf('phi-a');
    let rollback: ReturnType<Drive['gyre']> | undefined;
    // Layer 6 sleeps until the way back has begun: without that it might be committed by then.
    const wake = async (): Promise<void> => {
      while ((await drive.show(planId)).state.decision === 'none') await sleep(50);
      process.kill(pid, 'SIGCONT');
    };
    let woken: Promise<void> | undefined;
    const execution = await drive.execute(planId, (line) => {
      if (!line.includes('layer 3') || !line.includes('verify done')) return;
      process.kill(pid, 'SIGSTOP');
      rollback ??= drive.gyre('rotation', 'rollback', planId, '--reason', 'clients fail');
      woken ??= wake();
    });
    await woken;
    expect(await rollback).toMatchObject({ code: 0 });
    expect(execution.code).toBe(7);
    expect(execution.stdout).toContain('clients fail');
    expect(await drive.versions()).toEqual(versions);
  });
});

describe('a mesh that does not answer', () => {
  it.each([
    ['its nats-server hangs', ['nats-server']],
    ['its orchestrators hang', ['orchestrator-a', 'orchestrator-b']],
  ])('%s: unreachable, exit 5', { timeout: hangMs }, async (_, ids) => {
    const told = await asleep(ids, () =>
      drive.told('rotation', 'plan', '--layers', '1', '--timeout', '3000'),
    );
    expect(told).toMatchObject({ exit: 5 });
    expectHelp(told);
  });
});
