/**
 * A disk that is full in the middle of a rotation, under a layer agent and under the auditor: what
 * cannot be written down does not happen, the log and the status say why, nothing is lost or half
 * done, and once there is room the same rotation goes on to its commit (invariants 5, 8, 13).
 */

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memberFiles } from '#cli/mesh/layout.ts';
import { readProcesses } from '#cli/mesh/supervisor-record.ts';
import type { GyreRun } from '../support/gyre.ts';
import { liveMesh, type Drive } from './drive.ts';
import { SmallDisk } from './small-disk.ts';

const slow = 60_000;
/** Of the layer that is activated second. */
const layerAgent = { id: 'encryption-a', kind: 'layer' };
const auditor = { id: 'auditor', kind: 'auditor' };

let drive: Drive | undefined;
const disks = new Map<string, SmallDisk>();

beforeAll(async () => {
  for (const { id } of [layerAgent, auditor]) {
    const disk = SmallDisk.mount();
    if (disk !== null) disks.set(id, disk);
  }
  if (disks.size < 2) return;
  drive = await liveMesh({
    prepare: async (layout) => {
      for (const member of [layerAgent, auditor]) {
        const state = `${layout.memberDirectory(member)}/${memberFiles.state}`;
        await disks.get(member.id)?.carry(state);
      }
    },
  });
}, 90_000);

afterAll(async () => {
  await drive?.end();
  for (const disk of disks.values()) disk.unmount();
}, slow);

interface Ending {
  readonly run: GyreRun;
  /** What `status` said while the disk was full. */
  readonly status: GyreRun;
  readonly log: string;
}

/** A rotation whose middle finds the disk of `id` full, until `status` was asked. */
async function withFullDisk(mesh: Drive, id: string, code: string): Promise<Ending> {
  const disk = disks.get(id);
  if (disk === undefined) throw new Error(`no disk for ${id}`);
  const { planId } = await mesh.approvedPlan();
  const logFile = mesh.mesh.layout.logFile(id);
  const from = (await readFile(logFile, 'utf8')).length;
  const logged = async () => (await readFile(logFile, 'utf8')).slice(from);
  let status: GyreRun | undefined;
  const run = await mesh.executeAnd(planId, async () => {
    disk.fill();
    try {
      for (let tries = 0; !(await logged()).includes(`"code":"${code}"`); tries += 1) {
        if (tries > 200) throw new Error(`no ${code} in the log of ${id}`);
        await sleep(20);
      }
      status = await mesh.gyre('status');
    } finally {
      disk.free();
    }
  });
  if (status === undefined) throw new Error('the status was not asked');
  return { run, status, log: await logged() };
}

describe('a disk that is full in the middle of a rotation', () => {
  it.each([
    ['a layer agent', 'encryption-a', 'DISK_FULL'],
    ['the auditor', 'auditor', 'AUDIT_DISK_FULL'],
  ])('of %s', { timeout: slow }, async (_, id, code) => {
    if (drive === undefined) return;
    const before = await drive.versions();
    const { run, status, log } = await withFullDisk(drive, id, code);
    expect(run.code, run.stdout + run.stderr).toBe(0);
    expect(status.code).toBe(1);
    expect(status.stdout).toContain(code);
    expect(log).toContain(`"code":"${code}"`);
    const after = await drive.versions();
    expect([...after].filter(([slot, at]) => at !== (before.get(slot) ?? 0) + 1)).toEqual([]);
    const records = await readProcesses(drive.mesh.layout);
    expect(records.filter(({ restarts }) => restarts > 0).map((record) => record.id)).toEqual([]);
    // What failed last may have been an advertisement: the next one comes within two seconds.
    await expect
      .poll(async () => (await drive?.gyre('status'))?.code, { timeout: 20_000, interval: 500 })
      .toBe(0);
  });

  it('leaves an audit that verifies, offline', { timeout: slow }, async () => {
    if (drive === undefined) return;
    const verdict = await drive.verifyAudit();
    expect(verdict.code, verdict.stdout + verdict.stderr).toBe(0);
  });
});
