/** The stretch of network that tests own: what it holds it gives back in order, and it can be cut. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { closeAtOnce, Proxy } from '../../chaos/cluster/proxy.ts';

let echo: Server;
let proxy: Proxy;
let client: Socket;
let heard: string;
const longMs = 150;

beforeEach(async () => {
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const address = echo.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  proxy = await Proxy.listen({ targetPort: address.port });
  heard = '';
  client = connect({ port: proxy.port, host: '127.0.0.1' });
  client.setEncoding('utf8').on('data', (text: string) => (heard += text));
  client.on('error', () => undefined);
  await once(client, 'connect');
});

afterEach(async () => {
  client.destroy();
  await proxy.close();
  echo.close();
});

async function hears(text: string): Promise<void> {
  await expect.poll(() => heard, { timeout: 5_000, interval: 5 }).toBe(text);
}

describe('a proxy', () => {
  it('lets everything through', async () => {
    client.write('one');
    await expect.poll(() => heard, { timeout: 5_000, interval: 5 }).toBe('one');
  });

  it.each([[['to-server']], [['to-client']], [['to-server', 'to-client']]] as const)(
    'holds %s and goes on where it was',
    async (directions) => {
      proxy.hold(...directions);
      for (const word of ['one', 'two', 'three']) client.write(word);
      await sleep(longMs);
      expect(heard).toBe('');
      proxy.release();
      await hears('onetwothree');
    },
  );

  it('holds connections that come while it holds', async () => {
    proxy.hold('to-client');
    const late = connect({ port: proxy.port, host: '127.0.0.1' });
    let told = '';
    late.setEncoding('utf8').on('data', (text: string) => (told += text));
    late.write('late');
    await sleep(longMs);
    expect(told).toBe('');
    proxy.release();
    await expect.poll(() => told, { timeout: 5_000 }).toBe('late');
    late.destroy();
  });

  it('slows every piece, in both directions', async () => {
    proxy.delay(longMs);
    const startedMs = performance.now();
    client.write('slow');
    await hears('slow');
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(2 * longMs - 20);
  });

  it('closes a connection that is reset while it ends', async () => {
    const closed = once(client, 'close');
    client.destroySoon();
    closeAtOnce(client);
    await closed;
    expect(client.destroyed).toBe(true);
  });

  it('resets what is connected, and takes new connections', async () => {
    client.write('one');
    await hears('one');
    const ended = new Promise<Error & { code?: string }>((resolve) =>
      client.once('error', resolve),
    );
    proxy.reset();
    expect((await ended).code).toBe('ECONNRESET');
    client = connect({ port: proxy.port, host: '127.0.0.1' });
    client.setEncoding('utf8').on('data', (text: string) => (heard += text));
    client.write('two');
    await hears('onetwo');
  });
});
