/**
 * What concerns the server behind the NATS bus: who is let in, which versions are, what provisioning
 * does when it is repeated, and that every acknowledged write is on disk.
 */
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Bus, BusError } from '#shared/bus/bus.ts';
import { connectNatsBus } from '#shared/bus/nats-bus.ts';
import { provision } from '#shared/bus/nats-provision.ts';
import { createNkey } from '#shared/bus/nkeys.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { durableName } from '#shared/bus/subjects.ts';
import { freePort, startNatsServer } from '../../support/nats-server.ts';
import type { NatsForTest } from '../../support/nats-server.ts';
import { message, report, saga, step } from './bus-messages.ts';
import { mesh, principals } from './bus-world.ts';

let server: NatsForTest;
const bytesMax = { GYRE_CONTROL: 32 << 20, GYRE_AUDIT: 8 << 20, GYRE_DEAD: 8 << 20 };

beforeAll(async () => {
  server = await startNatsServer({ mesh, principals });
});
afterAll(async () => {
  await server.remove();
});

function connectTo(servers: string, seed: Uint8Array, id = 'orchestrator-1'): Promise<Bus> {
  const principal = principals.find((one) => one.id === id);
  if (principal === undefined) throw new Error(`no principal ${id}`);
  const onTrouble = (error: BusError): void => {
    troubles.push(error);
  };
  return connectNatsBus({ servers, mesh, principal, seed, connectTimeoutMs: 600, onTrouble });
}
const troubles: BusError[] = [];

