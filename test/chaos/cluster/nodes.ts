/**
 * Three nats-servers as one cluster on this machine: own ports, own store folders, every write synced
 * before it is acknowledged, NKEYs and permissions of the mesh. The way from each server to each other
 * one leads through a proxy, so that the cluster itself can be parted. A server that is down can be
 * brought back as it was, with a damaged store, or with none.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jetstreamManager, type PeerInfo, type StreamInfo } from '@nats-io/jetstream';
import { connect, nkeyAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import { principalOf, readBundle } from '#cli/mesh/nats-config.ts';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import type { MeshFile } from '#cli/mesh/mesh-file.ts';
import { tryPort } from '#cli/mesh/ports.ts';
import { BusError } from '#shared/bus/bus.ts';
import { provision } from '#shared/bus/nats-provision.ts';
import { renderServerConfig } from '#shared/bus/server-config.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { freePort } from '../../support/nats-server.ts';
import { Proxy } from './proxy.ts';
import { emptied } from './stores.ts';

export interface NodesOptions {
  readonly layout: MeshLayout;
  readonly mesh: Pick<MeshFile, 'mesh' | 'adminNkey'>;
  readonly launch: Launch;
}

/** A server that runs, as a process or otherwise. */
export interface ServerLife {
  readonly pid: number | null;
  /** 0: without grace, as a crash would. */
  end(graceMs: number): Promise<void>;
}

export type Launch = (node: Pick<Node, 'id' | 'configFile' | 'folder'>) => Promise<ServerLife>;

interface Route {
  readonly ends: readonly [string, string];
  readonly proxy: Proxy;
}

export const nodeCount = 3;
/** What a server advertises to the others, so that they come by the proxies only: nobody is there. */
const nowhere = '127.0.0.1:1';
const patienceMs = 60_000;
const stepMs = 100;

/** One server: its ports and its store stay, its process comes and goes. */
export class Node {
  readonly id: string;
  readonly port: number;
  readonly routePort: number;
  readonly folder: string;
  readonly #launch: Launch;
  #life: ServerLife | undefined;

  constructor(fields: Pick<Node, 'id' | 'port' | 'routePort' | 'folder'>, launch: Launch) {
    this.id = fields.id;
    this.port = fields.port;
    this.routePort = fields.routePort;
    this.folder = fields.folder;
    this.#launch = launch;
  }

  get configFile(): string {
    return join(this.folder, 'nats-server.conf');
  }

  get storeDirectory(): string {
    return join(this.folder, 'store');
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  /** Null while it is down, and for one that is no process of this machine. */
  get pid(): number | null {
    return this.#life?.pid ?? null;
  }

  async up(): Promise<void> {
    this.#life ??= await this.#launch(this);
  }

  /** SIGKILL unless a graceful end is asked for; it stays down until `up`. */
  async down({ graceMs = 0 }: { readonly graceMs?: number } = {}): Promise<void> {
    const life = this.#life;
    this.#life = undefined;
    await life?.end(graceMs);
    for (let waited = 0; (await tryPort(this.port)) === null; waited += stepMs) {
      if (waited > patienceMs) throw new Error(`${this.id} holds its port`);
      await pause(stepMs);
    }
  }
}

export class Nodes {
  readonly nodes: readonly Node[];
  readonly #options: NodesOptions;
  readonly #routes: readonly Route[];

  private constructor(options: NodesOptions, nodes: readonly Node[], routes: readonly Route[]) {
    this.#options = options;
    this.nodes = nodes;
    this.#routes = routes;
  }

