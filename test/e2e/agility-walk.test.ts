/**
 * What makes a live mesh agile, through the command line alone: its documents, algorithms and epochs can
 * be seen, two agents negotiate and anyone computes it again without the mesh, and root, registry and
 * policy are amended and secrets renewed in the middle of a rotation, which ends.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { memberFiles } from '#cli/mesh/layout.ts';
import {
  MeshWalk,
  type Fault,
  type Rotation,
  type Standing,
  type WalkStatus,
} from '../support/mesh-walk.ts';
import { familyOf } from '../support/processes.ts';
import { hangMs } from '../support/patience.ts';

const kinds = ['root', 'registry', 'policy'] as const;
/** Phases before a commit is decided, once the execution is authorized. */
const underWay = ['preparing', 'distributing', 'activating', 'verifying', 'soaking', 'committing'];

interface Negotiation {
  readonly negotiationId: string;
  readonly phase: string;
  readonly policyDigest: string;
  readonly registryDigest: string;
  readonly selected: Readonly<Record<string, unknown>>;
  readonly transcript: Readonly<Record<string, string>>;
}
interface Recomputed {
  readonly ok: boolean;
  readonly reason?: string;
  readonly negotiation?: Negotiation;
}
interface Checked {
  readonly checks: readonly { check: string; verdict: string; found: string; hint?: string }[];
}
interface Epochs {
  readonly channels: readonly { channel: string; epoch: number; cause?: string }[];
}

