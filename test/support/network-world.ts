/** Layer 3's service over real sockets, with a small service in the place of layer 1 behind it. */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { serviceWith, type NetworkLimits } from '#agents/layers/3-network/service.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import type { OpenService } from '#agents/layers/service/service.ts';
import { TlsClient, type TlsClientOptions } from '#agents/layers/service/tls-client.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { RunningService, serviceFolder } from './layer-service.ts';

export interface NetworkWorldOptions {
  readonly openUpstream: OpenService;
  readonly names?: readonly string[];
  readonly limits?: NetworkLimits;
  readonly log?: Log;
  readonly clock?: Clock;
}

export class NetworkWorld {
  readonly folder: string;
  readonly network: RunningService;
  readonly upstream: RunningService;
  readonly adapter: RemoteAdapter;
  readonly #ends: (() => void)[] = [];
  readonly #texts = new WeakMap<TLSSocket, string>();

  private constructor(
    services: { readonly network: RunningService; readonly upstream: RunningService },
    adapter: RemoteAdapter,
  ) {
    this.folder = services.network.folder;
    this.network = services.network;
    this.upstream = services.upstream;
    this.adapter = adapter;
  }

  static async start(options: NetworkWorldOptions): Promise<NetworkWorld> {
    const { openUpstream, limits = {}, names = ['localhost', '127.0.0.1'], log, clock } = options;
    const folder = serviceFolder();
    const upstream = await RunningService.start({ layer: 1, open: openUpstream, folder });
    const network = await RunningService.start({
      layer: 3,
      open: serviceWith(limits),
      folder,
      config: { listen: { host: '127.0.0.1', port: 0, names: [...names] }, recentUseMs: 0 },
      ...(log === undefined ? {} : { log }),
      ...(clock === undefined ? {} : { clock }),
    });
    return new NetworkWorld({ network, upstream }, await network.adapter());
  }

  /** Called at the end, last first. */
  atEnd(end: () => void): void {
    this.#ends.push(end);
  }

  async end(): Promise<void> {
    for (const end of this.#ends.splice(0).toReversed()) end();
    this.adapter.close();
    await this.network.stop();
    await this.upstream.end();
    await this.network.end();
  }

  /** A file of the service's state. */
  stateOf(file: string): string {
    return readFileSync(join(this.folder, 'layer-3', file), 'utf8');
  }

  get address(): { host: string; port: number } {
    return JSON.parse(this.stateOf('listening')) as { host: string; port: number };
  }

  client(options: Partial<TlsClientOptions> = {}): TlsClient {
    const roots = this.stateOf('roots.pem');
    const made = new TlsClient({ ...this.address, name: 'localhost', roots, ...options });
    this.atEnd(() => made.close());
    return made;
  }

  /** A connection whose bytes the test writes itself. */
  async handshake(
    options: ConnectionOptions & { readonly localAddress?: string } = {},
  ): Promise<TLSSocket> {
    const socket = connect({
      ...this.address,
      ca: this.stateOf('roots.pem'),
      servername: 'localhost',
      ecdhCurve: 'SecP384r1MLKEM1024',
      ...options,
    });
    this.atEnd(() => socket.destroy());
    socket.on('data', (chunk: Buffer) =>
      this.#texts.set(socket, this.read(socket) + chunk.toString()),
    );
    await once(socket, 'secureConnect');
    socket.on('error', () => undefined);
    return socket;
  }

  /** What has come over it. */
  read(socket: TLSSocket): string {
    return this.#texts.get(socket) ?? '';
  }
}
