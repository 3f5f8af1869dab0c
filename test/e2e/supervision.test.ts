/** A supervisor keeps its processes running, and whatever happens to it, nothing is left behind. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readProcesses, runningSupervisor } from '#cli/mesh/supervisor-record.ts';
import { startDetached } from '#cli/mesh/start.ts';
import { stopMesh } from '#cli/mesh/stop.ts';
import { TestMesh } from '../support/mesh.ts';

const slow = 120_000;
const stopTimeoutMs = 30_000;
let mesh: TestMesh;

beforeAll(async () => {
  mesh = await TestMesh.start();
}, slow);
afterAll(() => mesh.remove(), slow);

async function startAgain(): Promise<void> {
  await startDetached({ root: mesh.layout.root, onProgress: () => undefined });
}

async function eventually(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + stopTimeoutMs;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`still running: ${mesh.running().join()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('1. an agent that was killed comes back, and is counted', { timeout: slow }, async () => {
  const before = await mesh.pidOf('phi-a');
  process.kill(before, 'SIGKILL');
  await mesh.restarted('phi-a', before);
  const record = (await readProcesses(mesh.layout)).find(({ id }) => id === 'phi-a');
  expect(record?.restarts).toBe(1);
});

test('2. so does the nats-server, and the agents go on', { timeout: slow }, async () => {
  const before = await mesh.pidOf('nats-server');
  const agent = await mesh.pidOf('phi-a');
  process.kill(before, 'SIGKILL');
  await mesh.restarted('nats-server', before);
  expect(await mesh.pidOf('phi-a')).toBe(agent);
});

test('3. one that hangs is ended with the rest', { timeout: slow }, async () => {
  process.kill(await mesh.pidOf('network-a'), 'SIGSTOP');
  expect(await stopMesh(mesh.layout, stopTimeoutMs)).toEqual({ wasRunning: true, orphans: 0 });
  expect(mesh.running()).toEqual([]);
});

test(
  '4. a supervisor that was killed: agents end, down ends the rest',
  { timeout: slow },
  async () => {
    await startAgain();
    const supervisor = await runningSupervisor(mesh.layout);
    const natsServer = await mesh.pidOf('nats-server');
    process.kill(supervisor?.pid ?? 0, 'SIGKILL');
    await eventually(() => mesh.running().every((pid) => pid === natsServer));
    await expect(startAgain()).rejects.toMatchObject({ code: 'MESH_RUNNING' });
    expect(mesh.running()).toEqual([natsServer]);
    expect(await stopMesh(mesh.layout, stopTimeoutMs)).toEqual({ wasRunning: true, orphans: 1 });
    expect(mesh.running()).toEqual([]);
  },
);

test('5. after all that it starts again', { timeout: slow }, async () => {
  await startAgain();
  const processes = await readProcesses(mesh.layout);
  expect(processes.filter(({ ready }) => ready)).toHaveLength(12);
});
