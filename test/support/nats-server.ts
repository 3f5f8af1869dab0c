/**
 * A real nats-server for tests: throw-away store, generated keys, gyre's own configuration and
 * provisioning. It can be killed and started again on the same port and store, and its administrator
 * can do to a stream what no agent may.
 */
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, nkeyAuthenticator } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import { tryPort } from '#cli/mesh/ports.ts';
import type { StreamName } from '#shared/bus/bus.ts';
import { provision } from '#shared/bus/nats-provision.ts';
import { createNkey } from '#shared/bus/nkeys.ts';
import { renderServerConfig } from '#shared/bus/server-config.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import type { BusPrincipal, ProvisionPlan } from '#shared/bus/streams.ts';
import { inboxPrefix } from '#shared/bus/subjects.ts';
import { patienceMs } from './patience.ts';

export interface NatsForTestOptions {
  readonly mesh: string;
  readonly principals: readonly BusPrincipal[];
  /** What is provisioned; the plan of these principals unless told. */
  readonly plan?: ProvisionPlan;
}

export interface NatsForTest {
  readonly mesh: string;
  readonly port: number;
  /** `127.0.0.1:<port>` */
  readonly servers: string;
  /** Temporary folder: `server.conf`, `server.log` and `store`. */
  readonly folder: string;
  /** A copy of the NKEY seed of `admin` or of a principal. */
  seed(id: string): Uint8Array;
  /** A connection without our client, for what our client never does. */
  connect(id: string): Promise<NatsConnection>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port and store. */
  start(): Promise<void>;
  /** As the administrator: shrinks a stream to its newest messages, then restores its bounds. */
  truncate(stream: StreamName, messagesKept?: number): Promise<void>;
  /** Ends the process and removes the folder. */
  remove(): Promise<void>;
}

const streamBytesMax = { GYRE_CONTROL: 256 << 20, GYRE_AUDIT: 64 << 20, GYRE_DEAD: 16 << 20 };

/** Kills the server when descriptor 3 closes: on request, and however the test process ends. */
const guardScript = `
"$0" -c "$1" 3<&- & server=$!
{ cat >/dev/null; kill -9 $server; } <&3 2>/dev/null &
exec 3<&-
wait $server`;

/** Looks at $NATS_SERVER, $GYRE_NATS_SERVER, the PATH and the project's cache, in this order. */
export function findNatsServer(): string {
  const named = process.env['NATS_SERVER'] ?? process.env['GYRE_NATS_SERVER'];
  if (named !== undefined && named !== '') return named;
  const onPath = (process.env['PATH'] ?? '')
    .split(':')
    .map((folder) => join(folder, 'nats-server'))
    .find((file) => existsSync(file));
  const cache = join(import.meta.dirname, '../../.cache/nats-server');
  const cached = existsSync(cache)
    ? readdirSync(cache, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name === 'nats-server')
        .map((entry) => join(entry.parentPath, entry.name))
    : [];
  const found = [onPath, ...cached].find((file) => file !== undefined && isRecent(file));
  if (found === undefined) {
    throw new Error('no nats-server 2.10.23 or newer: run infra/setup/nats-server.sh');
  }
  return found;
}

/** Starts a server, provisions it and resolves when it is ready. */
export async function startNatsServer(options: NatsForTestOptions): Promise<NatsForTest> {
  const folder = await mkdtemp(join(tmpdir(), 'gyre-nats-'));
  const server = new TestServer(options, folder, await freePort());
  try {
    await server.configure();
    await server.start();
    const { mesh, principals } = options;
    const plan = options.plan ?? provisionPlan({ mesh, principals, bytesMax: streamBytesMax });
    await provision({ servers: server.servers, adminSeed: server.seed('admin') }, plan);
    return server;
  } catch (error) {
    await server.remove();
    throw error;
  }
}

