/**
 * The port that a supervisor holds for a service: who connects while the service is started anew waits, and
 * is served by the one that comes.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type BoundSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listeningDescriptor } from '#agents/layers/3-network/listening-descriptor.ts';
import { holdPort } from '#cli/mesh/held-port.ts';
import { layoutOf, type MeshLayout } from '#cli/mesh/layout.ts';
import { SupervisedProcess } from '#cli/mesh/supervised-process.ts';

let folder: string;
let layout: MeshLayout;
const held: BoundSocket[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-port-'));
  layout = layoutOf(folder);
  mkdirSync(join(layout.serviceDirectory(3), 'state'), { recursive: true });
});

afterEach(() => {
  for (const each of held.splice(0)) each.close();
  rmSync(folder, { recursive: true, force: true });
});

function hold(listen: object | undefined): BoundSocket | undefined {
  const sockets = { serviceSocket: 'a', controlSocket: 'b', peerSockets: {}, peers: {} };
  const config = { layer: 3, stateDirectory: 'state', ...sockets };
  const text = JSON.stringify(listen === undefined ? config : { ...config, listen });
  writeFileSync(layout.serviceConfigFile(3), text);
  const port = holdPort(layout, 3);
  if (port !== undefined) held.push(port);
  return port;
}

/** A server that answers each connection with its pid, and goes when it is told anything. */
const server = `
  require('node:net').createServer((socket) => {
    socket.write(String(process.pid));
    socket.once('data', () => process.kill(process.pid, 'SIGKILL'));
  }).listen({ fd: Number(process.env.GYRE_LISTEN_FD) }, () => process.send('ready'));`;

test('connections wait while a process is started anew, and the port stays', async () => {
  const port = hold({ host: '127.0.0.1', port: 0 });
  const listensOn = port?.fd() ?? -1;
  const process_ = new SupervisedProcess(
    {
      id: 'server',
      command: process.execPath,
      arguments: ['-e', server],
      logFile: join(folder, 'log'),
      saysReady: true,
      listensOn,
    },
    { onChange: () => undefined, onExit: () => undefined },
  );
  await process_.start();
  await process_.whenReady();
  const answerOf = async (): Promise<{ pid: string; kill: () => void }> => {
    const socket = connect(port?.address().port ?? 0, '127.0.0.1');
    const [pid] = (await once(socket, 'data')) as [Buffer];
    socket.on('error', () => undefined);
    return { pid: pid.toString(), kill: () => socket.write('go') };
  };
  const first = await answerOf();
  const gone = new Promise<void>((resolve) => {
    const look = setInterval(() => {
      if (process_.pid === Number(first.pid)) return;
      clearInterval(look);
      resolve();
    }, 1);
  });
  first.kill();
  await gone;
  const second = await answerOf();
  expect(second.pid).not.toBe(first.pid);
  await process_.stop(1_000);
});

test('the port is that of the configuration, or the one where clients know the service', async () => {
  expect(hold(undefined)).toBeUndefined();
  const chosen = hold({ host: '127.0.0.1', port: 0 })?.address().port ?? 0;
  const listening = join(layout.serviceDirectory(3), 'state', 'listening');
  writeFileSync(listening, JSON.stringify({ host: '127.0.0.1', port: chosen }));
  const [first] = held.splice(0);
  first?.close();
  expect(hold({ host: '127.0.0.1', port: 0 })?.address().port).toBe(chosen);
  // Somebody has it by now: any other one does, but not where the configuration names it.
  const [again] = held.splice(0);
  again?.close();
  const taken = createServer();
  taken.listen(chosen, '127.0.0.1');
  await once(taken, 'listening');
  expect(hold({ host: '127.0.0.1', port: 0 })?.address().port).not.toBe(chosen);
  expect(() => hold({ host: '127.0.0.1', port: chosen })).toThrow(`port ${chosen} of 127.0.0.1`);
  taken.close();
});

test('the service takes a descriptor that it was told, and nothing else', () => {
  expect(listeningDescriptor({ GYRE_LISTEN_FD: '4' })).toBe(4);
  for (const told of [undefined, '', '0', '2', '-1', '4.5', 'x', '123456']) {
    expect(listeningDescriptor({ GYRE_LISTEN_FD: told })).toBeUndefined();
  }
});
