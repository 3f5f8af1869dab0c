/**
 * What one client may hold of layer 3's listener, and for how long: whoever is slow, or takes all that he
 * may, is refused with a code and leaves room for others. Another client is another address of this
 * machine (127.0.0.2).
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectPlain, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { clientOf, ClientShares } from '#agents/layers/3-network/client-shares.ts';
import type { NetworkLimits } from '#agents/layers/3-network/service.ts';
import { runEffect } from '#agents/layers/step-effects.ts';
import type { StepTask } from '#agents/layers/step-task.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { serviceApp } from '#agents/layers/service/http-app.ts';
import type { LayerService, ServicePorts } from '#agents/layers/service/service.ts';
import type { TlsClient } from '#agents/layers/service/tls-client.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { NetworkWorld } from '../../support/network-world.ts';
import { crypto } from '../../support/world.ts';

const hello = { method: 'GET', path: '/identity/v1/hello' } as const;
const held = { method: 'GET', path: '/identity/v1/held' } as const;
const genuine = { localAddress: '127.0.0.2' };
const head = 'host: localhost\r\n';

let world: NetworkWorld;
/** Answers that wait for the test. */
const waiting: (() => void)[] = [];

afterEach(async () => {
  for (const go of waiting.splice(0)) go();
  await world.end();
});

async function start(limits: NetworkLimits): Promise<TlsClient> {
  world = await NetworkWorld.start({ openUpstream, limits });
  return world.client();
}

/** The answer to a request of another address. */
async function served(path: string = hello.path): Promise<string> {
  const socket = await world.handshake(genuine);
  socket.write(`GET ${path} HTTP/1.1\r\n${head}connection: close\r\n\r\n`);
  await once(socket, 'close');
  return world.read(socket);
}

/** A request whose body does not come to its end. */
async function stalledUpload(bytes: number, more = 'x') {
  const socket = await world.handshake();
  socket.write(
    `POST /identity/v1/hello HTTP/1.1\r\n${head}content-length: ${bytes}\r\n\r\n${more}`,
  );
  return socket;
}

test('a body that comes slowly holds no place of a service, and is given up with a code', async () => {
  const user = await start({ forwarder: { inFlightMax: 1, bodyMs: 400 } });
  const slow = await Promise.all([stalledUpload(10), stalledUpload(10)]);
  expect(await user.ask(hello)).toMatchObject({ status: 'done' });
  for (const socket of slow) {
    await expect.poll(() => world.read(socket)).toContain('408 ');
    expect(world.read(socket)).toContain('BODY_TIMEOUT');
  }
  expect(await world.adapter.measure()).toMatchObject({ 'refused-body-timeout': 2 });
});

test('requests of one client are bounded, whatever others do; so are the bytes it has sent', async () => {
  const limits = { requestsPerClientMax: 2, bodyBytesPerClientMax: 1_000, requestsMax: 100 };
  const user = await start({ forwarder: limits });
  const asked = [user.ask(held), user.ask(held)];
  await expect.poll(() => waiting.length).toBe(2);
  const refused = { status: 'refused', code: 'CLIENT_OVERLOADED', retryable: true };
  expect(await user.ask(hello)).toMatchObject(refused);
  expect(await served()).toContain('200 OK');
  for (const go of waiting.splice(0)) go();
  expect(await Promise.all(asked)).toMatchObject([{ status: 'done' }, { status: 'done' }]);
  expect(await user.ask(hello)).toMatchObject({ status: 'done' });
  const first = await stalledUpload(700, 'x'.repeat(600));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const second = await stalledUpload(700, 'x'.repeat(600));
  await expect.poll(() => world.read(second)).toContain('429 ');
  expect(world.read(first)).toBe('');
  expect(await served()).toContain('200 OK');
  first.write('x'.repeat(100));
  await expect.poll(() => world.read(first)).toContain('404 ');
  expect(await world.adapter.measure()).toMatchObject({ 'refused-client-overloaded': 2 });
});

