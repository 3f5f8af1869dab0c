/**
 * Layer 3's service over real sockets: what it carries and what it refuses, and that turning its keys costs
 * no request. Behind it stands a small service in the place of layer 1.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LocalAuthority } from '#agents/layers/3-network/local-authority.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { bodyOf, serviceApp } from '#agents/layers/service/http-app.ts';
import { strictSettings } from '#agents/layers/service/kept-settings.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import type { LayerService, ServicePorts } from '#agents/layers/service/service.ts';
import type { TlsClient, TlsClientOptions } from '#agents/layers/service/tls-client.ts';
import { compile, StrictObject, Text } from '#schemas/primitives.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import type { RunningService } from '../../support/layer-service.ts';
import { NetworkWorld } from '../../support/network-world.ts';
import { crypto } from '../../support/world.ts';

const certificate = '3/tls-certificate';
const ticket = '3/session-ticket';
const names = ['localhost', '127.0.0.1'];
const challenge = new Uint8Array([1]);
const written = compile(StrictObject({ text: Text(100_000) }));

let world: NetworkWorld;
let network: RunningService;
let upstream: RunningService;
let adapter: RemoteAdapter;
/** What the service wrote for people. */
const logged: { fields: Readonly<Record<string, unknown>>; message: string }[] = [];
const keep: Log['info'] = (fields, message) => void logged.push({ fields, message });
const log: Log = { debug: keep, info: keep, warn: keep, error: keep };
/** What a slow answer of the upstream service waits for. */
let goOn: () => void = () => undefined;

beforeEach(async () => {
  const limits = { forwarder: { restartMs: 300 } };
  world = await NetworkWorld.start({ openUpstream, names, log, limits });
  ({ network, upstream, adapter } = world);
});

afterEach(async () => {
  logged.length = 0;
  await world.end();
});

const stateOf = (file: string): string => world.stateOf(file);
const client = (options: Partial<TlsClientOptions> = {}): TlsClient => world.client(options);
const handshake = (options: ConnectionOptions = {}): Promise<TLSSocket> => world.handshake(options);
const read = (socket: TLSSocket): string => world.read(socket);

/** What came to the service. */
const paths: string[] = [];
const get = (path: string) => ({ method: 'GET', path }) as const;
const hello = get('/identity/v1/hello');

test('carries requests to the layer that is named, and to nothing but /v1/', async () => {
  const user = client();
  expect(await user.ask(hello)).toEqual({ status: 'done', body: { hello: 'from layer 1' } });
  expect(await user.ask(get('/network/v1/health'))).toMatchObject({ body: { layer: 3 } });
  const text = 'x'.repeat(60_000);
  const post = { method: 'POST', path: '/identity/v1/echo?a=1', body: { text } } as const;
  const headers = { connection: 'x-secret', 'x-secret': 'of this connection', 'x-kept': 'yes' };
  expect(await user.ask({ ...post, headers })).toEqual({
    status: 'done',
    body: { text, query: '1', kept: 'yes', secret: 'none' },
  });
  const nowhere = [
    '/identity/internal/v1/hidden',
    '/identity/v1/../internal/v1/hidden',
    '/identity/v1/%2e%2e/internal/v1/hidden',
    '/identity/v1/..\\internal/v1/hidden',
    '//identity/v1/hello',
    '/nothing/v1/hello',
    '/v1/hello',
    '/phi/v1/hello/../../../identity/v2/',
  ];
  for (const path of nowhere) {
    expect(await user.ask(get(path))).toMatchObject({ status: 'refused', code: 'PATH_UNKNOWN' });
  }
  const large = { method: 'POST', path: '/identity/v1/echo', body: { text: 'x'.repeat(9e6) } };
  expect(await user.ask({ ...large, method: 'POST' })).toMatchObject({ code: 'BODY_TOO_LARGE' });
  expect(await adapter.measure()).toMatchObject({ 'refused-path-unknown': nowhere.length });
});

