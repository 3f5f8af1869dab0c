/**
 * The way of a certificate: the service's request, the agent's question, the signer's answer, and a key
 * that is reported as prepared after that and not before.
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CertifiedAdapter } from '#agents/layers/service/certified-adapter.ts';
import { openService } from '#agents/layers/3-network/service.ts';
import { showsCertificate, verificationOf } from '#agents/layers/service/handshake-probe.ts';
import { SignerAuthority } from '#agents/layers/3-network/signer-authority.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { TlsClient } from '#agents/layers/service/tls-client.ts';
import { validMsMax } from '#shared/core/certificate-evidence.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { startCertifyingSigner } from '../../support/certifying-signer.ts';
import { RunningService } from '../../support/layer-service.ts';
import { makeWorld, quiet, type World } from '../../support/world.ts';

const slot = '3/tls-certificate';
const names = ['localhost'];
const challenge = new Uint8Array([1]);
const health = { method: 'GET', path: '/network/v1/health' } as const;

let world: World;
let network: RunningService;
let remote: RemoteAdapter;
let agent: Principal;
const ends: (() => Promise<void>)[] = [];

beforeEach(async () => {
  world = await makeWorld();
  const listen = { host: '127.0.0.1', port: 0, names };
  network = await RunningService.start({ layer: 3, open: openService, config: { listen } });
  remote = await network.adapter();
  const bus = world.bus('network-a');
  agent = world.principal('network-a', { bus });
  ends.push(async () => {
    await bus.close();
    remote.close();
    await network.end();
  });
});

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

function adapterOf(exchange: Principal): CertifiedAdapter {
  const { trust, clock } = world;
  const authority = new SignerAuthority({ exchange, trust });
  const validMs = (): number => validMsMax(trust.policy);
  return new CertifiedAdapter({ remote, authority, validMs, clock, log: quiet });
}

function roots(): string {
  return readFileSync(join(network.folder, 'layer-3', 'roots.pem'), 'utf8');
}

/** What a verification makes of a listener elsewhere. */
async function probed(port: number, pinned: string) {
  const target = { host: '127.0.0.1', port, name: 'localhost', roots: [pinned] };
  return verificationOf(await showsCertificate(target, new Uint8Array()));
}

async function reaches(pinned: string): Promise<boolean> {
  const { port } = JSON.parse(
    readFileSync(join(network.folder, 'layer-3', 'listening'), 'utf8'),
  ) as { port: number };
  const client = new TlsClient({ host: '127.0.0.1', port, name: 'localhost', roots: pinned });
  const answer = await client.ask(health).catch(() => undefined);
  client.close();
  return answer?.status === 'done';
}

test('where nobody shakes hands, nothing is said of the key; where what is shown fails, it is', async () => {
  const { port } = JSON.parse(
    readFileSync(join(network.folder, 'layer-3', 'listening'), 'utf8'),
  ) as { port: number };
  expect(await probed(port, roots())).toMatchObject({ ok: false, reason: /another/ });
  expect(await probed(port, rootCertificates[0] ?? '')).toMatchObject({
    ok: false,
    reason: /fail/,
  });
  const closing = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(closing, 'listening');
  const elsewhere = (closing.address() as AddressInfo).port;
  const unreachable = { code: 'SYSTEM_UNREACHABLE', retryable: true };
  await expect(probed(elsewhere, roots())).rejects.toMatchObject(unreachable);
  closing.close();
  await once(closing, 'close');
  await expect(probed(elsewhere, roots())).rejects.toMatchObject(unreachable);
});

test('a key is prepared once the signer has certified it; clients need its root alone', async () => {
  const own = roots();
  const signer = await startCertifyingSigner(world, names);
  ends.push(() => signer.stop());
  const adapter = adapterOf(agent);
  adapter.start();
  await expect.poll(() => roots() !== own).toBe(true);
  const pinned = roots();
  expect(await reaches(pinned)).toBe(true);
  await adapter.prepare(slot, 2);
  await adapter.activate(slot, 2, challenge);
  expect(await adapter.verify(slot, 2)).toEqual({ ok: true });
  expect(roots()).toBe(pinned);
  expect(await reaches(pinned)).toBe(true);
  expect(await reaches(own)).toBe(false);
  await adapter.rollback(slot, 1);
  expect(await adapter.verify(slot, 1)).toEqual({ ok: true });
  expect(await reaches(pinned)).toBe(true);
  await adapter.stop();
});

test('what the signer refuses is a failed step; a signer that is away is worth another try', async () => {
  const signer = await startCertifyingSigner(world, ['elsewhere.example']);
  const adapter = adapterOf(agent);
  await expect(adapter.prepare(slot, 2)).rejects.toMatchObject({
    code: 'STATE_CONFLICT',
    retryable: false,
  });
  await signer.stop();
  await expect(adapter.prepare(slot, 2)).rejects.toMatchObject({
    code: 'SYSTEM_UNREACHABLE',
    retryable: true,
  });
  // The service goes on with its own authority's certificate.
  expect(await reaches(roots())).toBe(true);
});
