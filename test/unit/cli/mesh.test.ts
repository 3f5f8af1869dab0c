import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { agentConfigCheck } from '#schemas/config.ts';
import { compile } from '#schemas/primitives.ts';
import { slotDefinitions } from '#schemas/layers.ts';
import { PolicyBody } from '#schemas/policy.ts';
import { RegistryBody } from '#schemas/registry.ts';
import { BusError } from '#shared/bus/bus.ts';
import { exportFault } from '#cli/audit/actions.ts';
import { checkDisk, checkNode, checkPermissions } from '#cli/doctor/checks.ts';
import { configOf } from '#cli/mesh/agent-configs.ts';
import { faultOf, lastFault } from '#cli/mesh/agent-log.ts';
import { makePath } from '#cli/mesh/durable-files.ts';
import { layoutOf } from '#cli/mesh/layout.ts';
import { agents, members } from '#cli/mesh/members.ts';
import { channels, channelsOf } from '#shared/core/channels.ts';
import { policyFaults } from '#shared/core/policy-faults.ts';
import { findMesh, meshVersion } from '#cli/mesh/mesh-file.ts';
import { developmentTimes, policyBody } from '#cli/mesh/policy-body.ts';
import { requireFreePort, tryPort } from '#cli/mesh/ports.ts';
import { isRunning, processMark } from '#cli/mesh/process-identity.ts';
import { meshNameOf, provisionMesh } from '#cli/mesh/provisioning.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import { startDetached } from '#cli/mesh/start.ts';
import { acquireLock, releaseLock, runningSupervisor } from '#cli/mesh/supervisor-record.ts';
import { atLeast, findNatsServer, parseNatsVersion, parseSetupRecord } from '#cli/mesh/tools.ts';

const validity = { issuedAt: '2026-01-01T00:00:00.000Z', expiresAt: '2027-01-01T00:00:00.000Z' };

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gyre-unit-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('members', () => {
  test('no id is a channel: an audience is one or the other', () => {
    for (const { id } of members) expect(channels).not.toContain(id);
  });

  test('a layer agent holds the channel of its own layer and no other', () => {
    for (const agent of agents.filter(({ kind }) => kind === 'layer')) {
      expect(channelsOf(agent)).toEqual(['mesh', 'telemetry', `layer-${agent.layer}`]);
    }
    expect(channelsOf({ kind: 'operator' })).toEqual(['mesh', 'operators']);
    for (const kind of ['orchestrator', 'auditor', 'signer'] as const) {
      expect(channelsOf({ kind })).toEqual(channels);
    }
  });
});

describe('documents', () => {
  const policy = policyBody('dev', validity, developmentTimes);
  const registry = registryBody('dev', validity, { 'ML-DSA-87': { sign_ms: 1.5 } });

  test('are of their schemas', () => {
    expect(compile(PolicyBody).errors(policy)).toEqual([]);
    expect(compile(RegistryBody).errors(registry)).toEqual([]);
  });

  test('nobody approves an emergency where whoever makes the mesh wants that', () => {
    expect(policy.policies.rotation.approvals.emergency).toBe(1);
    const body = policyBody('dev', validity, { ...developmentTimes, emergencyApprovals: 0 });
    expect(compile(PolicyBody).errors(body)).toEqual([]);
    expect(body.policies.rotation.approvals).toMatchObject({ emergency: 0, scheduled: 1 });
    expect(policyFaults(body, registry)).toEqual([]);
  });

  test('every slot uses an algorithm of the registry that the policy allows', () => {
    const known = Object.values(registry.algorithms).flat();
    const allowed = Object.values(policy.policies.allowed_algorithms).flat();
    for (const { algorithm } of slotDefinitions) {
      expect(known.find(({ name }) => name === algorithm)?.security_level).toBe(5);
      expect(allowed).toContain(algorithm);
    }
  });

  test('every algorithm that the registry has active is allowed or excepted by name', () => {
    const { allowed_algorithms: allowed, exceptions } = policy.policies;
    const named = [...Object.values(allowed).flat(), ...exceptions.map((each) => each.algorithm)];
    const active = Object.values(registry.algorithms).flat();
    for (const { name } of active.filter(({ status }) => status === 'active')) {
      expect(named).toContain(name);
    }
  });

  test('speeds are those measured, and nothing else', () => {
    const entries = Object.values(registry.algorithms).flat();
    expect(entries.filter(({ performance }) => performance !== undefined)).toMatchObject([
      { name: 'ML-DSA-87', performance: { sign_ms: 1.5 } },
    ]);
  });
});

test('configurations are of their schema and name no absolute path but the library', () => {
  const layout = layoutOf('/somewhere/mesh');
  const token = { kind: 'file', directory: 'token/seeds', pinFile: 'token/pin' } as const;
  for (const member of members) {
    const rootDigest = 'a'.repeat(64);
    const config = configOf(layout, member, { mesh: 'dev', rootDigest, port: 4222, token });
    expect(agentConfigCheck.errors(config)).toEqual([]);
    expect(JSON.stringify(config)).not.toContain('/somewhere');
  }
});

