import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { isRunning, isSuspended, processMark } from '#cli/mesh/process-identity.ts';
import { isAnswering, isHealthy, lockoutsOf, type Status } from '#cli/status/collect.ts';
import { renderStatus } from '#cli/status/render.ts';
import { plainStyle } from '#cli/style.ts';

const digest = 'd'.repeat(64);
const document = { version: 1, digest };
const none = { ok: false, code: 'BUS_UNREACHABLE', reason: 'the bus cannot be reached' } as const;

const healthy: Status = {
  dir: '/mesh',
  rootDigest: digest,
  supervisorPid: 1,
  processes: [
    { id: 'orchestrator-b', pid: 2, alive: true, suspended: false, ready: true, restarts: 0 },
  ],
  orchestrators: [
    { agentId: 'orchestrator-a', ok: true },
    { agentId: 'orchestrator-b', ok: true },
  ],
  lockouts: [],
  mesh: {
    ok: true,
    value: {
      orchestrator: 'orchestrator-a',
      mesh: 'dev',
      rootDigest: digest,
      registry: document,
      policy: document,
      documents: { root: document, registry: document, policy: document },
      stale: [],
      revoked: [],
      lockouts: [],
      refusals: {},
      askedAtMs: 0,
      layers: [],
      rotations: [],
    },
  },
  signer: {
    ok: true,
    value: {
      kind: 'file',
      label: 'gyre',
      mode: 'file',
      isHsm: false,
      notice: 'file token: not an HSM',
      keys: [],
      canaryOk: true,
      childRestarts: 0,
    },
  },
  audit: {
    ok: true,
    value: {
      auditor: 'auditor',
      treeSize: 1,
      rootHash: digest,
      restored: 0,
      refused: 0,
      lastSequence: 1,
    },
  },
};

describe('the verdict', () => {
  test('one silent orchestrator is not healthy, though the other answers', () => {
    expect(isHealthy(healthy)).toBe(true);
    const status: Status = {
      ...healthy,
      orchestrators: [
        { agentId: 'orchestrator-a', ok: true },
        { agentId: 'orchestrator-b', ok: false, code: 'ORCH-8013', reason: 'no answer of b' },
      ],
    };
    expect(isHealthy(status)).toBe(false);
    expect(isAnswering(status)).toBe(true);
    expect(renderStatus(status, plainStyle)).toContain('  ORCH-8013 no answer of b');
  });

  test('a suspended process is shown as that', () => {
    const [one] = healthy.processes;
    if (one === undefined) throw new Error('no process');
    const status = { ...healthy, processes: [{ ...one, suspended: true, ready: false }] };
    expect(isHealthy(status)).toBe(false);
    expect(renderStatus(status, plainStyle)).toMatch(/orchestrator-b +2 +suspended/);
  });
});

test('columns line up where nobody answers', () => {
  const silent = { ...healthy, orchestrators: [], mesh: none, signer: none, audit: none };
  const places = renderStatus(silent, plainStyle)
    .split('\n')
    .filter((line) => line.includes('BUS_UNREACHABLE') || line.includes(digest))
    .map((line) => Math.max(line.indexOf('BUS_UNREACHABLE'), line.indexOf(digest)));
  expect(places).toEqual([15, 15, 15, 15]);
});

test('a stopped process runs and is suspended', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)']);
  try {
    await once(child, 'spawn');
    const pid = child.pid ?? 0;
    const mark = processMark(pid) ?? '';
    expect(isSuspended(pid)).toBe(false);
    child.kill('SIGSTOP');
    await expect.poll(() => isSuspended(pid)).toBe(true);
    expect(isRunning({ pid, mark })).toBe(true);
    child.kill('SIGCONT');
    await expect.poll(() => isSuspended(pid)).toBe(false);
  } finally {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
  expect(isSuspended(child.pid ?? 0)).toBe(false);
});