test('connections of one client are bounded, handshakes that do not come included', async () => {
  await start({ listener: { connectionsPerClientMax: 3, handshakeMs: 1_000 } });
  const { host, port } = world.address;
  const silent: Socket[] = [];
  for (let count = 0; count < 3; count += 1) {
    const socket = connectPlain({ host, port });
    world.atEnd(() => socket.destroy());
    socket.on('error', () => undefined).resume();
    await once(socket, 'connect');
    silent.push(socket);
  }
  await expect(world.handshake()).rejects.toMatchObject({ code: /^E/ });
  expect(await served()).toContain('200 OK');
  const counted = await world.adapter.measure();
  expect(counted).toMatchObject({ 'refused-connections-exceeded': 1 });
  expect(counted).not.toHaveProperty('refused-handshake-failed');
  await Promise.all(silent.map((socket) => once(socket, 'close')));
  expect((await world.handshake()).authorized).toBe(true);
  expect(await world.adapter.measure()).toMatchObject({ 'refused-handshake-failed': 3 });
});

test('whoever holds all connections does not keep its keys from being turned, or turned back', async () => {
  await start({ listener: { connectionsPerClientMax: 4, connectionsMax: 8 } });
  const { host, port } = world.address;
  let held = 0;
  const hold = (localAddress: string): void => {
    const socket = connectPlain({ host, port, localAddress });
    held += 1;
    socket.on('error', () => undefined).resume();
    socket.once('close', () => (held -= 1));
    world.atEnd(() => socket.destroy());
  };
  for (let each = 0; each < 4; each += 1) ['127.0.0.2', '127.0.0.3'].forEach(hold);
  await expect(world.handshake()).rejects.toMatchObject({ code: /^E/ });
  const { adapter } = world;
  const ports = { adapter, crypto, clock: systemClock };
  for (const slot of ['3/tls-certificate', '3/session-ticket']) {
    const [before] = (await adapter.inspect()).find((each) => each.slot === slot)?.versions ?? [];
    if (before === undefined) throw new Error(`no key of ${slot}`);
    const made = await adapter.prepare(slot, 2);
    await adapter.activate(slot, 2, new Uint8Array(32));
    const turned = {
      slot,
      keyKind: 'signature',
      role: 'owner',
      checkpoint: before,
      candidate: made,
    };
    const task = { commandId: 'c-1', planDigest: '0'.repeat(64), recovers: false, slots: [turned] };
    for (const operation of ['verify', 'rollback'] as const) {
      const effect = await runEffect({ ...task, operation } as unknown as StepTask, ports);
      expect(effect).toMatchObject({ status: 'done' });
    }
  }
  expect(held).toBe(8);
});

test('heads that do not come to their end, and connections that nobody uses, go', async () => {
  await start({ listener: { headMs: 300, requestMs: 300, idleMs: 200, lookMs: 50 } });
  const [mute, half, idle] = [
    await world.handshake(),
    await world.handshake(),
    await world.handshake(),
  ];
  half.write('GET /identity/v1/hello HTTP/1.1\r\nhost: loc');
  idle.write(`GET /identity/v1/hello HTTP/1.1\r\n${head}\r\n`);
  await Promise.all([mute, half, idle].map((socket) => once(socket, 'close')));
  expect(world.read(idle)).toContain('200 OK');
  expect(world.read(half)).toContain('408 ');
  expect(await world.adapter.measure()).toMatchObject({ 'refused-request-timeout': 2 });
});

test('an answer that is not taken does not hold its place for ever', async () => {
  const user = await start({ forwarder: { inFlightMax: 1, answerMs: 700 } });
  const slow = await world.handshake();
  slow.pause();
  slow.write(`GET /identity/v1/endless HTTP/1.1\r\n${head}\r\n`);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(await user.ask(hello)).toMatchObject({ code: 'OVERLOADED' });
  await expect.poll(async () => (await user.ask(hello)).status, { timeout: 5_000 }).toBe('done');
  expect(await world.adapter.measure()).toMatchObject({ 'refused-answer-not-taken': 1 });
});

