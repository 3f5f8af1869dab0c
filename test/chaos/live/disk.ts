/**
 * A disk that is full in the middle of a rotation, under a layer agent and under the auditor: what
 * cannot be written down does not happen, the log and the status say why, nothing is lost or half
 * done, and once there is room the same rotation goes on to its commit (invariants 5, 8, 13).
 */

import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { readProcesses } from '#cli/mesh/supervisor-record.ts';
import type { GyreRun } from '../../support/gyre.ts';
import { disks, drive } from './mesh.ts';
import { hangMs, until } from '../../support/patience.ts';

interface Ending {
  readonly run: GyreRun;
  /** What `status` said while the disk was full. */
  readonly status: GyreRun;
  readonly log: string;
}

/** A rotation whose middle finds the disk of `id` full, until `status` was asked. */
async function withFullDisk(id: string, code: string): Promise<Ending> {
  const disk = disks.get(id);
  if (disk === undefined) throw new Error(`no disk for ${id}`);
  const { planId } = await drive.approvedPlan();
  const logFile = drive.mesh.layout.logFile(id);
  const from = (await readFile(logFile, 'utf8')).length;
  const logged = async () => (await readFile(logFile, 'utf8')).slice(from);
  let status: GyreRun | undefined;
  const run = await drive.executeAnd(planId, async () => {
    disk.fill();
    try {
      const isLogged = (text: string) => text.includes(`"code":"${code}"`);
      await until(logged, isLogged, `${code} in the log of ${id}`);
      status = await drive.gyre('status');
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
  ])('of %s', { timeout: hangMs }, async (_, id, code) => {
    if (disks.size === 0) return;
    const before = await drive.versions();
    const { run, status, log } = await withFullDisk(id, code);
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
      .poll(async () => (await drive.gyre('status'))?.code, { timeout: 20_000, interval: 500 })
      .toBe(0);
  });
});
