/**
 * The process of a layer's service: configuration, stores and clients of the other services, the
 * service itself, its sockets. It needs neither bus nor agent. SIGTERM lets running requests end.
 */

import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { layerNames, type LayerNumber } from '#schemas/layers.ts';
import { peersServed, serviceConfigCheck, type ServiceConfig } from '#schemas/service.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { BootError, runAgent } from '#shared/runtime/boot.ts';
import { preferenceDefault, testedProvider } from '#shared/runtime/providers.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { processLog, systemClock } from '#shared/runtime/system.ts';
import { breakerMetrics, GuardedClient } from './circuit-breaker.ts';
import { controlRoutes } from './control-routes.ts';
import { ServiceError, type ServiceClient } from './service-client.ts';
import { peerFaceOf, peerPathsOf } from './service-faces.ts';
import type { LayerService, OpenService, ServicePorts } from './service.ts';
import { SocketServer, socketPathBytesMax } from './socket-server.ts';

export interface ServiceProcess {
  readonly layer: LayerNumber;
  readonly open: OpenService;
  readonly configPath: string | undefined;
}

/** Runs until SIGTERM or SIGINT; exit code 1 where it cannot begin. */
export function runService(process: ServiceProcess): void {
  runAgent(() => startService(process));
}

export async function startService({ layer, open, configPath }: ServiceProcess) {
  if (configPath === undefined) {
    throw new BootError('CONFIG_UNREADABLE', 'no configuration file was named', 'name one');
  }
  const config = readConfig(configPath, layer);
  const folder = path.dirname(path.resolve(configPath));
  const resolve = (relative: string): string => path.resolve(folder, relative);
  const provider = await testedProvider(preferenceDefault);
  if (provider === undefined) {
    const remedy = 'use Node 26 or newer with OpenSSL 3.5';
    throw new BootError('PROVIDER_REFUSED', 'the self-tests of the algorithms failed', remedy);
  }
  const state = resolve(config.stateDirectory);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  chmodSync(state, 0o700);
  const log = processLog(`${layerNames[layer]}-service`, config.logLevel);
  const peers = new Peers(config, resolve);
  const service = await open({
    layer,
    config,
    disk: new SystemDisk(state),
    crypto: provider.crypto,
    clock: systemClock,
    log,
    peer: (other) => peers.of(other),
    resolve,
  });
  const control = new SocketServer(
    controlRoutes(service, log, () => peers.metrics()),
    socketPath(resolve(config.controlSocket)),
  );
  const faces = [
    new SocketServer(service.routes, socketPath(resolve(config.serviceSocket))),
    ...peerServers(service, config, resolve),
  ];
  await service.start();
  for (const face of faces) await face.start();
  await control.start();
  log.info({ layer, adapter: service.adapter.name }, 'the service is ready');
  return {
    stop: async (): Promise<void> => {
      for (const face of faces) await face.stop();
      await control.stop();
      await service.stop();
      peers.close();
    },
  };
}

/** A socket for each layer that is served more than the public routes, in a folder of its own. */
function peerServers(
  service: LayerService,
  config: ServiceConfig,
  resolve: ServicePorts['resolve'],
): SocketServer[] {
  return peerPathsOf(config.peerSockets).map(([peer, relative]) => {
    const face = peerFaceOf(service, peer);
    const absolute = socketPath(resolve(relative));
    invariant(face !== undefined, `layer ${config.layer} has routes for layer ${peer} alone`);
    mkdirSync(path.dirname(absolute), { recursive: true, mode: 0o700 });
    return new SocketServer(face, absolute);
  });
}

/** One client for each peer, behind a circuit breaker, made when it is first asked. */
class Peers {
  readonly #config: ServiceConfig;
  readonly #resolve: ServicePorts['resolve'];
  readonly #clients = new Map<LayerNumber, GuardedClient>();

  constructor(config: ServiceConfig, resolve: ServicePorts['resolve']) {
    this.#config = config;
    this.#resolve = resolve;
  }

  of(layer: LayerNumber): ServiceClient {
    const known = this.#clients.get(layer);
    if (known !== undefined) return known;
    const socket = this.#config.peers[String(layer)];
    if (socket === undefined) {
      throw new ServiceError('PEER_UNKNOWN', `no socket of layer ${layer} is configured`);
    }
    const options = { socketPath: this.#resolve(socket) };
    const client = new GuardedClient(options, { clock: systemClock });
    this.#clients.set(layer, client);
    return client;
  }

  metrics(): Record<string, number> {
    return breakerMetrics(
      [...this.#clients].map(([layer, { breaker }]) => [layerNames[layer], breaker]),
    );
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }
}

function readConfig(configPath: string, layer: LayerNumber): ServiceConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(configPath, 'utf8'));
  } catch (error) {
    const what = `the configuration ${configPath} cannot be read as JSON`;
    throw new BootError('CONFIG_UNREADABLE', what, 'name an existing configuration file', error);
  }
  if (!serviceConfigCheck.check(parsed)) {
    const what = `the configuration ${configPath} does not hold: ${serviceConfigCheck.errors(parsed).join('; ')}`;
    throw new BootError('CONFIG_INVALID', what, 'correct the named fields');
  }
  if (parsed.layer !== layer) {
    const remedy = `use the configuration of a layer ${layer} service`;
    throw new BootError('CONFIG_INVALID', `the configuration is not for layer ${layer}`, remedy);
  }
  const served = peersServed[layer] ?? [];
  const other = peerPathsOf(parsed.peerSockets).find(([peer]) => !served.includes(peer));
  if (other === undefined) return parsed;
  const what = `layer ${layer} has no routes for layer ${other[0]} alone`;
  throw new BootError('CONFIG_INVALID', what, 'leave its socket out of peerSockets');
}

function socketPath(absolute: string): string {
  if (Buffer.byteLength(absolute) <= socketPathBytesMax) return absolute;
  const remedy = 'use a folder with a shorter path';
  throw new BootError('CONFIG_INVALID', `${absolute} is too long for a unix socket`, remedy);
}