test('a service that hangs is answered for within a second, and asked again once it is back', async () => {
  const user = await start({ forwarder: { silenceMs: 200 } });
  let heard = 0;
  let isWell = false;
  const hanging = createServer((_, response) => {
    heard += 1;
    if (isWell) response.end('{}');
  });
  world.atEnd(() => {
    hanging.close();
    hanging.closeAllConnections();
  });
  hanging.listen(join(world.folder, '2.service.sock'));
  await once(hanging, 'listening');
  const ask = () => user.ask({ method: 'GET', path: '/authorization/v1/any' });
  // Who goes away before the answer says nothing of the service.
  for (let count = 0; count < 8; count += 1) {
    const gone = await world.handshake();
    gone.write(`GET /authorization/v1/any HTTP/1.1\r\n${head}\r\n`);
    await expect.poll(() => heard).toBe(count + 1);
    gone.destroy();
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await world.adapter.measure()).toMatchObject({ 'circuits-open': 0 });
  await Promise.all(Array.from({ length: 5 }, ask));
  expect(await world.adapter.measure()).toMatchObject({ 'circuits-open': 1 });
  const before = heard;
  const answers = await Promise.all(Array.from({ length: 8 }, ask));
  expect(new Set(answers.map((answer) => 'code' in answer && answer.code))).toEqual(
    new Set(['UPSTREAM_UNAVAILABLE', 'UPSTREAM_BROKEN']),
  );
  // But for what tried whether it is back.
  expect(heard - before).toBeLessThan(8);
  expect(await user.ask(hello)).toMatchObject({ status: 'done' });
  isWell = true;
  expect(await ask()).toMatchObject({ status: 'done' });
  expect(await world.adapter.measure()).toMatchObject({ 'circuits-open': 0 });
});

test('a service that is started anew is waited for, by all who ask meanwhile', async () => {
  const user = await start({});
  await user.ask(hello);
  await world.upstream.stop();
  const asked = Array.from({ length: 12 }, () => user.ask(hello));
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await world.upstream.start();
  const answers = await Promise.all(asked);
  expect(answers.filter(({ status }) => status !== 'done')).toEqual([]);
});

test('the circuit of a service that was down costs no request once it is there again', async () => {
  const user = await start({ forwarder: { restartMs: 300 } });
  await user.ask(hello);
  await world.upstream.stop();
  await Promise.all(Array.from({ length: 12 }, () => user.ask(hello)));
  const circuits = await world.adapter.measure();
  expect(circuits).toMatchObject({ 'circuits-open': 1 });
  // Long enough for the pauses between tries to have grown.
  for (let asked = 0; asked < 3; asked += 1) {
    await Promise.all(Array.from({ length: 12 }, () => user.ask(hello)));
  }
  await world.upstream.start();
  const answers = await Promise.all(Array.from({ length: 12 }, () => user.ask(hello)));
  expect(answers.filter(({ status }) => status !== 'done')).toEqual([]);
});

test('those who wait for a service that is away keep no place from the others', async () => {
  const user = await start({ forwarder: { inFlightMax: 1 } });
  await user.ask(hello);
  await world.upstream.stop();
  const waiting8 = Array.from({ length: 8 }, () => user.ask(hello));
  await new Promise((resolve) => setTimeout(resolve, 50));
  // One of them tries now and then, for an instant.
  const health = { method: 'GET', path: '/network/v1/health' } as const;
  const standing = async (): Promise<string> => (await user.ask(health)).status;
  await expect.poll(standing, { timeout: 4_000 }).toBe('done');
  await world.upstream.start();
  await Promise.all(waiting8);
});

/** Requests that are sent one behind the other over one connection, and all taken at once. */
async function crowd(path: string, count: number, options: { localAddress?: string } = {}) {
  const socket = await world.handshake(options);
  socket.write(`GET ${path} HTTP/1.1\r\n${head}\r\n`.repeat(count));
  return socket;
}

