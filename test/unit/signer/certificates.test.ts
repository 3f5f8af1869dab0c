/** The signer as a certificate authority: whom it certifies, for what, and what is written down of it. */

import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EventBody } from '#schemas/events.ts';
import type { CertificateIssued } from '#schemas/queries.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { validMsMax } from '#shared/core/certificate-evidence.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { chainFault, makeCertificateRequest, openCertificateRequest } from '#shared/crypto/x509.ts';
import { startCertifyingSigner } from '../../support/certifying-signer.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

const names = ['localhost', '127.0.0.1'];
const seed = crypto.randomBytes(32);
const hourMs = 3_600_000;

let world: World;
let signer: Awaited<ReturnType<typeof startCertifyingSigner>>;
const endings: (() => Promise<void>)[] = [];
const records: EventBody<'statement-signed'>[] = [];

beforeEach(async () => {
  world = await makeWorld();
  records.length = 0;
  await follow();
  signer = await startCertifyingSigner(world, names);
});

afterEach(async () => {
  await signer.stop();
  for (const end of endings.splice(0)) await end();
});

/** What the auditor reads in the signer's log. */
async function follow(): Promise<void> {
  const bus = world.bus('auditor');
  const auditor = world.principal('auditor', { bus, observesAll: true });
  await bus.follow(
    {
      stream: 'GYRE_CONTROL',
      subjects: [subjectsOf(world.mesh).signerLog()],
      fromSequence: 1,
    },
    (message) => {
      const opening = auditor.open(message);
      if (opening.status === 'opened' && opening.event.type === 'statement-signed') {
        records.push(opening.event.body);
      }
    },
  );
  endings.push(() => bus.close());
}

async function asks(agentId: string, request: Uint8Array, validMs = hourMs) {
  const bus = world.bus(agentId);
  endings.push(() => bus.close());
  const { layer } = world.trust.agent(agentId) ?? {};
  const channel = layer === undefined ? 'operators' : `layer-${layer}`;
  const query = { ask: 'issue-certificate', request, validMs } as const;
  return world.principal(agentId, { bus }).ask({ agentId: 'signer', channel }, query, 5_000);
}

async function recorded(count: number) {
  await expect.poll(() => records.length).toBe(count);
  return records;
}

test("layer 3's agent gets a certificate, and everyone the root; both are on record", async () => {
  const request = await makeCertificateRequest(crypto, { seed, names });
  const answer = await asks('network-a', request);
  if (!answer.ok) throw new Error(answer.reason);
  const { chain, roots } = answer.result as CertificateIssued;
  const opened = openCertificateRequest(crypto, request);
  if (opened.status !== 'ok') throw new Error(opened.code);
  const { publicKey } = opened;
  const input = { chain, roots, publicKey, names, nowMs: world.clock.nowMs() };
  expect(chainFault(crypto, input)).toBeUndefined();
  const [leaf = new Uint8Array(), root = new Uint8Array()] = [...chain, ...roots];
  const certificate = new X509Certificate(leaf);
  expect(certificate.verify(new X509Certificate(root).publicKey)).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.validToDate.getTime() - world.clock.nowMs()).toBeLessThanOrEqual(hourMs);
  const [authority, server] = await recorded(2);
  expect(authority).toMatchObject({ statement: 'certificate-authority', verdict: 'signed' });
  expect(server).toMatchObject({
    statement: 'certificate',
    requester: 'network-a',
    verdict: 'signed',
    digest: toHex(crypto.sha3_256(leaf)),
    certificate: { names, keyId: toHex(crypto.sha3_256(publicKey)) },
  });
  const bus = world.bus('op-1');
  const query = { ask: 'certificate-roots' } as const;
  const operator = world.principal('op-1', { bus });
  const known = await operator.ask({ agentId: 'signer', channel: 'operators' }, query, 5_000);
  expect(known).toEqual({ ok: true, result: { roots: [root] } });
  await bus.close();
});

test('nobody else is certified, and nothing else: each refusal is on record', async () => {
  const good = await makeCertificateRequest(crypto, { seed, names });
  const foreign = await makeCertificateRequest(crypto, {
    seed,
    names: ['localhost', 'bank.example'],
  });
  const forged = Uint8Array.from(good);
  forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
  // The request of ML-DSA-87 with the identifier of ML-DSA-65 in it.
  const other = Uint8Array.from(good, (byte, at) =>
    good[at - 8] === 0x60 && good[at - 1] === 0x03 && byte === 0x13 ? 0x12 : byte,
  );
  const maxMs = validMsMax(world.trust.policy);
  // Its key may grow old, the certificate not.
  expect(maxMs).toBe(24 * hourMs);
  const attempts = [
    [asks('identity-a', good), 'ORCH-8015'],
    [asks('op-1', good), 'ORCH-8015'],
    [asks('network-a', foreign), 'ORCH-8002'],
    [asks('network-a', forged), 'ORCH-8015'],
    [asks('network-a', other), 'ORCH-8003'],
    [asks('network-a', good, maxMs + 1), 'ORCH-8002'],
    [asks('network-a', good, 0), 'ORCH-8002'],
    [asks('network-a', crypto.randomBytes(500)), 'ORCH-8012'],
  ] as const;
  const codes: string[] = [];
  for (const [attempt, code] of attempts) {
    expect(await attempt).toMatchObject({ ok: false, code });
    codes.push(code);
  }
  const all = await recorded(attempts.length);
  expect(new Set(all.map(({ statement, verdict }) => `${statement} ${verdict}`))).toEqual(
    new Set(['certificate refused']),
  );
  expect(all.map(({ code }) => code)).toEqual(codes);
});

test('the longest that the policy allows is granted', async () => {
  const request = await makeCertificateRequest(crypto, { seed, names: ['LOCALHOST'] });
  expect(await asks('network-a', request, validMsMax(world.trust.policy))).toMatchObject({
    ok: true,
  });
});