class TestServer implements NatsForTest {
  readonly mesh: string;
  readonly port: number;
  readonly servers: string;
  readonly folder: string;
  readonly #principals: readonly BusPrincipal[];
  readonly #keys = new Map<string, ReturnType<typeof createNkey>>();
  #guard: ChildProcess | null = null;

  constructor(options: NatsForTestOptions, folder: string, port: number) {
    this.mesh = options.mesh;
    this.port = port;
    this.servers = `127.0.0.1:${port}`;
    this.folder = folder;
    this.#principals = options.principals;
    for (const id of ['admin', ...options.principals.map((one) => one.id)]) {
      this.#keys.set(id, createNkey());
    }
  }

  async configure(): Promise<void> {
    const text = renderServerConfig({
      mesh: this.mesh,
      serverName: 'gyre-test',
      port: this.port,
      storeDir: join(this.folder, 'store'),
      adminNkey: this.#key('admin').publicKey,
      users: this.#principals.map((principal) => ({
        principal,
        nkey: this.#key(principal.id).publicKey,
      })),
    });
    await writeFile(join(this.folder, 'server.conf'), text);
  }

  seed(id: string): Uint8Array {
    return this.#key(id).seed.slice();
  }

  async connect(id: string): Promise<NatsConnection> {
    return await connect({
      servers: this.servers,
      authenticator: nkeyAuthenticator(this.seed(id)),
      inboxPrefix: inboxPrefix(id),
    });
  }

  async start(): Promise<void> {
    const log = openSync(join(this.folder, 'server.log'), 'a');
    const args = ['-c', guardScript, findNatsServer(), join(this.folder, 'server.conf')];
    const guard = spawn('/bin/sh', args, { stdio: ['ignore', log, log, 'pipe'] });
    closeSync(log);
    this.#guard = guard;
    const deadlineMs = performance.now() + patienceMs;
    while (!(await listens(this.port))) {
      if (guard.exitCode !== null || performance.now() > deadlineMs) {
        const said = readFileSync(join(this.folder, 'server.log'), 'utf8');
        throw new Error(`nats-server did not start:\n${said}`);
      }
      await pause(10);
    }
  }

  async kill(): Promise<void> {
    const guard = this.#guard;
    this.#guard = null;
    if (guard === null || guard.exitCode !== null) return;
    const gone = new Promise((resolve) => guard.once('exit', resolve));
    guard.stdio[3]?.destroy();
    await gone;
  }

  async truncate(stream: StreamName, messagesKept = 1): Promise<void> {
    const connection = await this.connect('admin');
    try {
      const manager = await jetstreamManager(connection);
      const { config } = await manager.streams.info(stream);
      // A stream that refuses new messages when full drops old ones only once told to discard them.
      const shrunk = { ...config, max_msgs: messagesKept, discard: 'old' as const };
      await manager.streams.update(stream, shrunk);
      await manager.streams.update(stream, { ...config, max_msgs: -1 });
    } finally {
      await connection.close();
    }
  }

  async remove(): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  #key(id: string): ReturnType<typeof createNkey> {
    const key = this.#keys.get(id);
    if (key === undefined) throw new Error(`no key for ${id}`);
    return key;
  }
}

/** Below the ports that systems give to whoever asks for any: nobody comes upon one by chance. */
const [portMin, portMax] = [15_000, 32_000];

/** A port of the loopback address that nobody listens on now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await tryPort(randomInt(portMin, portMax));
    if (port !== null) return port;
  }
}

function isRecent(file: string): boolean {
  const said = execFileSync(file, ['--version'], { encoding: 'utf8' });
  const [major = 0, minor = 0, patch = 0] = (/\d+\.\d+\.\d+/.exec(said)?.[0] ?? '0.0.0')
    .split('.')
    .map(Number);
  return major * 1e6 + minor * 1e3 + patch >= 2_010_023;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp({ port, host: '127.0.0.1' });
    socket.once('data', () => finish(true));
    socket.once('error', () => finish(false));
    const finish = (listening: boolean): void => {
      socket.destroy();
      resolve(listening);
    };
  });
}

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}