describe('an agile mesh, by the command line', () => {
  let walk: MeshWalk;
  let rootDigest = '';
  let negotiation: Negotiation;
  let first: Epochs;
  const next: Record<(typeof kinds)[number], string> = { root: '', registry: '', policy: '' };

  beforeAll(async () => {
    walk = await MeshWalk.begin('agility');
    for (const kind of kinds) next[kind] = walk.file(`${kind}-2.json`);
  });
  afterAll(() => walk.end(), hangMs);

  test('1. up makes a mesh whose rotations soak', { timeout: hangMs }, async () => {
    const up = await walk.done<{ rootDigest: string; supervisorPid: number }>(
      'up',
      '--detach',
      '--soak',
      '1000',
      '--overlap',
      '1000',
    );
    ({ rootDigest } = up);
    expect(familyOf(up.supervisorPid).length).toBeGreaterThan(12);
    expect(await walk.status()).toMatchObject({ healthy: true, lockouts: [] });
  });

  test('2. documents, algorithms, epochs and telemetry answer', { timeout: hangMs }, async () => {
    const look = async (kind: (typeof kinds)[number]): Promise<void> => {
      const shown = await walk.done<Standing & { document: { body: { kind: string } } }>(
        kind,
        'show',
      );
      expect(shown).toMatchObject({
        version: 1,
        verdict: 'in force',
        document: { body: { kind } },
      });
      const { digest } = shown;
      expect(await walk.done(kind, 'verify')).toMatchObject({ digest, verdict: 'in force' });
    };
    await Promise.all(kinds.map(look));
    const { agents } = await walk.done<{ agents: { agentId: string; algorithms: object }[] }>(
      'capabilities',
    );
    expect(agents.map(({ agentId }) => agentId)).toHaveLength(7);
    expect(JSON.stringify(agents[0]?.algorithms)).toContain('ML-DSA-87');
    first = await walk.done<Epochs>('epoch', 'show');
    expect(first.channels).toHaveLength(11);
    const heard = await walk.done<{ agents: { agentId: string; heartbeat?: object }[] }>(
      'telemetry',
      'recent',
      'phi-a',
    );
    expect(heard.agents).toMatchObject([{ agentId: 'phi-a', heartbeat: {} }]);
  });

  test('3. two live agents agree, and the audit says the same', { timeout: hangMs }, async () => {
    negotiation = await walk.done<Negotiation>(
      'negotiate',
      'identity-a',
      'phi-a',
      '--constraint',
      'max-signature-bytes=5000',
    );
    expect(negotiation).toMatchObject({ phase: 'agreed', selected: { signature: 'ML-DSA-87' } });
    expect(Object.values(negotiation.transcript).map(({ length }) => length)).toEqual(
      Array.from({ length: 4 }, () => 128),
    );
    const verified = await walk.done<Recomputed>('negotiate', 'verify', negotiation.negotiationId);
    expect(verified).toMatchObject({ ok: true, negotiation: outcomeOf(negotiation) });
    const refused = await walk.json<Fault>('negotiate', 'identity-a', 'nobody');
    expect(refused).toMatchObject({ code: 1, document: { error: { code: 'ORCH-8012' } } });
  });

  test('4. without the mesh an export gives the same result', { timeout: hangMs }, async () => {
    const { negotiationId } = negotiation;
    const file = walk.file('mesh.audit');
    await walk.done('audit', 'export', '--out', file);
    await walk.done('down');
    const verify = (name: string) =>
      walk.json<Recomputed>(
        'negotiate',
        'verify',
        negotiationId,
        '--audit',
        name,
        '--root',
        rootDigest,
      );
    const verified = await verify(file);
    expect(verified).toMatchObject({
      code: 0,
      document: { ok: true, negotiation: outcomeOf(negotiation) },
    });
    const bytes = await readFile(file);
    const altered = walk.file('altered.audit');
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    await writeFile(altered, bytes);
    const refused = await verify(altered);
    expect(refused.code).toBe(1);
    expect(refused.document.ok).toBe(false);
    expect(refused.document.reason).toContain('the audit does not hold');
  });

  test('5. successors of all documents are signed offline', { timeout: hangMs }, async () => {
    const change = ['--set', 'policies.rotation.soak_ms=2000'];
    const proposed = await Promise.all([
      walk.done<Standing>('policy', 'propose', ...change, '--out', next.policy),
      walk.done<Standing>('registry', 'propose', '--out', next.registry),
      walk.done<Standing>('root', 'propose', '--out', next.root),
    ]);
    for (const standing of proposed) expect(standing).toMatchObject({ verdict: 'refused' });
    const half = await walk.done<Standing>('policy', 'sign', next.policy, '--as', 'op-1');
    expect(half).toMatchObject({ version: 2, verdict: 'refused' });
    expect(await walk.json('policy', 'verify', next.policy)).toMatchObject({ code: 1 });
    const signed = await Promise.all([
      walk.done<Standing>('policy', 'sign', next.policy, '--as', 'op-2'),
      walk.signed('registry', next.registry),
      walk.signed('root', next.root),
    ]);
    for (const standing of signed) expect(standing).toMatchObject({ verdict: 'adoptable' });
    const { differences } = await walk.done<{ differences: { path: string; to: unknown }[] }>(
      'policy',
      'diff',
      next.policy,
    );
    expect(differences).toContainEqual({
      path: 'policies.rotation.soak_ms',
      from: 1000,
      to: 2000,
    });
  });

  test(
    '6. they come into force while a rotation runs, and it ends',
    { timeout: hangMs },
    async () => {
      await walk.done('up', '--detach');
      const planId = await walk.approvedPlan('1,4');
      const { run } = await walk.executeWith(planId, async () => {
        const offered = await walk.done<{ adoptedBy: string[] }>('policy', 'offer', next.policy);
        expect(offered.adoptedBy).toEqual(['orchestrator-a', 'orchestrator-b']);
        await walk.done('registry', 'offer', next.registry);
        const { phase } = await walk.done<Rotation>('rotation', 'show', planId);
        expect(underWay).toContain(phase);
      });
      expect(run.code, run.stderr).toBe(0);
      const { phase } = await walk.done<Rotation>('rotation', 'show', planId);
      expect(['committed', 'retiring', 'retired']).toContain(phase);
    },
  );

  test(
    '7. secrets are renewed and a root follows while the next one runs',
    { timeout: hangMs },
    async () => {
      const planId = await walk.approvedPlan('3,6');
      const { run, result } = await walk.executeWith(planId, async () => {
        const renewal = walk.done<Epochs>(
          'epoch',
          'rotate',
          '--reason',
          'in the middle of a rotation',
        );
        await walk.done('root', 'offer', next.root);
        const { phase } = await walk.done<Rotation>('rotation', 'show', planId);
        expect(underWay).toContain(phase);
        // The signer states epochs: these come with the commit, or before it.
        return { renewal };
      });
      expect(run.code, run.stderr).toBe(0);
      const renewed = await result.renewal;
      expect(renewed.channels).toHaveLength(first.channels.length);
      const before = new Map(first.channels.map(({ channel, epoch }) => [channel, epoch]));
      for (const { channel, epoch } of renewed.channels) {
        expect([channel, epoch > (before.get(channel) ?? 0)]).toEqual([channel, true]);
      }
    },
  );

  test('8. every agent has them, and works by them', { timeout: hangMs }, async () => {
    const { mesh } = await walk.status();
    if (!mesh.ok) throw new Error(mesh.reason);
    const { documents } = mesh.value;
    for (const kind of kinds) {
      const file = await walk.done<Standing>(kind, 'verify', next[kind]);
      expect(file).toMatchObject({ verdict: 'in force', version: 2 });
      expect(documents[kind]).toEqual({ version: 2, digest: file.digest });
    }
    await walk.everyoneKeeps('policy 2', 'registry 2', 'root 2');
    await walk.untilStatus(
      (status) => status.mesh.ok && status.mesh.value.layers.every(worksBySecond),
      'every layer agent works by the amended documents',
    );
    const agreed = await walk.done<Negotiation>('negotiate', 'authorization-a', 'self-healing-a');
    expect(agreed).toMatchObject({
      policyDigest: documents.policy.digest,
      registryDigest: documents.registry.digest,
    });
    expect(agreed.policyDigest).not.toBe(negotiation.policyDigest);
  });

  test(
    '9. a stored copy that was altered is refused, and moving it away leads back',
    { timeout: hangMs },
    async () => {
      const file = walk.trustFile('phi-a');
      const text = await readFile(file, 'utf8');
      const pid = await walk.pidOf('phi-a');
      await writeFile(file, text.replace('"soak_ms":2000', '"soak_ms":0'));
      process.kill(pid, 'SIGKILL');
      const refused = await walk.untilStatus(
        ({ processes }) => processes.some(({ fault }) => fault?.code === 'ORCH-8010'),
        'phi-a refuses its copy',
      );
      expect(refused.healthy).toBe(false);
      const { fault } = refused.processes.find(({ id }) => id === 'phi-a') ?? {};
      expect(fault?.message).toContain(file);
      expect(fault?.remedy).toContain(`move ${file} away`);
      const shown = await walk.gyre(['status']);
      expect(shown.stdout).toContain('phi-a: ORCH-8010');
      expect(await readFile(walk.layout.logFile('phi-a'), 'utf8')).toContain('"remedy":"move ');
      const sick = await walk.json<Checked>('doctor');
      expect(sick.code).toBe(1);
      expect(sick.document.checks).toContainEqual(
        expect.objectContaining({
          check: 'trust',
          verdict: 'fail',
          hint: expect.stringContaining(`Move ${file} away`) as string,
        }),
      );
      // Of one that was named, 5; where one of all is silent, 1.
      expect((await walk.json('capabilities', 'phi-a')).code).toBe(5);
      expect((await walk.json('capabilities')).code).toBe(1);
      const heard = async (...names: string[]) =>
        (await walk.json('telemetry', 'recent', ...names)).code;
      await expect.poll(() => heard('phi-a'), { timeout: hangMs / 4 }).toBe(5);
      expect(await heard()).toBe(1);
      expect(await heard('network-a')).toBe(0);
      const folder = dirname(walk.layout.configFile({ id: 'op-2', kind: 'operator' }));
      const own = join(folder, memberFiles.state, 'trust.json');
      await writeFile(own, (await readFile(own, 'utf8')).replace('"soak_ms":2000', '"soak_ms":0'));
      for (const command of ['status', 'policy propose --out x.json']) {
        const told = await walk.json<Fault>(...command.split(' '), '--as', 'op-2');
        expect(told).toMatchObject({ code: 1, document: { error: { code: 'ORCH-8010' } } });
        expect(told.document.error.hint).toMatch(/^move .*trust\.json away/i);
      }
      await rename(own, `${own}.refused`);
      await walk.done('policy', 'verify', '--as', 'op-2');
      await rename(file, `${file}.refused`);
      await walk.untilStatus(({ healthy }) => healthy, 'phi-a is back');
      await walk.everyoneKeeps('policy 2', 'registry 2', 'root 2');
      const { checks } = await walk.done<Checked>('doctor');
      expect(checks.find(({ check }) => check === 'trust')).toMatchObject({
        verdict: 'ok',
        found: expect.stringContaining('root 2, registry 2, policy 2 hold until ') as string,
      });
    },
  );

  test('10. the audit of it all verifies', { timeout: hangMs }, async () => {
    const file = walk.file('all.audit');
    await walk.done('audit', 'export', '--out', file);
    const verdict = await walk.json<Record<string, unknown>>(
      'audit',
      'verify',
      file,
      '--root',
      rootDigest,
    );
    expect(verdict).toMatchObject({
      code: 0,
      document: { ok: true, integrity: { ok: true }, content: { ok: true }, meaning: { ok: true } },
    });
  });
});

type Layer = Extract<WalkStatus['mesh'], { ok: true }>['value']['layers'][number];

function worksBySecond({ documents }: Layer): boolean {
  return documents?.registry === 2 && documents.policy === 2;
}

function outcomeOf({ phase, selected, transcript, policyDigest, registryDigest }: Negotiation) {
  return { phase, selected, transcript, policyDigest, registryDigest };
}