test('an agent without heartbeats is named, and decides nothing about the verdict', () => {
  const layers = [
    {
      agentId: 'database-a',
      adapter: 'embedded',
      ready: true,
      slots: 2,
      frozen: 0,
      silentMs: 12_300,
    },
    { agentId: 'phi-a', adapter: 'embedded', ready: true, slots: 2, frozen: 0 },
  ];
  const mesh = healthy.mesh.ok ? { ...healthy.mesh.value, layers } : undefined;
  if (mesh === undefined) throw new Error('the mesh of this test answers');
  const status: Status = { ...healthy, mesh: { ok: true, value: mesh } };
  expect(isHealthy(status)).toBe(true);
  const text = renderStatus(status, plainStyle);
  expect(text).toContain('database-a: no heartbeat for 12.3 s');
  expect(text).not.toContain('phi-a');
});

test('an agent that has yet to take a newer policy is named', () => {
  const { mesh } = healthy;
  if (!mesh.ok) throw new Error('the mesh of this test answers');
  const documents = { ...mesh.value.documents, policy: { version: 2, digest } };
  const layers = [
    {
      agentId: 'phi-a',
      adapter: 'embedded',
      ready: true,
      slots: 2,
      frozen: 0,
      documents: { registry: 1, policy: 1 },
    },
    {
      agentId: 'network-a',
      adapter: 'embedded',
      ready: true,
      slots: 3,
      frozen: 0,
      documents: { registry: 1, policy: 2 },
    },
  ];
  const value = { ...mesh.value, documents, layers };
  const text = renderStatus({ ...healthy, mesh: { ok: true, value } }, plainStyle);
  expect(text).toContain('phi-a: still works by policy 1');
  expect(text).not.toMatch(/network-a: still|by registry/);
});

test('who is locked out is named, until when and by whom', () => {
  const untilMs = Date.UTC(2030, 0, 2, 3, 4, 5);
  const by = ['orchestrator-a', 'orchestrator-b'];
  const lockouts = [{ sender: 'op-2', code: 'ORCH-8011', untilMs, by }];
  expect(isHealthy({ ...healthy, lockouts })).toBe(true);
  expect(renderStatus({ ...healthy, lockouts }, plainStyle)).toContain(
    '  locked out   op-2 until 2030-01-02T03:04:05.000Z (ORCH-8011: it offered a bad document), by orchestrator-a, orchestrator-b',
  );
});

test('each agent locks out by itself, and each is named that says so', () => {
  if (!healthy.mesh.ok) throw new Error('the mesh answers');
  const shown = (untilMs: number, sender = 'op-2') => ({
    sender,
    code: 'ORCH-8010' as const,
    untilMs,
  });
  const layer = { agentId: 'phi-a', adapter: 'embedded', ready: true, slots: 1, frozen: 0 };
  const value = { ...healthy.mesh.value, layers: [{ ...layer, lockouts: [shown(9)] }] };
  const mesh = { ok: true, value } as const;
  const others: Parameters<typeof lockoutsOf>[1] = [
    { by: 'signer', answer: { ok: true, value: { lockouts: [shown(5)] } } },
    { by: 'auditor', answer: { ok: true, value: {} } },
    { by: 'auditor-b', answer: none },
  ];
  expect(lockoutsOf([mesh, none, mesh], others)).toEqual([
    { ...shown(9), by: ['signer', 'phi-a'] },
  ]);
  expect(lockoutsOf([none], [])).toEqual([]);
});

test('a process that does not start says why, and what to do', () => {
  const fault = { code: 'ORCH-8010', message: 'a stored copy was altered', remedy: 'move it away' };
  const broken = { id: 'phi-a', pid: null, alive: false, suspended: false, ready: false };
  const processes = [{ ...broken, restarts: 3, fault }];
  const text = renderStatus({ ...healthy, processes }, plainStyle);
  expect(text).toContain('phi-a: ORCH-8010 a stored copy was altered\n    move it away');
  const back = [{ ...broken, alive: true, ready: true, restarts: 3, fault }];
  expect(renderStatus({ ...healthy, processes: back }, plainStyle)).not.toContain('ORCH-8010');
});

