/** What can be wrong when a mesh is started: a clear error with what to do, and nothing half done. */
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { layoutOf } from '#cli/mesh/layout.ts';
import { freePort } from '#cli/mesh/ports.ts';
import { provisionMesh } from '#cli/mesh/provisioning.ts';
import { requireSoftHsm, toolEnvironment } from '#cli/mesh/tools.ts';
import { gyreJson, runGyre } from '../support/gyre.ts';
import { processes } from '../support/processes.ts';
import { hangMs } from '../support/patience.ts';

interface Fault {
  readonly error: { readonly code: string; readonly reason: string; readonly hint: string };
}

let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gyre-faults-'));
});
afterEach(async () => {
  await runGyre(['down', '--dir', join(folder, 'mesh')]);
  await rm(folder, { recursive: true, force: true });
}, hangMs);

async function up(args: readonly string[] = [], environment: Record<string, string> = {}) {
  const run = await gyreJson<Fault>(['up', '--detach', '--dir', join(folder, 'mesh'), ...args], {
    environment,
  });
  expect(run.code).toBe(1);
  return run.document.error;
}

/** A mesh that is made and not started. */
async function madeMesh(): Promise<void> {
  await provisionMesh({
    root: join(folder, 'mesh'),
    port: await freePort(),
    token: { kind: 'softhsm', libraryPath: requireSoftHsm(await toolEnvironment()) },
    times: { soakMs: 0, overlapMs: 0 },
    onProgress: () => undefined,
  });
}

function runningHere(): string[] {
  return processes()
    .filter(({ command }) => command.includes(folder))
    .map(({ command }) => command);
}

/** That nothing was made and nothing runs. */
async function expectNothing(): Promise<void> {
  expect((await readdir(folder)).filter((name) => name !== 'nats-server')).toEqual([]);
  expect(runningHere()).toEqual([]);
}

describe('before anything is made', () => {
  test('a nats-server that is too old', async () => {
    const old = join(folder, 'nats-server');
    await writeFile(old, '#!/bin/sh\necho "nats-server: v2.9.10"\n', { mode: 0o755 });
    expect(await up([], { GYRE_NATS_SERVER: old })).toMatchObject({
      code: 'NATS_SERVER_TOO_OLD',
      reason: expect.stringContaining('2.9.10'),
      hint: expect.stringContaining('make setup'),
    });
    await expectNothing();
  });

  test('no nats-server', async () => {
    const fault = await up([], { GYRE_NATS_SERVER: join(folder, 'none') });
    expect(fault).toMatchObject({ code: 'NATS_SERVER_MISSING' });
    await expectNothing();
  });

  test('no SoftHSM2: the file token is offered by name, not taken', async () => {
    const fault = await up([], { GYRE_SOFTHSM_LIB: join(folder, 'none.so') });
    expect(fault).toMatchObject({
      code: 'TOKEN_LIBRARY_MISSING',
      hint: expect.stringContaining('--token file'),
    });
    await expectNothing();
  });

  test('a port in use', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const fault = await up(['--port', String(port)]);
    expect(fault).toMatchObject({
      code: 'PORT_IN_USE',
      reason: expect.stringContaining(String(port)),
      hint: expect.stringContaining('--port'),
    });
    await new Promise((resolve) => server.close(resolve));
    await expectNothing();
  });

  test('a path too long for unix sockets', async () => {
    const long = join(folder, 'x'.repeat(100));
    const run = await gyreJson<Fault>(['up', '--detach', '--dir', long]);
    expect(run).toMatchObject({ code: 2, document: { error: { code: 'USAGE' } } });
    await expectNothing();
  });
});

test('a folder that holds something else is left as it is', { timeout: hangMs }, async () => {
  await mkdir(join(folder, 'mesh'));
  await writeFile(join(folder, 'mesh', 'thesis.txt'), 'mine');
  expect(await up()).toMatchObject({ code: 'DIRECTORY_TAKEN' });
  expect(await readdir(folder)).toEqual(['mesh']);
  expect(await readFile(join(folder, 'mesh', 'thesis.txt'), 'utf8')).toBe('mine');
});

test(
  'a wrong PIN is tried once, stops everything, and can be corrected',
  { timeout: hangMs },
  async () => {
    await madeMesh();
    const layout = layoutOf(join(folder, 'mesh'));
    const pinFile = join(layout.tokenDirectory, 'pin');
    const pin = await readFile(pinFile, 'utf8');
    await writeFile(pinFile, '0000');
    const fault = await up();
    expect(fault).toMatchObject({ code: 'TOKEN_PIN_WRONG' });
    expect(fault.hint).not.toBe('');
    expect(runningHere()).toEqual([]);
    const log = await readFile(layout.logFile('signer'), 'utf8');
    expect(log.match(/"code":"TOKEN_PIN_WRONG"/g)?.length).toBe(1);
    await writeFile(pinFile, pin);
    expect(await runGyre(['up', '--detach', '--dir', layout.root])).toMatchObject({ code: 0 });
  },
);