test('who waits for a service that is away is served by the others', async () => {
  const user = await start({});
  // What nine requests in a second come to in the fifteen for which it is waited for.
  await crowd('/phi/v1/any', 135);
  const refused = async () => (await world.adapter.measure())['refused-client-overloaded'];
  await expect.poll(refused).toBe(71);
  expect(await user.ask(hello)).toMatchObject({ status: 'done' });
  const more = { status: 'refused', code: 'CLIENT_OVERLOADED', retryable: true };
  expect(await user.ask({ method: 'GET', path: '/phi/v1/any' })).toMatchObject(more);
});

test('the bodies of those who wait for a service that is away leave room for other bodies', async () => {
  const user = await start({ forwarder: { bodyBytesPerClientAndLayerMax: 1_000 } });
  const body = { text: 'x'.repeat(600) };
  const upload = (path: string) => user.ask({ method: 'POST', path, body });
  const waits = await world.handshake();
  waits.write(`POST /phi/v1/any HTTP/1.1\r\n${head}content-length: 600\r\n\r\n${'x'.repeat(600)}`);
  await expect.poll(async () => (await world.adapter.measure())['requests']).toBe(1);
  expect(await upload('/phi/v1/any')).toMatchObject({ code: 'CLIENT_OVERLOADED' });
  expect(await upload(hello.path)).toMatchObject({ status: 'refused', code: 'PATH_UNKNOWN' });
  expect(world.read(waits)).toBe('');
});

test('two clients that hold all they may of a service leave room for others at it', async () => {
  await start({});
  await crowd(held.path, 128);
  await crowd(held.path, 128, { localAddress: '127.0.0.3' });
  await expect.poll(() => waiting.length).toBe(128);
  expect(await served()).toContain('200 OK');
});

test('what one client has asked at once is bounded, at all services together', async () => {
  const user = await start({ forwarder: { inFlightPerClientMax: 1 } });
  const asked = user.ask(held);
  await expect.poll(() => waiting.length).toBe(1);
  const health = { method: 'GET', path: '/network/v1/health' } as const;
  expect(await user.ask(health)).toMatchObject({ code: 'CLIENT_OVERLOADED', retryable: true });
  expect(await served('/network/v1/health')).toContain('200 OK');
  for (const go of waiting.splice(0)) go();
  expect(await asked).toMatchObject({ status: 'done' });
  expect(await user.ask(health)).toMatchObject({ status: 'done' });
});

test('a client is an address, of IPv6 the half of one that somebody is given', () => {
  expect(clientOf('::ffff:192.0.2.1')).toBe(clientOf('192.0.2.1'));
  expect(clientOf('2001:db8:1:2::5')).toBe(clientOf('2001:db8:1:2:3:4:5:6'));
  expect(clientOf('2001:db8:1:3::5')).not.toBe(clientOf('2001:db8:1:2::5'));
  expect(clientOf('fe80::1%eth0')).toBe(clientOf('fe80::2%eth0'));
  const shares = new ClientShares({ eachMax: 2, allMax: 3 });
  expect(['a', 'a', 'a', 'b', 'c'].map((client) => shares.take(client))).toEqual([
    'taken',
    'taken',
    'client-full',
    'taken',
    'all-full',
  ]);
  shares.give('a');
  expect([shares.take('c'), shares.total]).toEqual(['taken', 3]);
});

/** What stands behind: an answer, one that waits for the test, one without an end. */
async function openUpstream(ports: ServicePorts): Promise<LayerService> {
  const { layer, disk, crypto, clock, log } = ports;
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs: 0 });
  const { app } = serviceApp({ log, status: {} });
  app.get('/v1/hello', (context) => context.json({ hello: 'from layer 1' }));
  app.get('/v1/held', async (context) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return context.json({});
  });
  app.get('/v1/endless', () => {
    const body = new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(65_536)) });
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
