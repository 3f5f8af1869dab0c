/** A proof of telemetry as a file: it holds anywhere, and not one byte of it can be changed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TelemetryRecent } from '#schemas/telemetry.ts';
import { verifyProofFile } from '#cli/telemetry/actions.ts';
import { renderProven, renderRecent } from '#cli/telemetry/render.ts';
import { plainStyle } from '#cli/style.ts';
import { openBatch, parseBatch, proveEvent } from '#shared/crypto/batch.ts';
import { fromHex, toBase64Url } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { SenderChain } from '#shared/crypto/sender-chain.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

let world: World;
const folder = mkdtempSync(join(tmpdir(), 'gyre-proof-'));
const file = join(folder, 'event.proof');

beforeAll(async () => {
  world = await makeWorld();
});
afterAll(() => rmSync(folder, { recursive: true }));

async function proofOf(sender: string, subject: string, events: readonly unknown[]) {
  const signingKey = world.keys.get(sender);
  const keyring = world.keyring('database-a');
  const secret = keyring.secretOf({ channel: 'telemetry', epoch: 1 });
  if (signingKey === undefined || secret === undefined) throw new Error('no key');
  const chain = new SenderChain({ crypto, sender, signingKey, keyring });
  const timeMs = world.clock.nowMs();
  const { frame } = await chain.sealBatch({
    lane: 'bulk',
    audience: 'telemetry',
    subject,
    channel: 'telemetry',
    registryVersion: 1,
    registryDigest: fromHex(world.trust.registryDigest) ?? new Uint8Array(),
    policyVersion: 1,
    policyDigest: fromHex(world.trust.policyDigest) ?? new Uint8Array(),
    type: 'telemetry-batch',
    schemaVersion: 1,
    timeMs,
    expiresMs: timeMs + 1,
    eventId: 'batch-1',
    events: events.map((event) => encodeCanonical(event, { floats: true })),
  });
  const parsed = parseBatch(frame);
  if (!parsed.ok) throw new Error(parsed.code);
  const opened = openBatch(crypto, parsed.batch, secret);
  if (!opened.ok) throw new Error(opened.code);
  return proveEvent(crypto, parsed.batch, { ...opened, index: 0 });
}

function write(proof: object, changes: object = {}): void {
  const text = toBase64Url(encodeCanonical(proof));
  const content = { format: 'gyre-telemetry-proof/1', bundle: world.bundle, proof: text };
  writeFileSync(file, JSON.stringify({ ...content, ...changes }));
}

const subject = 'gyre.v1.test.telemetry.5.database-a';
const beat = { kind: 'heartbeat', atMs: 1, sequence: 7 };
const verify = (rootDigest = world.rootDigest) => verifyProofFile(file, rootDigest);

test('a proof holds with the digest of the root alone', async () => {
  write(await proofOf('database-a', subject, [beat, beat]));
  const proven = await verify();
  expect(proven).toMatchObject({
    agentId: 'database-a',
    layer: 5,
    index: 0,
    count: 2,
    event: beat,
  });
  const text = renderProven(proven, plainStyle);
  expect(text).toContain('database-a of layer 5');
  expect(text).toContain('heartbeat 7');
});

test.each<[string, string, string, readonly unknown[]]>([
  ['of a sender that is no layer agent', 'SENDER_NOT_ENTITLED', 'op-1', [beat]],
  ['on the subject of another agent', 'SUBJECT_MISMATCH', 'phi-a', [beat]],
  ['of what is not telemetry', 'BODY_MALFORMED', 'database-a', [{ command: 'halt' }]],
])('a proof %s is refused: %s', async (_name, code, sender, events) => {
  write(await proofOf(sender, subject, events));
  await expect(verify()).rejects.toMatchObject({ code });
});

test('another root, another event, another file', async () => {
  const proof = await proofOf('database-a', subject, [beat]);
  write(proof);
  await expect(verify('0'.repeat(64))).rejects.toMatchObject({ code: 'ROOT_NOT_PINNED' });
  write({ ...proof, event: encodeCanonical({ ...beat, sequence: 8 }) });
  await expect(verify()).rejects.toMatchObject({ code: 'SIGNATURE_INVALID' });
  write({ ...proof, salt: new Uint8Array(31) });
  await expect(verify()).rejects.toMatchObject({ code: 'FRAME_MALFORMED' });
  write(proof, { format: 'something else' });
  await expect(verify()).rejects.toMatchObject({ code: 'FILE_MALFORMED' });
  write(proof, { proof: 'AAAA' });
  await expect(verify()).rejects.toMatchObject({ code: 'FILE_MALFORMED' });
  writeFileSync(file, 'no JSON');
  await expect(verify()).rejects.toMatchObject({ code: 'FILE_MALFORMED' });
  await expect(verifyProofFile(join(folder, 'none'), world.rootDigest)).rejects.toMatchObject({
    code: 'FILE_UNREADABLE',
  });
});

test('recent telemetry names who is silent, and lists the events of one agent', () => {
  const agent = {
    agentId: 'database-a',
    silentMs: 12_300,
    silent: true,
    missed: 3,
    batches: 2,
    events: 4,
    measurements: [{ metric: 'resident-bytes', value: 5, atMs: 1 }],
    usage: [],
    recent: [],
  };
  const recent: TelemetryRecent = { orchestrator: 'orchestrator-a', sinceMs: 1, agents: [agent] };
  expect(renderRecent(recent, plainStyle, false)).toContain('none for 12.3 s');
  expect(renderRecent(recent, plainStyle, false)).not.toContain('resident-bytes');
  expect(renderRecent(recent, plainStyle, true)).toContain('resident-bytes  5');
});
