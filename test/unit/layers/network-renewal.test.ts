/**
 * What becomes of certificates over time: renewed long before their end and without a connection lost, held
 * while nobody certifies, and under no other authority than the first that was heard of.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LocalAuthority } from '#agents/layers/3-network/local-authority.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { CertificateAuthority } from '#agents/layers/service/certificate-authority.ts';
import { CertifiedAdapter } from '#agents/layers/service/certified-adapter.ts';
import { serviceApp } from '#agents/layers/service/http-app.ts';
import type { LayerService, ServicePorts } from '#agents/layers/service/service.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { makeCertificate, openCertificateRequest } from '#shared/crypto/x509.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { NetworkWorld } from '../../support/network-world.ts';
import { crypto, quiet, TestClock } from '../../support/world.ts';

const slot = '3/tls-certificate';
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const noContext = new Uint8Array(0);
const hello = 'GET /identity/v1/hello HTTP/1.1\r\nhost: a\r\n\r\n';

let clock: TestClock;
let world: NetworkWorld;

beforeEach(async () => {
  clock = new TestClock();
  // What is issued now is as good as over by the clock that clients have.
  clock.offsetMs = -19 * hourMs;
  const limits = { listener: { idleMs: 60_000 } };
  world = await NetworkWorld.start({ openUpstream, clock, limits });
});

afterEach(() => world.end());

/** An authority of the test's own: its root can be made anew, and it can go away. */
class Authority implements CertificateAuthority {
  isAway = false;
  readonly #key = crypto.importSigningSeed(crypto.randomBytes(32));

  async root(name = 'CN=an authority'): Promise<Uint8Array> {
    return this.#make(
      { publicKey: this.#key.publicKey.raw, subject: name, issuer: name },
      9 * dayMs,
    );
  }