test('a body is never taken for another request, whatever frames it', async () => {
  paths.length = 0;
  for (const method of ['GET', 'DELETE', 'POST']) {
    const smuggled = 'POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n';
    const socket = await handshake();
    socket.write(
      `${method} /identity/v1/hello HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    const chunk = smuggled + 'x'.repeat(300_000);
    socket.write(`${chunk.length.toString(16)}\r\n${chunk}\r\n0\r\n\r\n`);
    await expect.poll(() => read(socket), { timeout: 20_000 }).toContain('HTTP/1.1');
    socket.destroy();
  }
  expect(await client().ask(hello)).toMatchObject({ status: 'done' });
  expect(paths.filter((path) => path === 'POST /v1/echo')).toEqual([]);
});

test('a service that is down is answered for with a code, and found again', async () => {
  const user = client();
  await user.ask(hello);
  await upstream.stop();
  expect(await user.ask(hello)).toEqual({
    status: 'refused',
    code: 'UPSTREAM_UNAVAILABLE',
    reason: 'the service cannot be reached',
    retryable: true,
  });
  const asked = user.ask(hello);
  await upstream.start();
  expect(await asked).toMatchObject({ status: 'done' });
});

test('a connection to a service that breaks is tried once more, body and all, and not twice', async () => {
  const answers: (string | undefined)[] = [undefined, '{"heard":true}', undefined, undefined];
  const heard: string[] = [];
  const ids: (string | undefined)[] = [];
  const fragile = createServer((request, response) => {
    const answer = answers.shift();
    ids.push(request.headers['request-id']?.toString());
    request.setEncoding('utf8').on('data', (text: string) => heard.push(text));
    request.on('end', () =>
      answer === undefined ? request.socket.destroy() : response.end(answer),
    );
  });
  fragile.listen(join(world.folder, '2.service.sock'));
  await once(fragile, 'listening');
  const body = { text: 'x' };
  const headers = { 'request-id': 'mine' };
  const asked = { method: 'POST', path: '/authorization/v1/any', body, headers } as const;
  const user = client();
  expect(await user.ask(asked)).toEqual({ status: 'done', body: { heard: true } });
  expect(heard).toEqual(['{"text":"x"}', '{"text":"x"}']);
  expect(await user.ask(asked)).toMatchObject({ code: 'UPSTREAM_BROKEN', retryable: true });
  expect(await adapter.measure()).toMatchObject({ retries: 2, 'refused-upstream-broken': 1 });
  // Both tries are one request to the service, another request is another one, and none is named by the client.
  expect([ids[0] === ids[1], ids[2] === ids[3], ids[1] === ids[2]]).toEqual([true, true, false]);
  expect(ids).not.toContain('mine');
  fragile.close();
  fragile.closeAllConnections();
});

test('every slot is turned under load, and rolled back, and no request fails', async () => {
  let isOver = false;
  const counts = { done: 0, failed: 0 };
  const load = async (user: TlsClient): Promise<void> => {
    while (!isOver) {
      const answer = await user.ask(hello).catch(() => undefined);
      counts[answer?.status === 'done' ? 'done' : 'failed'] += 1;
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  };
  const [kept, fresh] = [client(), client({ keepAlive: false })];
  const users = [load(kept), load(fresh)];
  const someMore = async (): Promise<void> => {
    const { done } = counts;
    await expect.poll(() => counts.done).toBeGreaterThan(done + 4);
  };
  for (const slot of [certificate, ticket, '3/key-exchange']) {
    for (const version of [2, 3]) {
      await adapter.prepare(slot, version);
      await adapter.activate(slot, version, challenge);
      expect(await adapter.verify(slot, version)).toEqual({ ok: true });
      await someMore();
    }
    await adapter.rollback(slot, 2);
    expect(await adapter.verify(slot, 2)).toEqual({ ok: true });
    await someMore();
    await expect.poll(() => adapter.usesLately(slot, 3)).toBe(0);
    await adapter.retire(slot, 3);
    await expect.poll(() => adapter.usesLately(slot, 1)).toBe(0);
    await adapter.retire(slot, 1);
  }
  isOver = true;
  await Promise.all(users);
  expect(counts.failed).toBe(0);
  expect(kept.retries + fresh.retries).toBe(0);
});

test('an open connection outlives the certificate that it was made with', async () => {
  const policyDigest = 'a'.repeat(64);
  await adapter.configure({ ...strictSettings, policyVersion: 1, policyDigest, overlapMs: 60_000 });
  const socket = await handshake();
  const old = fingerprintOf(socket);
  socket.write('GET /identity/v1/slow HTTP/1.1\r\nhost: a\r\n\r\n');
  await expect.poll(() => read(socket)).toContain('begin');
  await adapter.prepare(certificate, 2);
  await adapter.activate(certificate, 2, challenge);
  expect(await adapter.verify(certificate, 2)).toEqual({ ok: true });
  expect(await adapter.usesLately(certificate, 1)).toBeGreaterThanOrEqual(1);
  goOn();
  await expect.poll(() => read(socket)).toContain('end');
  socket.write('GET /identity/v1/hello HTTP/1.1\r\nhost: a\r\n\r\n');
  await expect.poll(() => read(socket)).toContain('from layer 1');
  expect(read(socket)).not.toContain('connection: close');
  const other = await handshake();
  expect(fingerprintOf(other)).not.toBe(old);
  socket.destroy();
  await expect.poll(() => adapter.usesLately(certificate, 1)).toBe(0);
});

test('a session is resumed; under new ticket keys it becomes a full handshake', async () => {
  const first = await handshake();
  const [session] = (await once(first, 'session')) as [Buffer];
  expect((await handshake({ session })).isSessionReused()).toBe(true);
  await adapter.prepare(ticket, 2);
  await adapter.activate(ticket, 2, challenge);
  expect(await adapter.verify(ticket, 2)).toEqual({ ok: true });
  expect((await handshake({ session })).isSessionReused()).toBe(false);
  await adapter.rollback(ticket, 1);
  expect((await handshake({ session })).isSessionReused()).toBe(true);
});

test('what is not TLS 1.3 with the hybrid group is refused, counted under its code, and logged with it alone', async () => {
  const failed = async (options: ConnectionOptions) =>
    handshake(options).then(fingerprintOf, codeOf);
  expect(await failed({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).toMatch(/^E/);
  expect(await failed({ ecdhCurve: 'X25519' })).toMatch(/^E/);
  expect(await failed({ ecdhCurve: 'X25519MLKEM768' })).toMatch(/^E/);
  expect(await failed({ sigalgs: 'ecdsa_secp384r1_sha384' })).toMatch(/^E/);
  expect(await failed({ servername: 'bank.example' })).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
  const { host, port } = world.address;
  const plain = connectPlain(port, host);
  plain.write('GET /identity/v1/hello HTTP/1.1\r\nhost: a\r\nauthorization: secret-token\r\n\r\n');
  plain.resume();
  await once(plain, 'close');
  await expect
    .poll(() => adapter.measure())
    .toMatchObject({
      'refused-tls-version-refused': 1,
      'refused-group-refused': 2,
      'refused-signature-algorithm-refused': 1,
      'refused-plaintext-refused': 1,
    });
  const refusals = logged.filter(({ message }) => message === 'a connection is refused');
  for (const code of ['TLS_VERSION_REFUSED', 'GROUP_REFUSED', 'PLAINTEXT_REFUSED']) {
    const lines = refusals.filter(({ fields }) => fields['code'] === code);
    expect(lines).toHaveLength(code === 'GROUP_REFUSED' ? 2 : 1);
    // Nothing of the client, and nothing that it sent.
    for (const { fields } of lines) expect(Object.keys(fields)).toEqual(['code']);
  }
  expect(JSON.stringify(refusals)).not.toMatch(/127\.0\.0\.1|secret-token|hello/);
  const excepted = { ...strictSettings, policyVersion: 1, tlsGroupExceptions: ['X25519MLKEM768'] };
  await adapter.configure({ ...excepted, policyDigest: 'a'.repeat(64) });
  expect(await failed({ ecdhCurve: 'X25519MLKEM768' })).toBe(await failed({}));
});

test("an authority takes the place of the service's own, and no key comes into use without it", async () => {
  const before = stateOf('roots.pem');
  const authority = await otherAuthority();
  await adapter.prepare(certificate, 2);
  const request = await adapter.certificateRequest(certificate, 1);
  if (request === undefined) throw new Error('nothing is asked for');
  const issued = await authority.issue({ request, validMs: 3_600_000 });
  const install = (version: number) => adapter.installCertificate(certificate, version, issued);
  await expect(install(2)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  const forged = { ...issued, roots: [issued.chain[0] ?? new Uint8Array()] };
  await expect(adapter.installCertificate(certificate, 1, forged)).rejects.toMatchObject({
    code: 'STATE_CONFLICT',
  });
  await install(1);
  expect(stateOf('roots.pem')).not.toBe(before);
  expect(await client().ask(hello)).toMatchObject({ status: 'done' });
  await expect(client({ roots: before }).ask(hello)).rejects.toMatchObject({ code: 'UNREACHABLE' });
  expect(await adapter.certificateRequest(certificate, 1)).toBeUndefined();
  await expect(adapter.activate(certificate, 2, challenge)).rejects.toMatchObject({
    code: 'STATE_CONFLICT',
  });
  const next = await adapter.certificateRequest(certificate, 2);
  const chain = await authority.issue({ request: next ?? request, validMs: 3_600_000 });
  await adapter.installCertificate(certificate, 2, chain);
  await adapter.activate(certificate, 2, challenge);
  const shown = fingerprintOf(await handshake());
  await network.stop();
  await network.start();
  expect(fingerprintOf(await handshake())).toBe(shown);
  await adapter.rollback(certificate, 1);
  expect(await adapter.verify(certificate, 1)).toEqual({ ok: true });
  expect(fingerprintOf(await handshake())).not.toBe(shown);
});

/** Somebody else's authority: another service's own. */
async function otherAuthority(): Promise<LocalAuthority> {
  const elsewhere = new SystemDisk(join(world.folder, 'layer-1'));
  const authority = await LocalAuthority.open({ disk: elsewhere, crypto, clock: systemClock });
  world.atEnd(() => authority.close());
  return authority;
}

function fingerprintOf(socket: TLSSocket): string {
  return socket.getPeerX509Certificate()?.fingerprint256 ?? 'none';
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'none';
}

/** What stands behind: an answer, an echo, and one that takes its time. */
async function openUpstream(ports: ServicePorts): Promise<LayerService> {
  const { layer, disk, crypto: provider, clock } = ports;
  const keys = EmbeddedAdapter.open({ layer, disk, crypto: provider, clock, usageWindowMs: 0 });
  const { app } = serviceApp({ log, status: {}, bodyBytesMax: 200_000 });
  app.use(async (context, next) => {
    paths.push(`${context.req.method} ${context.req.path}`);
    await next();
  });
  app.get('/v1/hello', (context) => context.json({ hello: 'from layer 1' }));
  app.get('/internal/v1/hidden', (context) => context.json({ hidden: true }));
  app.post('/v1/echo', async (context) => {
    const { text } = await bodyOf(context, written);
    const secret = context.req.header('x-secret') ?? 'none';
    const kept = context.req.header('x-kept') ?? 'none';
    return context.json({ text, query: context.req.query('a') ?? 'none', kept, secret });
  });
  app.get('/v1/slow', () => {
    const waiting = new Promise<void>((resolve) => (goOn = resolve));
    const body = new ReadableStream({
      start: async (controller) => {
        controller.enqueue(new TextEncoder().encode('begin'));
        await waiting;
        controller.enqueue(new TextEncoder().encode('end'));
        controller.close();
      },
    });
    return new Response(body);
  });
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
