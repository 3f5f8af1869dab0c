/** The command line from an empty folder to a verified audit, as its help describes it. */
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gyreJson, runGyre } from '../support/gyre.ts';
import { familyOf, leftOf, type ProcessLine } from '../support/processes.ts';
import { hangMs } from '../support/patience.ts';

interface Fault {
  readonly error: { readonly code: string; readonly reason: string; readonly hint: string };
}
interface Key {
  readonly slot: string;
  readonly keyId: string;
  readonly version: number;
}
interface Rotation {
  readonly planId: string;
  readonly phase: string;
  readonly approvals: readonly string[];
  readonly slots: readonly { readonly slot: string; readonly new?: { readonly keyId: string } }[];
}

const environment = { GYRE_DIR: '' };

describe('a walk through the command line', () => {
  let folder = '';
  let planId = '';
  let neverRun = '';
  let rootDigest = '';
  let before: readonly Key[] = [];
  let family: readonly ProcessLine[] = [];

  const gyre = (...args: string[]) =>
    runGyre([...args, '--dir', join(folder, 'mesh')], { environment });
  const json = <Shape>(...args: string[]) =>
    gyreJson<Shape>([...args, '--dir', join(folder, 'mesh')], { environment });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gyre-walk-'));
  });
  afterAll(async () => {
    await gyre('down');
    await rm(folder, { recursive: true, force: true });
  }, hangMs);

  test('1. without a mesh, commands say how to make one', async () => {
    const { code, document } = await json<Fault>('status');
    expect(code).toBe(5);
    expect(document.error.code).toBe('MESH_NOT_FOUND');
    expect(document.error.hint).toContain('gyre up');
  });

  test(
    '2. up makes a mesh, starts it and returns when it is ready',
    { timeout: hangMs },
    async () => {
      const up = await json<{ rootDigest: string; created: boolean; supervisorPid: number }>(
        'up',
        '--detach',
        '--overlap',
        '1000',
      );
      expect(up.code).toBe(0);
      expect(up.document.created).toBe(true);
      expect(up.stderr).toContain('not an HSM');
      family = familyOf(up.document.supervisorPid);
      rootDigest = up.document.rootDigest;
      const status = await json<{ healthy: boolean; rootDigest: string }>('status');
      expect(status).toMatchObject({ code: 0, document: { healthy: true, rootDigest } });
    },
  );

  test('3. a second up says that it runs already, and changes nothing', async () => {
    const { code, document } = await json<Fault>('up', '--detach');
    expect(code).toBe(1);
    expect(document.error.code).toBe('MESH_RUNNING');
  });

  test('4. what nobody but the owner may read is closed', async () => {
    const root = join(folder, 'mesh');
    for (const name of await readdir(root, { recursive: true })) {
      const entry = await stat(join(root, name)).catch(() => null);
      if (entry?.isDirectory() === true && !name.includes('jetstream')) {
        expect([name, entry.mode & 0o777]).toEqual([name, 0o700]);
      }
      if (name.endsWith('.seed') || name.endsWith('pin') || name.endsWith('.sealed')) {
        expect([name, (entry?.mode ?? 0) & 0o777]).toEqual([name, 0o600]);
      }
    }
  });

  test('5. a plan for layer 9 is a mistake of usage', async () => {
    const { code, document } = await json<Fault>('rotation', 'plan', '--layers', '9');
    expect(code).toBe(2);
    expect(document.error.reason).toContain('layer 9');
  });

  test('6. a plan names all slots of its layers', { timeout: hangMs }, async () => {
    before = (await json<{ keys: Key[] }>('keys', 'list')).document.keys;
    const plan = await json<Rotation>('rotation', 'plan', '--layers', '1-7');
    expect(plan.code).toBe(0);
    expect(plan.document.phase).toBe('validated');
    expect(plan.document.slots.map(({ slot }) => slot).toSorted()).toEqual(
      before.map(({ slot }) => slot).toSorted(),
    );
    planId = plan.document.planId;
  });

  test('7. execution without the approval ends with 6', async () => {
    const { code, document } = await json<Fault>('rotation', 'execute', planId);
    expect(code).toBe(6);
    expect(document.error.code).toBe('ORCH-8015');
    expect(document.error.hint).toContain(planId);
  });

  test('8. the requester cannot approve, another operator can', async () => {
    const own = await json<Fault>('rotation', 'approve', planId);
    expect(own).toMatchObject({ code: 6, document: { error: { code: 'ORCH-8015' } } });
    const approved = await json<Rotation>('rotation', 'approve', planId, '--as', 'op-2');
    expect(approved).toMatchObject({ code: 0, document: { phase: 'approved' } });
    expect(approved.document.approvals).toEqual(['op-2']);
  });

  test('9. a dry run changes nothing', async () => {
    const run = await json<{ dryRun: { ok: boolean } }>('rotation', 'execute', planId, '--dry-run');
    expect(run).toMatchObject({ code: 0, document: { dryRun: { ok: true } } });
    expect((await json<{ keys: Key[] }>('keys', 'list')).document.keys).toEqual(before);
  });

  test('10. execute turns every key and shows it as it happens', { timeout: hangMs }, async () => {
    neverRun = (await json<Rotation>('rotation', 'plan', '--layers', '7')).document.planId;
    const run = await json<Rotation>('rotation', 'execute', planId);
    expect(run.code).toBe(0);
    const stale = await json<Fault>('rotation', 'approve', neverRun, '--as', 'op-2');
    expect(stale).toMatchObject({ code: 1, document: { error: { code: 'PLAN_STALE' } } });
    expect(run.stderr).toContain('layer 7 self-healing: verify done');
    const after = (await json<{ keys: Key[] }>('keys', 'list')).document.keys;
    for (const { slot, keyId, version } of before) {
      const now = after.find((key) => key.slot === slot);
      expect(now?.version).toBe(version + 1);
      expect(now?.keyId).not.toBe(keyId);
      expect(run.document.slots.find((each) => each.slot === slot)?.new?.keyId).toBe(now?.keyId);
    }
    const watched = await gyre('rotation', 'watch', planId);
    expect(watched).toMatchObject({ code: 0 });
    expect(watched.stdout).toContain('retired');
  });

  test('11. the audit verifies with the mesh, and without it', { timeout: hangMs }, async () => {
    const file = join(folder, 'mesh.audit');
    expect(await gyre('audit', 'verify', '--root', rootDigest)).toMatchObject({ code: 0 });
    expect(await gyre('audit', 'export', '--out', file)).toMatchObject({ code: 0 });
    expect(await gyre('down')).toMatchObject({ code: 0 });
    expect(leftOf(family, folder)).toEqual([]);
    const verified = await json<{ ok: boolean; uncovered: number; rotations: unknown }>(
      'audit',
      'verify',
      file,
      '--root',
      rootDigest,
    );
    expect(verified).toMatchObject({ code: 0, document: { ok: true, uncovered: 0 } });
    expect(verified.document.rotations).toEqual(
      expect.arrayContaining([
        { planId, phase: 'retired' },
        { planId: neverRun, phase: 'validated' },
      ]),
    );
    expect(verified.document.rotations).toHaveLength(2);
    const other = await json<{ ok: boolean }>('audit', 'verify', file, '--root', 'f'.repeat(64));
    expect(other).toMatchObject({ code: 1, document: { ok: false } });
  });

  test(
    '12. a stopped mesh is unreachable, and starts again with its keys',
    { timeout: hangMs },
    async () => {
      expect(await gyre('status')).toMatchObject({ code: 5 });
      expect(await gyre('down')).toMatchObject({ code: 0 });
      const pin = join(folder, 'mesh', 'agents', 'signer', 'token', 'pin');
      expect((await readFile(pin, 'utf8')).length).toBeGreaterThan(16);
      expect(await gyre('up', '--detach')).toMatchObject({ code: 0 });
      const list = await json<{ rotations: Rotation[] }>('rotation', 'list');
      expect(list.document.rotations.map((each) => [each.planId, each.phase])).toEqual([
        [planId, 'retired'],
        [neverRun, 'validated'],
      ]);
      expect(await gyre('doctor')).toMatchObject({ code: 0 });
    },
  );

  test('13. a layer is planned with those that depend on it', { timeout: hangMs }, async () => {
    const plan = await json<Rotation>('rotation', 'plan', '--layers', '1');
    const together = { dependentLayers: [{ layer: 2, turnedWith: 1, reason: expect.any(String) }] };
    expect(plan).toMatchObject({ code: 0, document: { ...together, addedLayers: [2] } });
    const shown = await json<Rotation>('rotation', 'show', plan.document.planId);
    expect(shown.document).toMatchObject(together);
    expect([...new Set(plan.document.slots.map(({ slot }) => slot[0]))]).toEqual(['1', '2']);
    expect(plan.stderr).toContain('layer 2 (authorization) is turned with layer 1');
  });
});