test('how often layer agents say that they live is said to them and to nobody else', () => {
  const token = { kind: 'file', directory: 'token/seeds', pinFile: 'token/pin' } as const;
  const fields = { mesh: 'dev', rootDigest: 'a'.repeat(64), port: 4222, token, heartbeatMs: 500 };
  const told = members.filter((member) => {
    const config = configOf(layoutOf('/somewhere/mesh'), member, fields);
    expect(agentConfigCheck.errors(config)).toEqual([]);
    return config.heartbeatMs === 500;
  });
  expect(told.map(({ kind }) => kind)).toEqual(Array.from({ length: 7 }, () => 'layer'));
});

describe('nats-server', () => {
  test('versions', () => {
    expect(parseNatsVersion('nats-server: v2.15.1\n')).toBe('2.15.1');
    expect(parseNatsVersion('nats-server: 2.9.10')).toBe('2.9.10');
    expect(parseNatsVersion('bash: not found')).toBeNull();
    expect(atLeast('2.10.23', '2.10.23')).toBe(true);
    expect(atLeast('2.11.0', '2.10.23')).toBe(true);
    expect(atLeast('2.10.22', '2.10.23')).toBe(false);
    expect(atLeast('2.9.10', '2.10.23')).toBe(false);
    expect(atLeast('26.10.0', '24.8.0')).toBe(true);
  });

  async function serverOf(version: string): Promise<string> {
    const path = join(folder, `nats-server-${version}`);
    await writeFile(path, `#!/bin/sh\necho "nats-server: v${version}"\n`, { mode: 0o755 });
    return path;
  }

  test('the one that is named is taken, or refused for its age, never replaced', async () => {
    const path = await serverOf('2.14.0');
    expect(await findNatsServer({ GYRE_NATS_SERVER: path })).toEqual({ path, version: '2.14.0' });
    await expect(findNatsServer({ NATS_SERVER: await serverOf('2.9.10') })).rejects.toMatchObject({
      code: 'NATS_SERVER_TOO_OLD',
      hint: expect.stringContaining('make setup'),
    });
    await expect(findNatsServer({ NATS_SERVER: join(folder, 'none') })).rejects.toMatchObject({
      code: 'NATS_SERVER_MISSING',
    });
  });

  test('what the setup found is read as it was written', () => {
    const text =
      "# Written by setup\nexport GYRE_NATS_SERVER='/a b/it'\\''s'\nexport EMPTY=''\nrm -rf x\n";
    expect(parseSetupRecord(text)).toEqual({ GYRE_NATS_SERVER: "/a b/it's" });
  });
});

describe('logs of agents', () => {
  const line = JSON.stringify({
    level: 50,
    agent: 'signer',
    err: { type: 'TokenError', code: 'TOKEN_PIN_WRONG', message: 'refused' },
    remedy: 'correct it',
    msg: 'the agent ends',
  });

  test('the last error speaks by its code', () => {
    expect(faultOf(line)).toEqual({
      code: 'TOKEN_PIN_WRONG',
      message: 'refused',
      remedy: 'correct it',
    });
    expect(faultOf('{"level":30,"msg":"fine"}')).toBeNull();
    expect(faultOf('{broken')).toBeNull();
    expect(faultOf('    at main.ts')).toBeNull();
  });

  test('what an earlier run wrote is not of this one', async () => {
    const path = join(folder, 'signer.log');
    expect(await lastFault(path, 0)).toBeNull();
    await writeFile(path, `${line}\n`);
    expect(await lastFault(path, 0)).toMatchObject({ code: 'TOKEN_PIN_WRONG' });
    expect(await lastFault(path, line.length + 1)).toBeNull();
  });
});

describe('who runs a mesh', () => {
  test('one at a time; what a dead one left does not count', async () => {
    const layout = layoutOf(folder);
    await mkdir(layout.runDirectory);
    await writeFile(layout.lockFile, JSON.stringify({ pid: 2 ** 22 - 1, mark: '1' }));
    expect(await runningSupervisor(layout)).toBeNull();
    await acquireLock(layout);
    expect(await runningSupervisor(layout)).toMatchObject({ pid: process.pid });
    await expect(acquireLock(layout)).rejects.toMatchObject({ code: 'MESH_RUNNING' });
    await releaseLock(layout);
    expect(await runningSupervisor(layout)).toBeNull();
  });

  test('a pid that was given to another process is not the one that was recorded', () => {
    const mark = processMark(process.pid);
    expect(mark).not.toBeNull();
    expect(isRunning({ pid: process.pid, mark: mark ?? '' })).toBe(true);
    expect(isRunning({ pid: process.pid, mark: 'another start' })).toBe(false);
  });
});

test('a port that is taken is refused with what to do', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await expect(requireFreePort(port)).rejects.toMatchObject({
    code: 'PORT_IN_USE',
    hint: expect.stringContaining('--port'),
  });
  await new Promise((resolve) => server.close(resolve));
  expect(await tryPort(port)).toBe(port);
});

