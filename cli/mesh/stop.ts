/**
 * `gyre down`: asks the supervisor to stop the mesh and waits for it; where a supervisor was killed,
 * ends what it left behind. Nothing is signalled that was not recorded and recognised.
 */
import { rm } from 'node:fs/promises';
import { CliFault } from '../fault.ts';
import type { MeshLayout } from './layout.ts';
import { isRunning, signalProcess } from './process-identity.ts';
import {
  readProcesses,
  releaseLock,
  runningSupervisor,
  stillRunning,
  type ProcessId,
} from './supervisor-record.ts';

export interface Stopped {
  /** False where nothing ran. */
  readonly wasRunning: boolean;
  /** Processes of a supervisor that was killed, ended one by one. */
  readonly orphans: number;
}

const pollMs = 20;
const graceMs = 3_000;

export async function stopMesh(layout: MeshLayout, timeoutMs: number): Promise<Stopped> {
  const records = await readProcesses(layout);
  const supervisor = await runningSupervisor(layout);
  if (supervisor !== null) {
    signalProcess(supervisor.pid, 'SIGTERM', false);
    if (!(await goneWithin([supervisor], timeoutMs))) {
      throw new CliFault({
        code: 'STOP_TIMEOUT',
        reason: `the supervisor (process ${supervisor.pid}) did not stop within ${timeoutMs} ms`,
        hint: 'Wait and try again with a larger --timeout.',
      });
    }
  }
  const left = stillRunning(records);
  await endOrphans(left);
  await rm(layout.processesFile, { force: true });
  if ((await runningSupervisor(layout)) === null) await releaseLock(layout);
  return { wasRunning: supervisor !== null || left.length > 0, orphans: left.length };
}

async function endOrphans(left: readonly ProcessId[]): Promise<void> {
  for (const { pid } of left) signalProcess(pid, 'SIGTERM', false);
  if (await goneWithin(left, graceMs)) return;
  for (const each of left) if (isRunning(each)) signalProcess(each.pid, 'SIGKILL', true);
  await goneWithin(left, graceMs);
}

async function goneWithin(processes: readonly ProcessId[], timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  while (processes.some(isRunning)) {
    if (performance.now() > deadlineMs) return false;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return true;
}
