/**
 * Bad documents on a live mesh, offered with the keys of those who may offer: each is refused with its
 * code, who offered it is locked out for 900 seconds, over restarts of agents and of the whole mesh, and
 * is told so; the mesh keeps its last good documents and a rotation commits during a flood of them.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Thief } from '../chaos/thief.ts';
import {
  MeshWalk,
  type Fault,
  type Rotation,
  type Standing,
  type WalkStatus,
} from '../support/mesh-walk.ts';
import { hangMs } from '../support/patience.ts';

const lockoutMs = 900_000;
const offersMax = 400;

/** By how much the ends of a lockout may differ from one agent to another. */
const hearingMs = 60_000;
const orchestrators = ['orchestrator-a', 'orchestrator-b'] as const;

describe('bad offers', () => {
  let walk: MeshWalk;
  let rootDigest = '';
  let older = Buffer.alloc(0);
  let olderRegistry = Buffer.alloc(0);
  let waiting = '';
  let approved = '';
  let lockouts: WalkStatus['lockouts'] = [];
  const thieves: Thief[] = [];

  async function thiefOf(id: string, kind: 'layer' | 'operator' = 'layer'): Promise<Thief> {
    const thief = await Thief.of({ layout: walk.layout, mesh: await walk.mesh() }, id, kind);
    thieves.push(thief);
    return thief;
  }

  /** Both orchestrators lock out who offers it, with this code. */
  async function lockedOut(sender: string, code: string): Promise<void> {
    const status = await walk.untilStatus(
      ({ lockouts: found }) =>
        found.some(
          (each) => each.sender === sender && orchestrators.every((id) => each.by.includes(id)),
        ),
      `${sender} is locked out`,
    );
    expect(status.lockouts).toContainEqual(expect.objectContaining({ sender, code }));
  }

  /** Whom the mesh locked out, until when; each agent goes by its own clock and heard it in its time. */
  function expectAsBefore(found: WalkStatus['lockouts']): void {
    const names = (list: WalkStatus['lockouts']) =>
      new Set(list.map(({ sender, code }) => `${sender} ${code}`));
    expect(names(found)).toEqual(names(lockouts));
    for (const { sender, untilMs } of found) {
      const before = lockouts.find((each) => each.sender === sender)?.untilMs ?? 0;
      expect(Math.abs(untilMs - before)).toBeLessThan(hearingMs);
    }
  }

  /** What the mesh says of its documents. */
  async function inForce(): Promise<object> {
    const { mesh } = await walk.status();
    if (!mesh.ok) throw new Error(mesh.reason);
    return mesh.value.documents;
  }

  async function restarted(agentId: string): Promise<void> {
    const pidIn = ({ processes }: WalkStatus) =>
      processes.find(({ id, ready }) => id === agentId && ready)?.pid ?? 0;
    const before = await walk.pidOf(agentId);
    process.kill(before, 'SIGKILL');
    await walk.untilStatus(
      (status) => ![0, before].includes(pidIn(status)) && status.healthy,
      `${agentId} is back`,
    );
  }

  beforeAll(async () => {
    walk = await MeshWalk.begin('offers');
  });
  afterAll(async () => {
    for (const thief of thieves) await thief.close();
    await walk.end();
  }, hangMs);

  test('1. a mesh under its second policy and registry', { timeout: hangMs }, async () => {
    ({ rootDigest } = await walk.done<{ rootDigest: string }>('up', '--detach', '--soak', '1000'));
    const { document } = await walk.done<{ document: object }>('policy', 'show');
    older = Buffer.from(JSON.stringify(document));
    const registry = await walk.done<{ document: object }>('registry', 'show');
    olderRegistry = Buffer.from(JSON.stringify(registry.document));
    for (const kind of ['policy', 'registry'] as const) {
      const next = walk.file(`${kind}-2.json`);
      await walk.done(kind, 'propose', '--out', next);
      await walk.signed(kind, next);
      await walk.done(kind, 'offer', next);
    }
    expect(await inForce()).toMatchObject({ registry: { version: 2 }, policy: { version: 2 } });
  });

  test(
    '2. a rotation commits during a flood of wrongly signed ones',
    { timeout: hangMs },
    async () => {
      const planId = await walk.approvedPlan('1,4');
      approved = await walk.approvedPlan('7');
      ({ planId: waiting } = await walk.done<Rotation>('rotation', 'plan', '--layers', '2'));
      const byOne = walk.file('registry-by-one.json');
      await walk.done('registry', 'propose', '--out', byOne);
      await walk.done('registry', 'sign', byOne);
      const thief = await thiefOf('phi-a');
      const document = await readFile(byOne, 'utf8');
      let isOver = false;
      const flooding = (async () => {
        let taken = 0;
        for (let offer = 0; offer < offersMax && !isOver; offer += 1) {
          // Each another document, so that none is known by its bytes.
          const other = document.replace('"expires_at": "2', `"expires_at": "${(offer % 7) + 3}`);
          if (await thief.offer(Buffer.from(other))) taken += 1;
        }
        return taken;
      })();
      const run = await walk.gyre(['rotation', 'execute', planId]);
      isOver = true;
      expect(await flooding).toBeGreaterThan(10);
      expect(run.code, run.stderr).toBe(0);
      expect(await walk.done('rotation', 'show', planId)).toMatchObject({
        phase: expect.stringMatching(/^(?:committed|retiring|retired)$/) as string,
      });
      await lockedOut('phi-a', 'ORCH-8010');
    },
  );

  test('3. older and expired ones of both have their codes', { timeout: hangMs }, async () => {
    const operator = await thiefOf('op-2', 'operator');
    expect(await operator.offer(older)).toBe(true);
    await lockedOut('op-2', 'ORCH-8011');
    for (const [id, code, document] of [
      ['self-healing-a', 'ORCH-8010', olderRegistry],
      ['database-a', 'ORCH-8010', await expired('registry', 'ORCH-8010')],
      ['authorization-a', 'ORCH-8011', await expired('policy', 'ORCH-8011')],
    ] as const) {
      const agent = await thiefOf(id);
      expect(await agent.offer(document)).toBe(true);
      await lockedOut(id, code);
    }
    expect(await inForce()).toMatchObject({ registry: { version: 2 }, policy: { version: 2 } });
    const status = await walk.status();
    expect(status.healthy).toBe(true);
    ({ lockouts } = status);
    for (const { untilMs } of lockouts) {
      expect(untilMs).toBeLessThanOrEqual(Date.now() + lockoutMs);
      expect(untilMs).toBeGreaterThan(Date.now() + lockoutMs / 2);
    }
    const shown = await walk.gyre(['status']);
    const until = lockouts.find(({ sender }) => sender === 'op-2')?.untilMs ?? 0;
    expect(shown.stdout).toContain(`op-2 until ${new Date(until).toISOString()} (ORCH-8011`);
  });

  test('4. who is locked out is told so at once', { timeout: hangMs }, async () => {
    const expected = lockouts.find(({ sender }) => sender === 'op-2')?.untilMs ?? 0;
    const asked = [
      ['rotation', 'approve', waiting],
      ['rotation', 'plan', '--layers', '3'],
      ['epoch', 'rotate', '--channel', 'saga'],
      ['negotiate', 'identity-a', 'network-a'],
      ['registry', 'offer', await goodRegistry()],
    ];
    for (const args of asked) {
      const run = await walk.json<Fault>(...args, '--as', 'op-2');
      const { error } = run.document;
      expect([args[0], run.code, error.code]).toEqual([args[0], 1, 'ORCH-8011']);
      // Each agent goes by its own clock, and they heard the offer within moments.
      const said = /until (\S+Z)/.exec(error.reason)?.[1] ?? '';
      expect(Math.abs(Date.parse(said) - expected)).toBeLessThan(hearingMs);
      expect(error.hint).toContain('gyre status');
    }
    const negotiation = await walk.json<Fault>('negotiate', 'identity-a', 'phi-a');
    expect(negotiation.document.error).toMatchObject({ code: 'ORCH-8015' });
    expect(negotiation.document.error.hint).toContain('gyre status');
    expect(await inForce()).toMatchObject({ registry: { version: 2 } });
  });

  test(
    '5. it lasts over restarts of an orchestrator and of an agent',
    { timeout: hangMs },
    async () => {
      await restarted('orchestrator-a');
      await restarted('identity-a');
      expectAsBefore((await walk.status()).lockouts);
      const kept = await walk.kept('identity-a');
      expect(kept.lockouts.map(({ sender, code }) => [sender, code])).toEqual(
        expect.arrayContaining(lockouts.map(({ sender, code }) => [sender, code])),
      );
      const refused = await walk.json<Fault>('rotation', 'approve', waiting, '--as', 'op-2');
      expect(refused.document.error.code).toBe('ORCH-8011');
    },
  );

  test(
    '6. a stopped mesh does not start on an altered copy, and says how to',
    { timeout: hangMs },
    async () => {
      await walk.done('down');
      const file = walk.trustFile('encryption-a');
      const text = await readFile(file, 'utf8');
      await writeFile(file, text.replace('"version":2', '"version":3'));
      const refused = await walk.json<Fault>('up', '--detach');
      expect(refused).toMatchObject({ code: 1, document: { error: { code: 'ORCH-8010' } } });
      expect(refused.document.error.reason).toContain('encryption-a');
      expect(refused.document.error.hint).toContain(`move ${file} away`);
      await rename(file, `${file}.refused`);
      await walk.done('up', '--detach');
      expect((await walk.kept('encryption-a')).documents).toEqual(['policy 2', 'registry 2']);
    },
  );

  test('7. after it all, everything is as it was', { timeout: hangMs }, async () => {
    const status = await walk.untilStatus(({ healthy }) => healthy, 'healthy');
    expectAsBefore(status.lockouts);
    expect(await inForce()).toMatchObject({ registry: { version: 2 }, policy: { version: 2 } });
    await walk.everyoneKeeps('policy 2', 'registry 2');
    const { channels } = await walk.done<{ channels: { channel: string; epoch: number }[] }>(
      'epoch',
      'show',
    );
    expect(channels.filter(({ epoch }) => epoch < 1)).toEqual([]);
    await walk.done('negotiate', 'identity-a', 'network-a');
    // What was approved before the lockout still is, though nobody heard it but the auditor.
    await walk.done('rotation', 'execute', approved);
    await walk.done<Standing>('policy', 'verify', walk.file('policy-2.json'));
  });

  test('8. and the audit of it all verifies', { timeout: hangMs }, async () => {
    const file = walk.file('all.audit');
    await walk.done('audit', 'export', '--out', file);
    const verdict = await walk.json<object>('audit', 'verify', file, '--root', rootDigest);
    expect(verdict).toMatchObject({
      code: 0,
      document: { ok: true, integrity: { ok: true }, content: { ok: true }, meaning: { ok: true } },
    });
  });

  /** Signed by both, and over already. */
  async function expired(kind: 'registry' | 'policy', code: string): Promise<Buffer> {
    const file = walk.file(`${kind}-expired.json`);
    await walk.done(kind, 'propose', '--out', file);
    const draft = JSON.parse(await readFile(file, 'utf8')) as { body: { issued_at: string } };
    // Not before the one in force.
    const times = {
      issued_at: new Date(Date.parse(draft.body.issued_at) - 2_000).toISOString(),
      expires_at: new Date(Date.parse(draft.body.issued_at) - 1_000).toISOString(),
    };
    await writeFile(file, JSON.stringify({ ...draft, body: { ...draft.body, ...times } }));
    const signed = await walk.signed(kind, file);
    expect(signed).toMatchObject({ verdict: 'refused', refusal: { code, rule: 'EXPIRED' } });
    return readFile(file);
  }

  async function goodRegistry(): Promise<string> {
    const file = walk.file('registry-good.json');
    await walk.done('registry', 'propose', '--out', file);
    await walk.signed('registry', file);
    return file;
  }
});