test('one thing alone is called root digest', () => {
  const text = renderStatus(healthy, plainStyle);
  expect(text).toMatch(/documents +root 1 /);
  expect(text).toMatch(/audit .* tree hash/);
  expect(text.match(/root/g)).toHaveLength(2);
});

test('an expired document is shown as that', () => {
  const { mesh } = healthy;
  if (!mesh.ok) throw new Error('the mesh of this test answers');
  const stale: Status = {
    ...healthy,
    mesh: { ok: true, value: { ...mesh.value, stale: ['policy'] } },
  };
  expect(renderStatus(stale, plainStyle)).toMatch(/policy 1 .* expired/);
});

test('where layer 4 has its root KEK is shown as it says it, or why it does not', () => {
  expect(renderStatus(healthy, plainStyle)).not.toContain('root KEK');
  const notice = 'in token gyre-root, software token (SoftHSM2): not an HSM';
  const told = { ...healthy, rootKey: { ok: true, value: { kind: 'token', notice } } } as const;
  expect(renderStatus(told, plainStyle)).toContain(`  root KEK     ${notice}`);
  const away = { ...none, code: 'UNREACHABLE' };
  const silent = renderStatus({ ...healthy, rootKey: away }, plainStyle);
  expect(silent).toContain('  root KEK     UNREACHABLE');
});

describe('how fresh what is shown is, and where it is', () => {
  const nowMs = Date.UTC(2027, 0, 15, 12, 0, 10);
  const textOf = (status: Status) => renderStatus(status, plainStyle, nowMs);

  test('for how long each process has been as it is', () => {
    const one = {
      id: 'phi-service',
      pid: 2,
      alive: true,
      suspended: false,
      ready: true,
      restarts: 1,
      sinceMs: nowMs - 1_200,
    };
    expect(textOf({ ...healthy, processes: [one] })).toMatch(/phi-service +2 +ready +1\.2 s +1$/m);
    const gone = { ...one, pid: null, alive: false, ready: false, sinceMs: nowMs - 300 };
    expect(textOf({ ...healthy, processes: [gone] })).toMatch(
      /phi-service +– +not running +300 ms/,
    );
    // Just killed: the record is still that of its life.
    const killed = { ...one, alive: false, ready: false };
    expect(textOf({ ...healthy, processes: [killed] })).toMatch(/phi-service +2 +not running +1$/m);
  });

  test('when the layers were asked, and what is attached to them', () => {
    if (!healthy.mesh.ok) throw new Error('the mesh of this test answers');
    const layers = ['embedded', 'database-service-postgresql', 'json-file'].map(
      (adapter, index) => ({
        agentId: `layer-${index}-a`,
        adapter,
        ready: true,
        slots: 2,
        frozen: 0,
      }),
    );
    const value = { ...healthy.mesh.value, layers, askedAtMs: nowMs - 1_000 };
    const text = textOf({ ...healthy, mesh: { ok: true, value } });
    expect(text).toContain('3 of 3 ready, as they said at 12:00:09Z');
    expect(text.match(/turns what is attached.*/g)).toEqual(['turns what is attached, json-file']);
    expect(text).toContain('layer-2-a: turns what is attached, json-file');
  });

  test('where clients reach layer 3', () => {
    const network = { host: '::1', port: 8443, by: 'service', roots: '/mesh/roots.pem' } as const;
    const text = textOf({ ...healthy, network });
    expect(text).toContain("  network      https://[::1]:8443, layer 3's service");
    expect(text).toContain('clients trust /mesh/roots.pem');
    expect(textOf(healthy)).not.toContain('  network ');
  });
});
