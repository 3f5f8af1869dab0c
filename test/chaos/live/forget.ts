/**
 * The bus made to forget in the middle of a rotation, by an administrator who shrinks its stream to
 * one message: the auditor notices and puts everything back, the rotation comes to one end, whoever
 * reads the log anew reads the same story, and the audit holds (invariants 2, 5, 13, 15).
 */

import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks, type RotationDetails } from '#cli/answers.ts';
import type { AuditHead } from '#schemas/queries.ts';
import { Administrator } from '../administrator.ts';
import { drive } from './mesh.ts';
import { hangMs } from '../../support/patience.ts';

const orchestrators = ['orchestrator-a', 'orchestrator-b'] as const;

let administrator: Administrator;

/** What each orchestrator knows of a rotation at rest, asked of each by name. */
async function stories(planId: string): Promise<RotationDetails[]> {
  return Promise.all(
    orchestrators.map((agentId) =>
      drive.as('op-1', (op) =>
        op.askAgent(agentId, { ask: 'rotation-show', planId, waitMs: 0 }, checks.rotationDetails),
      ),
    ),
  );
}

function auditHead(): Promise<AuditHead> {
  return drive.as('op-1', (op) =>
    op.askAgent(op.agentOf('auditor'), { ask: 'audit-head' }, checks.auditHead),
  );
}

/** Executes with `harm` in the middle; the plan's id once it is at rest on one set of versions. */
async function survives(harm: () => Promise<unknown>): Promise<string> {
  const before = await drive.versions();
  const { planId } = await drive.approvedPlan();
  const run = await drive.executeAnd(planId, harm);
  expect([0, 7], run.stdout + run.stderr).toContain(run.code);
  const phase = await drive.settled(planId);
  expect(phase === 'rolled_back').toBe(run.code === 7);
  const after = await drive.versions();
  const risen = [...after].filter(([slot, version]) => version > (before.get(slot) ?? 0));
  expect(risen).toHaveLength(phase === 'rolled_back' ? 0 : after.size);
  return planId;
}

describe('a control stream that forgets in the middle of a rotation', () => {
  beforeAll(async () => {
    administrator = await Administrator.of(drive.mesh);
  });
  afterAll(() => administrator.close());

  let planId = '';

  it('is noticed and put back, and the rotation ends', { timeout: hangMs }, async () => {
    const { last } = await administrator.boundsOf('GYRE_CONTROL');
    planId = await survives(() => administrator.truncate('GYRE_CONTROL'));
    const { first } = await administrator.boundsOf('GYRE_CONTROL');
    expect(first, 'the stream was not truncated').toBeGreaterThan(last);
    expect((await auditHead()).restored).toBeGreaterThan(0);
    const log = await readFile(drive.mesh.layout.logFile('auditor'), 'utf8');
    expect(log).toContain('"code":"BUS_LOST_EVENTS"');
    expect(log).toContain('event put back');
  });

  it('changes no decision, whoever reads it anew', { timeout: hangMs }, async () => {
    const [one, other] = await stories(planId);
    expect(one).toBeDefined();
    expect(other).toEqual(one);
    expect(one?.state.decision).not.toBe('none');
    const commits = one?.timeline.filter(({ event }) => event === 'commit-decided');
    expect(commits).toHaveLength(one?.state.decision === 'commit' ? 1 : 0);
    for (const id of orchestrators) {
      const pid = await drive.mesh.pidOf(id);
      await drive.mesh.kill(id);
      await drive.mesh.restarted(id, pid);
    }
    const again = await stories(planId);
    // Retirement goes on meanwhile; what was decided and how it came to it does not change.
    for (const story of again) {
      expect(story.state.decision).toBe(one?.state.decision);
      expect(story.state.commit).toEqual(one?.state.commit);
      expect(story.timeline.slice(0, one?.timeline.length)).toEqual(one?.timeline);
    }
  });

  it('is noticed when nobody was there to see it', { timeout: hangMs }, async () => {
    const watchers = ['auditor', ...orchestrators] as const;
    await survives(async () => {
      const pids = await Promise.all(watchers.map((id) => drive.mesh.pidOf(id)));
      await Promise.all(watchers.map((id) => drive.mesh.kill(id)));
      await administrator.truncate('GYRE_CONTROL');
      await administrator.truncate('GYRE_AUDIT');
      await Promise.all(watchers.map((id, at) => drive.mesh.restarted(id, pids[at] ?? 0)));
    });
    expect((await auditHead()).restored).toBeGreaterThan(0);
  });

  it('leaves an audit that verifies, offline', { timeout: hangMs }, async () => {
    const verdict = await drive.verifyAudit();
    expect(verdict.code, verdict.stdout + verdict.stderr).toBe(0);
  });
});