  async issue({ request, validMs }: { request: Uint8Array; validMs: number }) {
    if (this.isAway) {
      throw new AdapterError('SYSTEM_UNREACHABLE', 'nobody certifies', { retryable: true });
    }
    const opened = openCertificateRequest(crypto, request);
    if (opened.status !== 'ok') throw new Error(opened.code);
    const { publicKey, names } = opened;
    const about = { subject: 'CN=a server', issuer: 'CN=an authority', publicKey, names };
    return { chain: [await this.#make(about, validMs)], roots: [await this.root()] };
  }

  #make(
    about: { subject: string; issuer: string; publicKey: Uint8Array; names?: readonly string[] },
    validMs: number,
  ): Promise<Uint8Array> {
    const nowMs = clock.nowMs();
    const order = {
      ...about,
      serial: `40${toHex(crypto.randomBytes(15))}`,
      issuerKey: this.#key.publicKey.raw,
      notBeforeMs: nowMs - 1_000,
      notAfterMs: nowMs + validMs,
    };
    return makeCertificate(crypto, order, async (message) =>
      crypto.sign(this.#key, { message, context: noContext }),
    );
  }
}

async function answers(socket: TLSSocket): Promise<boolean> {
  const before = world.read(socket).length;
  socket.write(hello);
  await expect.poll(() => world.read(socket).slice(before)).toContain('from layer 1');
  return true;
}

async function shown(): Promise<string | undefined> {
  const socket = await world.handshake();
  const fingerprint = socket.getPeerX509Certificate()?.fingerprint256;
  socket.destroy();
  return fingerprint;
}

async function installed(authority: Authority, roots?: Uint8Array[]): Promise<void> {
  const request = await world.adapter.certificateRequest(slot, 1);
  if (request === undefined) throw new Error('nothing is asked for');
  const issued = await authority.issue({ request, validMs: dayMs });
  await world.adapter.installCertificate(slot, 1, { ...issued, ...(roots && { roots }) });
}

test('a certificate is renewed before its end; while nobody certifies, the old one holds and that shows', async () => {
  const authority = new Authority();
  const agent = new CertifiedAdapter({
    remote: world.adapter,
    authority,
    validMs: () => dayMs,
    clock,
    log: quiet,
  });
  const own = world.stateOf('roots.pem');
  agent.start();
  await expect.poll(() => world.stateOf('roots.pem')).not.toBe(own);
  await agent.stop();
  const old = await shown();
  const kept = await world.handshake();
  expect(await answers(kept)).toBe(true);
  const overdue = async () => (await world.adapter.measure())['certificate-overdue-s'] ?? -1;
  expect(await overdue()).toBe(0);
  clock.offsetMs = 0;
  authority.isAway = true;
  const later = new CertifiedAdapter({
    remote: world.adapter,
    authority,
    validMs: () => dayMs,
    clock,
    log: quiet,
  });
  later.start();
  expect(await overdue()).toBeGreaterThan(3_000);
  expect(await shown()).toBe(old);
  authority.isAway = false;
  await expect.poll(shown, { timeout: 10_000 }).not.toBe(old);
  expect(await overdue()).toBe(0);
  expect(await answers(kept)).toBe(true);
  expect(world.read(kept)).not.toContain('connection: close');
  await later.stop();
});

test('once an authority was heard of, roots of nobody else are taken or published', async () => {
  const authority = new Authority();
  const other = new Authority();
  await installed(authority);
  const published = world.stateOf('roots.pem');
  clock.offsetMs = 0;
  const refused = { code: 'STATE_CONFLICT', retryable: false };
  await expect(installed(other)).rejects.toMatchObject(refused);
  const both = [await authority.root(), await other.root()];
  await expect(installed(authority, both)).rejects.toMatchObject(refused);
  const forged = Uint8Array.from(both[0] ?? []);
  forged[forged.length - 9] = (forged.at(-9) ?? 0) ^ 1;
  await expect(installed(authority, [forged])).rejects.toMatchObject(refused);
  expect(world.stateOf('roots.pem')).toBe(published);
  expect(await world.adapter.measure()).toMatchObject({ 'refused-root-refused': 3 });
  await world.network.stop();
  await world.network.start();
  await expect(installed(other)).rejects.toMatchObject(refused);
  // A newer certificate of the same authority is the same authority.
  await installed(authority, [await authority.root()]);
  expect(world.stateOf('roots.pem')).not.toBe(published);
  // Whoever holds the machine may begin anew, with the service stopped.
  await world.network.stop();
  for (const file of ['certificates.json', 'local-authority.json']) {
    rmSync(join(world.folder, 'layer-3', file));
  }
  await world.network.start();
  await installed(other);
  expect(await answers(await world.handshake())).toBe(true);
});

test("the own authority's key is dropped from the disk before it is forgotten, and at the latest at the next start", async () => {
  const folder = join(world.folder, 'layer-1');
  class FullDisk extends SystemDisk {
    isFull = false;
    override replaceFile(name: string, content: Uint8Array): void {
      if (this.isFull) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
      super.replaceFile(name, content);
    }
  }
  const disk = new FullDisk(folder);
  const own = await LocalAuthority.open({ disk, crypto, clock });
  const sealed = () =>
    readFileSync(join(folder, 'local-authority.json'), 'utf8').includes('sealed');
  disk.isFull = true;
  expect(() => own.retire()).toThrow(AdapterError);
  disk.isFull = false;
  expect(sealed()).toBe(true);
  own.retire();
  expect(sealed()).toBe(false);
  own.close();
  const before = world.stateOf('local-authority.json');
  await installed(new Authority());
  await world.network.stop();
  // As if the last start had ended before the key was dropped.
  new SystemDisk(join(world.folder, 'layer-3')).replaceFile(
    'local-authority.json',
    Buffer.from(before),
  );
  await world.network.start();
  expect(world.stateOf('local-authority.json')).not.toContain('sealed');
});

/** A layer that answers. */
async function openUpstream(ports: ServicePorts): Promise<LayerService> {
  const { layer, disk, crypto: provider, clock: time, log } = ports;
  const keys = EmbeddedAdapter.open({
    layer,
    disk,
    crypto: provider,
    clock: time,
    usageWindowMs: 0,
  });
  const { app } = serviceApp({ log, status: {} });
  app.get('/v1/hello', (context) => context.json({ hello: 'from layer 1' }));
  return {
    adapter: keys,
    routes: app,
    configure: async () => undefined,
    measure: () => ({}),
    takeCounts: () => [],
    start: async () => undefined,
    stop: async () => keys.close(),
  };
}
