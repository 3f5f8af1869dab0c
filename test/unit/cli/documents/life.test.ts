/**
 * The offline life of documents on a real mesh directory that does not run: proposed, signed by one
 * operator after the other, checked after every step; and what people do wrong with the files.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDraft } from '#cli/documents/draft.ts';
import { offerDocument, type OfferingSession } from '#cli/documents/offer.ts';
import { layoutOf, memberFiles } from '#cli/mesh/layout.ts';
import { requireMesh } from '#cli/mesh/mesh-file.ts';
import { readBundle } from '#cli/mesh/nats-config.ts';
import { developmentTimes } from '#cli/mesh/policy-body.ts';
import { provisionMesh } from '#cli/mesh/provisioning.ts';
import { runProgram } from '#cli/program.ts';
import type { OfferedDocument } from '#schemas/trust.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStore } from '#shared/runtime/trust-store.ts';

let folder = '';
let dir = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gyre-documents-'));
  dir = join(folder, 'mesh');
  await provisionMesh({
    root: dir,
    port: 4999,
    token: { kind: 'file' },
    times: developmentTimes,
    onProgress: () => undefined,
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Run {
  readonly code: number;
  readonly result: Record<string, unknown>;
}

async function gyre(...args: string[]): Promise<Run> {
  const written: string[] = [];
  const sink = { write: (text: string) => written.push(text) };
  const code = await runProgram([...args, '--dir', dir, '--json'], {
    stdout: sink,
    stderr: { write: () => true },
    environment: {},
  });
  return { code, result: JSON.parse(written.join('')) as Run['result'] };
}

const at = (name: string): string => join(folder, name);

describe.each([
  ['policy', 'policies.rotation.soak_ms=5000', 'policies.rotation.soak_ms'],
  ['registry', 'algorithms.kem.1.status=deprecated', 'algorithms.kem.ML-KEM-768.status'],
])('a %s', (kind, change, changed) => {
  const file = () => at(`${kind}.json`);

  test('is proposed as the next version with what changes', async () => {
    const { code, result } = await gyre(kind, 'propose', '--set', change, '--out', file());
    expect(code).toBe(0);
    expect(result).toMatchObject({ kind, version: 2, verdict: 'refused' });
    expect(result['refusal']).toMatchObject({ rule: 'THRESHOLD_NOT_MET' });
    const paths = (result['differences'] as { path: string }[]).map(({ path }) => path);
    expect(paths).toContain(changed);
    const diff = await gyre(kind, 'diff', file());
    expect((diff.result['differences'] as unknown[]).length).toBe(paths.length);
  });

  test('is adoptable once both operators have signed, and not before', async () => {
    const first = await gyre(kind, 'sign', file(), '--as', 'op-1');
    expect(first.result).toMatchObject({ verdict: 'refused' });
    expect((await gyre(kind, 'verify', file())).code).toBe(1);
    const second = await gyre(kind, 'sign', file(), '--as', 'op-2');
    expect(second.result).toMatchObject({ verdict: 'adoptable', strangers: 0 });
    expect((await gyre(kind, 'verify', file())).code).toBe(0);
  });

  test('signed once more by the same operator, it stays as it is', async () => {
    const before = await readFile(file(), 'utf8');
    const { code, result } = await gyre(kind, 'sign', file(), '--as', 'op-2');
    expect({ code, result }).toMatchObject({
      code: 1,
      result: { error: { code: 'ALREADY_SIGNED' } },
    });
    expect(await readFile(file(), 'utf8')).toBe(before);
  });

  test('changed after it was signed, it is refused and the keys are named', async () => {
    const text = await readFile(file(), 'utf8');
    await writeFile(at('altered.json'), text.replace(/"expires_at": "20/, '"expires_at": "21'));
    const { code, result } = await gyre(kind, 'verify', at('altered.json'));
    expect(code).toBe(1);
    expect(result).toMatchObject({ verdict: 'refused' });
    const [threshold] = result['thresholds'] as { keys: { state: string }[] }[];
    expect(threshold?.keys.map(({ state }) => state)).toEqual(['invalid', 'invalid']);
  });

  test('signed again by both, what was changed is adoptable', async () => {
    const first = await gyre(kind, 'sign', at('altered.json'), '--as', 'op-1');
    expect(first).toMatchObject({ code: 0, result: { verdict: 'refused' } });
    const [threshold] = first.result['thresholds'] as { keys: { state: string }[] }[];
    expect(threshold?.keys.map(({ state }) => state)).toEqual(['signed', 'invalid']);
    const second = await gyre(kind, 'sign', at('altered.json'), '--as', 'op-2');
    expect(second.result).toMatchObject({ verdict: 'adoptable', strangers: 0 });
    const paths = (second.result['differences'] as { path: string }[]).map(({ path }) => path);
    expect(paths).toContain(changed);
  });
});

test('a root needs both kinds of signature of both operators', { timeout: 60_000 }, async () => {
  const file = at('root.json');
  const proposed = await gyre('root', 'propose', '--expires-in-days', '30', '--out', file);
  expect(proposed.result).toMatchObject({ kind: 'root', version: 2, verdict: 'refused' });
  const first = await gyre('root', 'sign', file, '--as', 'op-1');
  expect(first.result).toMatchObject({ verdict: 'refused' });
  const second = await gyre('root', 'sign', file, '--as', 'op-2');
  expect(second.result).toMatchObject({ verdict: 'adoptable' });
  const thresholds = second.result['thresholds'] as { name: string; signed: number }[];
  expect(thresholds.map(({ name, signed }) => [name, signed])).toEqual([
    ['present root', 2],
    ['present anchor', 2],
    ['new root', 2],
    ['new anchor', 2],
  ]);
});

test('a revocation is proposed, signed and adoptable', async () => {
  const file = at('revocation.json');
  const reason = ['--reason', 'host lost'];
  const proposed = await gyre('revocation', 'propose', 'network-a', ...reason, '--out', file);
  expect(proposed.result).toMatchObject({
    kind: 'revocation',
    verdict: 'refused',
    revokes: { agentId: 'network-a', reason: 'host lost' },
  });
  for (const operator of ['op-1', 'op-2']) await gyre('revocation', 'sign', file, '--as', operator);
  expect((await gyre('revocation', 'verify', file)).result).toMatchObject({ verdict: 'adoptable' });
  const unknown = await gyre('revocation', 'propose', 'nobody', ...reason, '--out', file);
  expect(unknown.result).toMatchObject({ error: { code: 'AGENT_UNKNOWN' } });
});

test.each([
  ['signer', 'no signer remains'],
  ['op-2', '1 operators remain'],
])('a revocation of %s stops the mesh, and has to be meant', async (agentId, said) => {
  const args = ['revocation', 'propose', agentId, '--reason', 'gone', '--out', at('stop.json')];
  const { code, result } = await gyre(...args);
  expect({ code, result }).toMatchObject({
    code: 1,
    result: { error: { code: 'WOULD_STOP_MESH' } },
  });
  expect(JSON.stringify(result)).toContain(said);
  expect((await gyre(...args, '--force')).code).toBe(0);
});

describe('refused before anybody signs', () => {
  test('a root with a role that can never meet its threshold', async () => {
    const change = ['--set', 'roles.policy.threshold=3'];
    const run = await gyre('root', 'propose', ...change, '--out', at('never.json'));
    expect(run.result).toMatchObject({ error: { code: 'ORCH-8010' } });
  });

  test.each([
    [
      'a policy that forbids the mesh its own protocol',
      'policies.allowed_algorithms.symmetric=["AES-256-GCM"]',
      'ORCH-8002',
    ],
    [
      'a policy that allows what the registry does not know',
      'policies.allowed_algorithms.kem=["ML-KEM-4096"]',
      'ORCH-8003',
    ],
    ['a schedule that is none', 'policies.key_lifecycle.rotation_schedule=whenever', 'ORCH-8002'],
    ['a value out of its bounds', 'policies.minimum_security_level=9', 'DOCUMENT_MALFORMED'],
    ['a field that is not there', 'policies.minimum_level=3', 'USAGE'],
  ])('%s', async (_name, change, code) => {
    const run = await gyre('policy', 'propose', '--set', change, '--out', at('never.json'));
    expect(run.result).toMatchObject({ error: { code } });
    await expect(readFile(at('never.json'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test.each([
    ['no JSON', 'x', 'DOCUMENT_MALFORMED'],
    [
      'another kind of document',
      '{"body":{"kind":"policy"},"signatures":[]}',
      'DOCUMENT_MALFORMED',
    ],
    ['too large', `"${'x'.repeat(400 * 1024)}"`, 'DOCUMENT_MALFORMED'],
  ])('a file that holds %s', async (_name, text, code) => {
    await writeFile(at('bad.json'), text);
    expect((await gyre('registry', 'verify', at('bad.json'))).result).toMatchObject({
      error: { code },
    });
    expect((await gyre('registry', 'sign', at('bad.json'))).result).toMatchObject({
      error: { code },
    });
  });

  test('a file that is not there, and an operator who is not', async () => {
    const missing = await gyre('policy', 'verify', at('none.json'));
    expect(missing.result).toMatchObject({ error: { code: 'FILE_UNREADABLE' } });
    const stranger = await gyre('policy', 'verify', at('policy.json'), '--as', 'op-9');
    expect({ ...stranger }).toMatchObject({ code: 2, result: { error: { code: 'USAGE' } } });
  });
});

test('who has offered a revocation knows of it at once, though no mesh runs', async () => {
  const file = at('offered.json');
  await gyre('revocation', 'propose', 'phi-a', '--reason', 'host lost', '--out', file);
  for (const operator of ['op-1', 'op-2']) await gyre('revocation', 'sign', file, '--as', operator);
  const verify = () => gyre('revocation', 'verify', file, '--as', 'op-2');
  expect(await verify()).toMatchObject({ code: 0, result: { verdict: 'adoptable' } });
  const { crypto, trust, store } = await keptBy('op-2');
  const draft = await readDraft(file, 'revocation');
  const offered: string[] = [];
  // An orchestrator that adopts what it is offered, and an operator who keeps what it learns.
  const session = {
    crypto,
    trust,
    operatorId: 'op-2',
    orchestrators: ['orchestrator-a'],
    offer: async () => void offered.push('phi-a'),
    askAgent: async () => ({ lockouts: [], revoked: offered }),
    learn: async (document: Uint8Array) => {
      store.keepDocument(
        JSON.parse(Buffer.from(document).toString()) as OfferedDocument,
        Date.now(),
      );
    },
  } as unknown as OfferingSession;
  const bytes = await readFile(file);
  const input = { draft, bytes, timeoutMs: 1_000, onProgress: () => undefined };
  expect(await offerDocument(session, input)).toMatchObject({ adoptedBy: ['orchestrator-a'] });
  expect(await verify()).toMatchObject({ code: 0, result: { verdict: 'in force' } });
});

/** An operator's own state in the mesh directory. */
async function keptBy(operatorId: string) {
  const layout = layoutOf(dir);
  const { rootDigest } = await requireMesh(dir);
  const crypto = createNativeProvider();
  const opened = openTrust(crypto, { bundle: await readBundle(layout), rootDigest });
  if (opened.status !== 'ok') throw new Error(opened.reason);
  const { trust } = opened;
  const folder = dirname(layout.configFile({ id: operatorId, kind: 'operator' }));
  const disk = new SystemDisk(join(folder, memberFiles.state));
  return { crypto, trust, store: TrustStore.open({ disk, crypto, trust }) };
}
