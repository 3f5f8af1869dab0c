/**
 * A supervisor keeps its processes running, and whatever happens to it, nothing is left behind; where
 * somebody changed a file of the mesh directory, nothing starts.
 */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { memberFiles } from '#cli/mesh/layout.ts';
import { readProcesses, runningSupervisor } from '#cli/mesh/supervisor-record.ts';
import { startDetached } from '#cli/mesh/start.ts';
import { stopMesh } from '#cli/mesh/stop.ts';
import { expectHelp } from '../drive.ts';
import { drive } from './mesh.ts';
import { hangMs, patienceMs, until } from '../../support/patience.ts';

async function startAgain(): Promise<void> {
  await startDetached({ root: drive.mesh.layout.root, onProgress: () => undefined });
}

test('1. an agent that was killed comes back, and is counted', { timeout: hangMs }, async () => {
  const before = await drive.mesh.pidOf('phi-a');
  process.kill(before, 'SIGKILL');
  await drive.mesh.restarted('phi-a', before);
  const record = (await readProcesses(drive.mesh.layout)).find(({ id }) => id === 'phi-a');
  expect(record?.restarts).toBe(1);
});

test('2. so does the nats-server, and the agents go on', { timeout: hangMs }, async () => {
  const before = await drive.mesh.pidOf('nats-server');
  const agent = await drive.mesh.pidOf('phi-a');
  process.kill(before, 'SIGKILL');
  await drive.mesh.restarted('nats-server', before);
  expect(await drive.mesh.pidOf('phi-a')).toBe(agent);
});

test('3. one that hangs is ended with the rest', { timeout: hangMs }, async () => {
  process.kill(await drive.mesh.pidOf('network-a'), 'SIGSTOP');
  expect(await stopMesh(drive.mesh.layout, patienceMs)).toEqual({ wasRunning: true, orphans: 0 });
  expect(drive.mesh.running()).toEqual([]);
});

describe('a mesh directory that somebody changed', () => {
  const files = [
    ['a signature in the trust bundle', 'TRUST_REFUSED', ['trust', 'bundle.json']],
    [
      'a byte of an identity seed',
      'NOT_ENROLLED',
      ['agents', 'database-a', memberFiles.identitySeed],
    ],
  ] as const;

  let before: readonly string[] = [];

  beforeAll(async () => {
    before = await entries();
  }, hangMs);

  it.each(files)('%s: nothing starts (%s)', { timeout: hangMs }, async (_, code, names) => {
    const file = join(drive.mesh.layout.root, ...names);
    const original = await readFile(file);
    await writeFile(file, withOneChange(original));
    const told = await drive.told('up', '--detach');
    await writeFile(file, original);
    expect(told).toMatchObject({ exit: 1, code });
    expectHelp(told);
    expect(drive.mesh.running()).toEqual([]);
    expect(await runningSupervisor(drive.mesh.layout)).toBeNull();
    expect(await entries()).toEqual(before);
  });
});

test(
  '4. a supervisor that was killed: agents end, down ends the rest',
  { timeout: hangMs },
  async () => {
    await startAgain();
    const supervisor = await runningSupervisor(drive.mesh.layout);
    const natsServer = await drive.mesh.pidOf('nats-server');
    process.kill(supervisor?.pid ?? 0, 'SIGKILL');
    const areGone = (pids: readonly number[]) => pids.every((pid) => pid === natsServer);
    await until(() => drive.mesh.running(), areGone, 'the agents of a killed supervisor end');
    await expect(startAgain()).rejects.toMatchObject({ code: 'MESH_RUNNING' });
    expect(drive.mesh.running()).toEqual([natsServer]);
    expect(await stopMesh(drive.mesh.layout, patienceMs)).toEqual({ wasRunning: true, orphans: 1 });
    expect(drive.mesh.running()).toEqual([]);
  },
);

test('5. after all that it starts again', { timeout: hangMs }, async () => {
  await startAgain();
  const processes = await readProcesses(drive.mesh.layout);
  expect(processes.filter(({ ready }) => ready)).toHaveLength(12);
});

/** What lies in the mesh directory, but for what its processes write while they run. */
async function entries(): Promise<string[]> {
  const names = await readdir(drive.mesh.layout.root, { recursive: true });
  return names.filter((name) => !/^logs|^nats|^run|-(?:wal|shm)$/.test(name)).toSorted();
}

/** The last letter or byte that carries something is another one. */
function withOneChange(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  const at = changed.lastIndexOf('"signature"') + 40;
  if (at < 40) changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  else changed[at] = changed[at] === 65 ? 66 : 65;
  return changed;
}
