/**
 * `make load`: a mesh whose layers are services, a load on all of them, and under it: a rotation of all
 * layers, every agent, orchestrator, the signer and the bus stopped for a while, and a rotation that
 * layer 5's own key store refuses and that goes back. Ends with 1 where one request failed, or where
 * anything that was ever written does not come back as it was.
 *
 * GYRE_LOAD_SECONDS: length of each phase (10), GYRE_LOAD_PATIENTS: users beside the doctor (2).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { layoutOf, memberFiles } from '#cli/mesh/layout.ts';
import { readProcesses } from '#cli/mesh/supervisor-record.ts';
import { gyreJson, runGyre } from '../support/gyre.ts';
import { refuseNewPrimaries } from '../demo/sabotage.ts';
import { phaseTable, sumOf, type PhaseReport } from './phase-book.ts';
import { StackLoad } from './stack-load.ts';

const seconds = Number(process.env['GYRE_LOAD_SECONDS'] ?? 10);
const patients = Number(process.env['GYRE_LOAD_PATIENTS'] ?? 2);
const folder = await mkdtemp(join(tmpdir(), 'gyre-load-'));
const root = join(folder, 'mesh');
const layout = layoutOf(root);

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function gyre(...words: string[]): Promise<void> {
  const run = await runGyre([...words, '--dir', root]);
  if (run.code !== 0) throw new Error(`gyre ${words.join(' ')}: ${run.stderr.trim()}`);
}

/** A rotation of all layers; how it ended. */
async function rotate(): Promise<string> {
  const { document } = await gyreJson<{ planId: string }>([
    'rotation',
    'plan',
    '--layers',
    '1-7',
    '--dir',
    root,
  ]);
  await gyre('rotation', 'approve', document.planId, '--as', 'op-2');
  const executed = await gyreJson<{ phase: string }>([
    'rotation',
    'execute',
    document.planId,
    '--dir',
    root,
  ]);
  return executed.document.phase;
}

async function pause(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs));
}

/** All but the services and the supervisor stand still. */
async function withoutMesh(durationMs: number): Promise<void> {
  const processes = await readProcesses(layout);
  const pids = processes.flatMap(({ id, pid }) =>
    pid === null || id.endsWith('-service') ? [] : [pid],
  );
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  try {
    await pause(durationMs);
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  }
}

function print(reports: readonly PhaseReport[], written: number): number {
  console.log(`node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`);
  console.log(phaseTable(reports));
  const failed = sumOf(reports, 'failed');
  const requests = sumOf(reports, 'requests');
  console.log(`${requests} requests, ${failed} failed; ${written} things written, each read again`);
  return failed;
}

try {
  tell('a mesh whose layers are services');
  await gyre('up', '--detach', '--services', '--overlap', '10000');
  const load = new StackLoad(layout, { patients });
  await load.start();
  load.phase('before');
  await pause(seconds * 1_000);
  load.phase('a rotation of all layers');
  const turned = await rotate();
  tell(`the rotation is ${turned}`);
  load.phase('overlap and retirement');
  await pause(seconds * 1_000);
  load.phase('agents, signer and bus stand still');
  await withoutMesh(seconds * 1_000);
  load.phase('a rotation that goes back');
  const repair = refuseNewPrimaries(join(layout.serviceDirectory(5), memberFiles.state));
  const back = await rotate();
  repair();
  tell(`the rotation is ${back}`);
  load.phase('after');
  await pause(seconds * 1_000);
  await load.readAll('everything read once more');
  const failed = print(await load.stop(), load.written);
  const isAsMeant = turned === 'committed' && back === 'rolled_back';
  if (!isAsMeant) tell(`committed and rolled_back were expected, not ${turned} and ${back}`);
  process.exitCode = failed === 0 && isAsMeant ? 0 : 1;
} finally {
  await runGyre(['down', '--dir', root]);
  await rm(folder, { recursive: true, force: true });
}
