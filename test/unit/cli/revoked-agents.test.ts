/** Who a start leaves out, on a real mesh directory: read from what the orchestrators keep. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { layoutOf, memberFiles } from '#cli/mesh/layout.ts';
import { requireMesh } from '#cli/mesh/mesh-file.ts';
import { readBundle } from '#cli/mesh/nats-config.ts';
import { developmentTimes } from '#cli/mesh/policy-body.ts';
import { provisionMesh } from '#cli/mesh/provisioning.ts';
import { revokedAgents } from '#cli/mesh/revoked-agents.ts';
import { runProgram } from '#cli/program.ts';
import type { OfferedDocument } from '#schemas/trust.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStore } from '#shared/runtime/trust-store.ts';

let folder = '';
let dir = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gyre-revoked-'));
  dir = join(folder, 'mesh');
  await provisionMesh({
    root: dir,
    port: 4998,
    token: { kind: 'file' },
    times: developmentTimes,
    onProgress: () => undefined,
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const silent = { write: () => true };
async function gyre(...args: string[]): Promise<void> {
  const sinks = { stdout: silent, stderr: silent, environment: {} };
  expect(await runProgram([...args, '--dir', dir, '--json'], sinks)).toBe(0);
}

test('is who an orchestrator knows to be revoked, and nobody before', async () => {
  const layout = layoutOf(dir);
  const mesh = await requireMesh(dir);
  expect(await revokedAgents(layout, mesh)).toEqual(new Set());

  const file = join(folder, 'revocation.json');
  await gyre('revocation', 'propose', 'network-a', '--reason', 'host lost', '--out', file);
  for (const operator of ['op-1', 'op-2']) await gyre('revocation', 'sign', file, '--as', operator);
  const config = layout.configFile({ id: 'orchestrator-b', kind: 'orchestrator' });
  const directory = join(dirname(config), memberFiles.state);
  const crypto = createNativeProvider();
  const opened = openTrust(crypto, {
    bundle: await readBundle(layout),
    rootDigest: mesh.rootDigest,
  });
  if (opened.status !== 'ok') throw new Error(opened.reason);
  const store = TrustStore.open({ disk: new SystemDisk(directory), crypto, trust: opened.trust });
  store.keepDocument(JSON.parse(await readFile(file, 'utf8')) as OfferedDocument, Date.now());
  expect(await revokedAgents(layout, mesh)).toEqual(new Set(['network-a']));

  // Damaged, it is the orchestrator who refuses it.
  await writeFile(store.file, '{}');
  expect(await revokedAgents(layout, mesh)).toEqual(new Set());
});