  /** Starts the servers; resolves when streams with three replicas are in place. */
  static async start(options: NodesOptions): Promise<Nodes> {
    const nodes: Node[] = [];
    for (let index = 1; index <= nodeCount; index += 1) {
      const id = `nats-${index}`;
      const folder = join(options.layout.root, 'nats', id);
      const ports = { port: await freePort(), routePort: await freePort() };
      nodes.push(new Node({ id, folder, ...ports }, options.launch));
    }
    const routes: Route[] = [];
    for (const from of nodes) {
      for (const to of nodes.filter(({ id }) => id !== from.id)) {
        const proxy = await Proxy.listen({ targetPort: to.routePort });
        routes.push({ ends: [from.id, to.id], proxy });
      }
    }
    const cluster = new Nodes(options, nodes, routes);
    try {
      await cluster.#configure();
      for (const node of nodes) await node.up();
      await cluster.#provision();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  node(id: string): Node {
    const node = this.nodes.find((each) => each.id === id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  /** The ways between one server and the others. */
  routesOf(nodeId: string): Proxy[] {
    return this.#routes.filter(({ ends }) => ends.includes(nodeId)).map(({ proxy }) => proxy);
  }

  get routes(): Proxy[] {
    return this.#routes.map(({ proxy }) => proxy);
  }

  /** Of the control stream; undefined while there is none. */
  async leader(): Promise<Node | undefined> {
    // Where nobody answers, nobody leads.
    const streams = await this.streams().catch(() => []);
    const leader = streams.find(({ config }) => config.name === 'GYRE_CONTROL')?.cluster?.leader;
    return this.nodes.find(({ id }) => id === leader);
  }

  /** Of one of the servers. */
  version(): Promise<string> {
    return this.#asAdministrator(async ({ info }) => info?.version ?? 'unknown');
  }

  /** All streams as the servers tell them. Throws where nobody answers. */
  streams(): Promise<StreamInfo[]> {
    return this.#asAdministrator(async (connection) => {
      const manager = await jetstreamManager(connection, { timeout: 2_000 });
      const found: StreamInfo[] = [];
      for await (const info of manager.streams.list()) found.push(info);
      return found;
    });
  }

  async #asAdministrator<Result>(
    work: (connection: NatsConnection) => Promise<Result>,
  ): Promise<Result> {
    const seed = await readFile(this.#options.layout.adminSeedFile);
    const connection = await connect({
      servers: this.nodes.filter(({ isUp }) => isUp).map(({ port }) => `127.0.0.1:${port}`),
      authenticator: nkeyAuthenticator(seed),
      reconnect: false,
      timeout: 2_000,
    });
    try {
      return await work(connection);
    } finally {
      await connection.close();
    }
  }

  /** Until every replica of every stream is as far as its leader. */
  async whole(timeoutMs = patienceMs): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    let lacking = 'nobody answers';
    for (;;) {
      try {
        lacking = lackOf(await this.streams());
        if (lacking === '') return;
      } catch (error) {
        lacking = error instanceof Error ? error.message : String(error);
      }
      if (performance.now() > deadlineMs) throw new Error(`the cluster is not whole: ${lacking}`);
      await pause(2 * stepMs);
    }
  }

  /** The servers that are behind, gone, or silent about a stream that they should hold. */
  async lagging(): Promise<string[]> {
    const streams = await this.streams();
    return this.nodes
      .map(({ id }) => id)
      .filter((id) =>
        streams.some(({ cluster }) => {
          if (cluster?.leader === id) return false;
          const replica = cluster?.replicas?.find(({ name }) => name === id);
          return replica === undefined || lags(replica);
        }),
      );
  }

  /** Gives a server an empty store; the others fill it. */
  async rebuild(nodeId: string): Promise<void> {
    const node = this.node(nodeId);
    await node.down();
    await emptied(node);
    await node.up();
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.down()));
    await Promise.all(this.routes.map((proxy) => proxy.close()));
  }

  async #configure(): Promise<void> {
    const { layout, mesh } = this.#options;
    const { enrolments } = await readBundle(layout);
    const users = enrolments.map(({ body }) => ({ principal: principalOf(body), nkey: body.nkey }));
    const secret = randomBytes(24).toString('base64url');
    for (const node of this.nodes) {
      await rm(node.folder, { recursive: true, force: true });
      await mkdir(node.storeDirectory, { recursive: true });
      const routes = this.#routes
        .filter(({ ends }) => ends[0] === node.id)
        .map(({ proxy }) => `127.0.0.1:${proxy.port}`);
      const text = renderServerConfig({
        mesh: mesh.mesh,
        serverName: node.id,
        port: node.port,
        storeDir: node.storeDirectory,
        users,
        adminNkey: mesh.adminNkey,
        cluster: { name: 'gyre', port: node.routePort, routes, secret, advertise: nowhere },
      });
      await writeFile(node.configFile, text, { mode: 0o600 });
    }
  }

  /** By the production code. A cluster without a leader yet refuses; then again. */
  async #provision(): Promise<void> {
    const { layout, mesh } = this.#options;
    const { enrolments } = await readBundle(layout);
    const principals = enrolments.map(({ body }) => principalOf(body));
    const plan = provisionPlan({ mesh: mesh.mesh, principals, replicas: nodeCount });
    const adminSeed = await readFile(layout.adminSeedFile);
    const servers = this.nodes.map(({ port }) => `127.0.0.1:${port}`);
    const deadlineMs = performance.now() + patienceMs;
    for (;;) {
      try {
        await provision({ servers, adminSeed, connectTimeoutMs: 5_000 }, plan);
        return;
      } catch (error) {
        if (!(error instanceof BusError) || performance.now() > deadlineMs) throw error;
        await pause(stepMs);
      }
    }
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function lags({ current, offline, lag }: PeerInfo): boolean {
  return !current || offline === true || (lag ?? 0) > 0;
}

/** What keeps the cluster from being whole; empty where nothing does. */
function lackOf(streams: readonly StreamInfo[]): string {
  if (streams.length === 0) return 'there are no streams';
  return streams
    .flatMap(({ config: { name }, cluster }) => {
      if (cluster?.leader === undefined || cluster.leader === '') return [`${name} has no leader`];
      const replicas = cluster.replicas ?? [];
      if (replicas.length < nodeCount - 1) return [`${name} has ${replicas.length} followers`];
      return replicas.filter(lags).map((replica) => `${name} on ${replica.name} is behind`);
    })
    .join(', ');
}