/** Speaks just enough of the protocol to be connected to, and claims a version. */
async function pretender(version: string, port: number): Promise<Server> {
  const pretending = createServer((socket) => {
    const info = { server_id: 'X', version, headers: true, max_payload: 1 << 20, proto: 1, port };
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on('data', (data) => {
      if (data.includes('PING')) socket.write('PONG\r\n');
    });
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => pretending.listen(port, '127.0.0.1', resolve));
  return pretending;
}

describe('connecting', () => {
  it('refuses a server whose acknowledgements mean nothing, and says what to install', async () => {
    for (const version of ['2.9.10', '2.10.22', '2.9.99', '1.4.1']) {
      const port = await freePort();
      const old = await pretender(version, port);
      const connecting = connectTo(`127.0.0.1:${port}`, createNkey().seed);
      await expect(connecting).rejects.toMatchObject({
        code: 'BUS_SERVER_TOO_OLD',
        message: expect.stringContaining('install nats-server 2.10.23 or newer'),
      });
      await new Promise((resolve) => old.close(resolve));
    }
  });

  it('accepts the oldest version that will do', async () => {
    const port = await freePort();
    const just = await pretender('2.10.23', port);
    const bus = await connectTo(`127.0.0.1:${port}`, createNkey().seed);
    const states: string[] = [];
    bus.onState((state) => states.push(state));
    expect(states).toEqual(['connected']);
    await bus.close();
    await new Promise((resolve) => just.close(resolve));
  });

  it('tells an unknown key from an absent server', async () => {
    const unknown = connectTo(server.servers, createNkey().seed);
    await expect(unknown).rejects.toMatchObject({ code: 'BUS_DENIED' });
    const absent = connectTo(`127.0.0.1:${await freePort()}`, server.seed('orchestrator-1'));
    await expect(absent).rejects.toMatchObject({ code: 'BUS_UNREACHABLE' });
  });

  it('does not keep or change the seed of its caller', async () => {
    const seed = server.seed('orchestrator-1');
    const bus = await connectTo(server.servers, seed);
    expect(seed).toEqual(server.seed('orchestrator-1'));
    seed.fill(0);
    await server.kill();
    await server.start();
    await vi.waitFor(() => expect(bus.publish(message(saga))).resolves.toBeDefined(), 12_000);
    await bus.close();
  });
});

describe('provisioning', () => {
  it('can be repeated, adds consumers, and loses nothing', async () => {
    const bus = await connectTo(server.servers, server.seed('orchestrator-1'));
    await bus.publish(message(saga));
    const before = await bus.streamState('GYRE_CONTROL');
    const connection = { servers: server.servers, adminSeed: server.seed('admin') };
    const more = [...principals, { id: 'layer-3', kind: 'layer', layer: 3 } as const];
    await provision(connection, provisionPlan({ mesh, principals: more, bytesMax }));
    await provision(connection, provisionPlan({ mesh, principals: more, bytesMax }));
    expect(await bus.streamState('GYRE_CONTROL')).toEqual({
      ...before,
      bytesMax: bytesMax.GYRE_CONTROL,
    });
    await bus.close();
    const admin = await server.connect('admin');
    const manager = await jetstreamManager(admin);
    const info = await manager.consumers.info('GYRE_CONTROL', durableName('layer-3', 'steps'));
    expect(info.config).toMatchObject({ ack_policy: 'explicit', max_ack_pending: 1 });
    const { config } = await manager.streams.info('GYRE_CONTROL');
    expect(config).toMatchObject({
      storage: 'file',
      discard: 'new',
      deny_delete: true,
      deny_purge: true,
      max_age: 30 * 24 * 3600 * 1e9,
      duplicate_window: 600 * 1e9,
    });
    await admin.close();
  });

  it('is for the administrator only', async () => {
    const connection = { servers: server.servers, adminSeed: server.seed('layer-1') };
    const provisioning = provision(connection, provisionPlan({ mesh, principals }));
    await expect(provisioning).rejects.toMatchObject({ code: 'BUS_DENIED' });
  });
});

describe('durability', () => {
  it('has every acknowledged message after a kill in mid-stream', async () => {
    const one = await connectTo(server.servers, server.seed('orchestrator-1'));
    const layer = await connectTo(server.servers, server.seed('layer-1'), 'layer-1');
    const acknowledged: number[] = [];
    const publishing = Array.from({ length: 300 }, async (_, index) => {
      const outcome = await layer.publish({ ...message(report), messageId: `kill-${index}` });
      if (outcome.status === 'stored') acknowledged.push(outcome.sequence);
    });
    await vi.waitFor(() => expect(acknowledged.length).toBeGreaterThan(20), 12_000);
    await server.kill();
    await server.start();
    await Promise.all(publishing);
    expect(new Set(acknowledged).size).toBe(300);
    const ids = await Promise.all(acknowledged.map((at) => one.getMessage('GYRE_CONTROL', at)));
    expect(new Set(ids.map((found) => found?.messageId)).size).toBe(300);
    await one.close();
    await layer.close();
  });

  it('delivers again after the pause that was asked for, however often', async () => {
    const layer = await connectTo(server.servers, server.seed('layer-1'), 'layer-1');
    const bus = await connectTo(server.servers, server.seed('orchestrator-1'));
    const seenMs: number[] = [];
    const consumer = durableName('layer-1', 'steps');
    await layer.consume({ stream: 'GYRE_CONTROL', consumer, inFlightMax: 1 }, () => {
      seenMs.push(performance.now());
      return Promise.resolve(seenMs.length < 7 ? { retryAfterMs: 100 } : 'ack');
    });
    await bus.publish(message(step));
    // The backoff of a durable is for silence: 5, 10 and 30 seconds.
    await vi.waitFor(() => expect(seenMs).toHaveLength(7), { timeout: 4_000 });
    const pausesMs = seenMs.slice(1).map((atMs, index) => atMs - (seenMs[index] ?? 0));
    expect(Math.min(...pausesMs)).toBeGreaterThan(80);
    await layer.close();
    await bus.close();
  });

  it('acknowledges deliveries in the form that permissions allow', async () => {
    const layer = await connectTo(server.servers, server.seed('layer-1'), 'layer-1');
    const bus = await connectTo(server.servers, server.seed('orchestrator-1'));
    troubles.length = 0;
    let seen = 0;
    const consumer = durableName('layer-1', 'steps');
    await layer.consume({ stream: 'GYRE_CONTROL', consumer, inFlightMax: 1 }, () => {
      seen += 1;
      return Promise.resolve('ack');
    });
    for (let sent = 0; sent < 5; sent++) await bus.publish(message(step));
    await vi.waitFor(() => expect(seen).toBe(5), { timeout: 12_000 });
    expect(troubles).toEqual([]);
    await layer.close();
    await bus.close();
  });
});

it('a kept value that was deleted can be put back', async () => {
  const bus = await connectTo(server.servers, server.seed('orchestrator-1'));
  const bucket = bus.bucket('gyre_trust');
  const value = new Uint8Array([1]);
  expect((await bucket.put('root.2', value, 0)).status).toBe('stored');
  const thief = await server.connect('orchestrator-1');
  await (
    await new Kvm(jetstream(thief)).open('gyre_trust', { allow_direct: false })
  ).delete('root.2');
  expect(await bucket.get('root.2')).toBeNull();
  expect((await bucket.put('root.2', value, 0)).status).toBe('stored');
  expect((await bucket.get('root.2'))?.value).toEqual(value);
  expect(await bucket.put('root.2', value, 0)).toEqual({ status: 'conflict' });
  await thief.close();
  await bus.close();
});
