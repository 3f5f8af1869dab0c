/**
 * A layer's service in this process, with real sockets and a real folder: what its process does
 * (agents/layers/service/service-process.ts), where a test can reach its parts, stop it and start it
 * again. Several of them in one folder find each other as peers.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { controlRoutes } from '#agents/layers/service/control-routes.ts';
import { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { ServiceClient } from '#agents/layers/service/service-client.ts';
import type { LayerService, OpenService } from '#agents/layers/service/service.ts';
import { peerFaceOf, peerPathsOf } from '#agents/layers/service/service-faces.ts';
import { SocketServer } from '#agents/layers/service/socket-server.ts';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { peersServed, type ServiceConfig } from '#schemas/service.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { crypto, quiet } from './world.ts';

export interface ServiceOptions {
  readonly layer: LayerNumber;
  readonly open: OpenService;
  /** Shared by services that are each other's peers; one of its own unless told. */
  readonly folder?: string;
  readonly config?: Partial<ServiceConfig>;
  readonly clock?: Clock;
  readonly log?: Log;
}

export class RunningService {
  readonly folder: string;
  readonly client: ServiceClient;
  readonly control: ServiceClient;
  readonly #asPeer = new Map<LayerNumber, ServiceClient>();
  #running:
    | {
        service: LayerService;
        servers: SocketServer[];
        peers: ReadonlyMap<LayerNumber, ServiceClient>;
      }
    | undefined;
  readonly #options: ServiceOptions;

  private constructor(options: ServiceOptions, folder: string) {
    this.#options = options;
    this.folder = folder;
    this.client = new ServiceClient({ socketPath: this.#socket('service') });
    this.control = new ServiceClient({ socketPath: this.#socket('control') });
  }

  static async start(options: ServiceOptions): Promise<RunningService> {
    const folder = options.folder ?? serviceFolder();
    const running = new RunningService(options, folder);
    await running.start();
    return running;
  }

  get layer(): LayerNumber {
    return this.#options.layer;
  }

  get service(): LayerService {
    if (this.#running === undefined) throw new Error('the service is down');
    return this.#running.service;
  }

  /** What another layer has of it. */
  asPeer(peer: LayerNumber): ServiceClient {
    const known = this.#asPeer.get(peer);
    if (known !== undefined) return known;
    const client = new ServiceClient({ socketPath: this.#peerSocket(this.#options.layer, peer) });
    this.#asPeer.set(peer, client);
    return client;
  }

  adapter(): Promise<RemoteAdapter> {
    return RemoteAdapter.connect(new ServiceClient({ socketPath: this.#socket('control') }));
  }

  async start(): Promise<void> {
    const { layer, open, clock, log, config } = this.#options;
    const state = join(this.folder, `layer-${layer}`);
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const socketOf = (other: LayerNumber) =>
      peersServed[other]?.includes(layer) === true
        ? this.#peerSocket(other, layer)
        : join(this.folder, `${other}.service.sock`);
    const peerSockets = Object.fromEntries(
      (peersServed[layer] ?? []).map((peer) => [String(peer), this.#peerSocket(layer, peer)]),
    );
    const peers = new Map<LayerNumber, ServiceClient>();
    const service = await open({
      layer,
      config: {
        layer,
        stateDirectory: state,
        serviceSocket: this.#socket('service'),
        controlSocket: this.#socket('control'),
        peerSockets,
        peers: Object.fromEntries(layerNumbers.map((other) => [String(other), socketOf(other)])),
        ...config,
      },
      disk: new SystemDisk(state),
      crypto,
      clock: clock ?? systemClock,
      log: log ?? quiet,
      peer: (other) => {
        const client = peers.get(other) ?? new ServiceClient({ socketPath: socketOf(other) });
        peers.set(other, client);
        return client;
      },
      resolve: (relative) => resolve(this.folder, relative),
    });
    const servers = [
      new SocketServer(service.routes, this.#socket('service')),
      ...peerPathsOf(peerSockets).flatMap(([peer, path]) => {
        const face = peerFaceOf(service, peer);
        return face === undefined ? [] : [new SocketServer(face, path)];
      }),
      new SocketServer(controlRoutes(service, log ?? quiet), this.#socket('control')),
    ];
    await service.start();
    for (const server of servers) await server.start();
    this.#running = { service, servers, peers };
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    for (const server of running?.servers ?? []) await server.stop();
    await running?.service.stop();
    for (const peer of running?.peers.values() ?? []) peer.close();
  }

  /** Stops it, and removes the folder. */
  async end(): Promise<void> {
    await this.stop();
    for (const client of [this.client, this.control, ...this.#asPeer.values()]) client.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #peerSocket(layer: LayerNumber, peer: LayerNumber): string {
    return join(this.folder, `${layer}-${peer}.sock`);
  }

  #socket(face: 'service' | 'control'): string {
    return join(this.folder, `${this.#options.layer}.${face}.sock`);
  }
}

/** A folder with a path short enough for sockets. */
export function serviceFolder(): string {
  return mkdtempSync(join(tmpdir(), 'gyre-service-'));
}
