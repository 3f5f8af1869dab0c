/**
 * kill -9 of every kind of process in the middle of a rotation: it ends committed or rolled back,
 * all slots on one version, the audit holds, and no key is lost (invariants 2, 3, 8, 13, 15).
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { liveMesh, type Drive } from './drive.ts';
import { hangMs } from '../support/patience.ts';

let drive: Drive;

beforeAll(async () => {
  drive = await liveMesh();
}, hangMs);

afterAll(async () => {
  await drive.mesh.remove();
  const left = drive.mesh.running();
  if (left.length > 0) throw new Error(`processes are left: ${left.join(' ')}`);
}, hangMs);

async function expectSurvival(kill: () => unknown): Promise<void> {
  const before = await drive.versions();
  const { planId } = await drive.approvedPlan();
  await drive.executeAnd(planId, kill);
  const phase = await drive.settled(planId);
  expect(phase).not.toBe('locked_out');
  const after = await drive.versions();
  const risen = [...after].filter(([slot, version]) => version > (before.get(slot) ?? 0));
  expect(risen).toHaveLength(phase === 'rolled_back' ? 0 : after.size);
}

describe('kill -9 in the middle of a rotation', () => {
  const victims = ['orchestrator-a', 'orchestrator-b', 'encryption-a', 'auditor', 'nats-server'];
  it.each(victims)(
    'of %s',
    async (victim) => {
      await expectSurvival(() => drive.mesh.kill(victim));
    },
    hangMs,
  );

  it(
    "of the signer's token process",
    async () => {
      if (drive.mesh.mesh.token !== 'softhsm') {
        console.warn('NOT TESTED: the file token has no process of its own');
        return;
      }
      const pid = await drive.mesh.tokenChildPid();
      await expectSurvival(() => process.kill(pid, 'SIGKILL'));
    },
    hangMs,
  );

  it(
    'and the audit of it all verifies, offline',
    async () => {
      const verdict = await drive.verifyAudit();
      expect(verdict.code, verdict.stdout + verdict.stderr).toBe(0);
    },
    hangMs,
  );
});