describe('a place for a mesh', () => {
  test('folders that are missing are made, once', async () => {
    await makePath(join(folder, 'a', 'b'));
    await makePath(join(folder, 'a', 'b'));
    expect((await stat(join(folder, 'a', 'b'))).isDirectory()).toBe(true);
    await writeFile(join(folder, 'file'), '');
    await expect(makePath(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makePath(join(folder, 'file', 'x'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  test.each(['/proc/gyre-none', '/proc/gyre-none/deeper'])(
    '%s is refused at once',
    async (root) => {
      const token = { kind: 'file' } as const;
      const onProgress = () => undefined;
      const made = provisionMesh({ root, port: 1, token, times: developmentTimes, onProgress });
      await expect(made).rejects.toMatchObject({
        code: 'DIRECTORY_UNWRITABLE',
        reason: expect.stringContaining('/proc'),
      });
    },
  );

  test("a path is refused where the services' sockets would not fit, and taken without them", async () => {
    const root = `/proc/gyre-none/${'x'.repeat(58)}`;
    const token = { kind: 'file' } as const;
    const options = { root, port: 1, token, times: developmentTimes, onProgress: () => undefined };
    const refusal = (services: boolean) => provisionMesh({ ...options, services });
    await expect(refusal(true)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(refusal(false)).rejects.toMatchObject({ code: 'DIRECTORY_UNWRITABLE' });
  });
});

test('an export that cannot be written is told of its own name', async () => {
  const target = join(folder, 'none', 'mesh.audit');
  const error: unknown = await writeFile(`${target}.part`, '').catch((cause: unknown) => cause);
  expect(exportFault(error, target)).toMatchObject({
    code: 'ENOENT',
    reason: expect.not.stringContaining('.part'),
  });
  const other = new BusError('BUS_TIMEOUT', 'late');
  expect(exportFault(other, target)).toBe(other);
});

test('a folder without a mesh, and one with something else in its place', async () => {
  expect(await findMesh(folder)).toBeNull();
  await writeFile(join(folder, 'mesh.json'), '{"version":2}');
  await expect(findMesh(folder)).rejects.toMatchObject({ code: 'MESH_UNREADABLE' });
});

describe('a mesh that is there already', () => {
  async function meshOf(version: number): Promise<void> {
    const fields = { mesh: 'dev', rootDigest: 'a'.repeat(64), port: 4222, token: 'file' };
    const ids = { operators: ['op-1'], agents: ['signer'], adminNkey: `U${'A'.repeat(55)}` };
    const text = JSON.stringify({ version, ...fields, ...ids, createdAtMs: 1 });
    await writeFile(join(folder, 'mesh.json'), text);
  }
  const start = (more: object = {}) =>
    startDetached({ root: folder, onProgress: () => undefined, ...more });

  test('one of an older gyre can be looked at, and is not run: its agents lack rights', async () => {
    await meshOf(1);
    expect(await findMesh(folder)).toMatchObject({ version: 1, mesh: 'dev' });
    await expect(start()).rejects.toMatchObject({
      code: 'MESH_OUTDATED',
      hint: expect.stringContaining('gyre up --dir OTHER'),
    });
  });

  test('its policy is made already: who approves emergencies is not chosen again', async () => {
    await meshOf(meshVersion);
    await expect(start({ emergencyApprovals: 0 })).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('gyre policy'),
    });
    await expect(start({ heartbeatMs: 500 })).rejects.toMatchObject({ code: 'USAGE' });
  });
});

describe('doctor', () => {
  test('an old Node is a failure', () => {
    expect(checkNode({ node: '26.10.0', openssl: '3.5.8' }).verdict).toBe('ok');
    expect(checkNode({ node: '20.1.0', openssl: '3.0.1' }).verdict).toBe('fail');
  });

  test('a key that others may read is found', async () => {
    await mkdir(join(folder, 'a'), { mode: 0o700 });
    await writeFile(join(folder, 'a', 'identity.seed'), 'x', { mode: 0o600 });
    expect((await checkPermissions(folder)).verdict).toBe('ok');
    await writeFile(join(folder, 'a', 'kem.seed'), 'x', { mode: 0o644 });
    expect(await checkPermissions(folder)).toMatchObject({
      verdict: 'fail',
      found: expect.stringContaining('kem.seed'),
    });
  });

  test('a folder that is not there yet is measured at the one above', async () => {
    expect((await checkDisk(join(folder, 'x', 'y'))).found).toContain(folder);
  });
});

test('a mesh is called as its folder, where that is a name', () => {
  expect(meshNameOf('/srv/meshes/payroll-2')).toBe('payroll-2');
  for (const root of ['/home/me/.gyre', '/tmp/Mesh', '/tmp/a b', `/tmp/${'x'.repeat(64)}`, '/']) {
    expect(meshNameOf(root)).toBe('dev');
  }
});
