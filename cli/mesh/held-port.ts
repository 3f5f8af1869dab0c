/**
 * The port of a service that is reached over the network, held by the supervisor and handed to the service
 * as an open descriptor: whoever connects while the service is started anew waits in the system's queue
 * instead of being refused, and the port stays the same. The supervisor never takes a connection itself.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BoundSocket } from 'node:net';
import { serviceConfigCheck } from '#schemas/service.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import { CliFault } from '../fault.ts';
import { systemErrorCode } from './durable-files.ts';
import { memberFiles, type MeshLayout } from './layout.ts';

/** Undefined for a service that is configured to listen on no port. */
export function holdPort(layout: MeshLayout, layer: LayerNumber): BoundSocket | undefined {
  const config = read(layout.serviceConfigFile(layer));
  if (!serviceConfigCheck.check(config) || config.listen === undefined) return undefined;
  const { host, port } = config.listen;
  const last = port === 0 ? lastPort(layout, layer) : port;
  return bound(host, last) ?? (port === 0 ? bound(host, 0) : undefined) ?? refuse(host, port);
}

/** Where clients know it from an earlier run. */
function lastPort(layout: MeshLayout, layer: LayerNumber): number {
  return listeningAddress(layout, layer)?.port ?? 0;
}

/** Where a service said that it listens, when it was started last. */
export function listeningAddress(
  layout: MeshLayout,
  layer: LayerNumber,
): { readonly host: string; readonly port: number } | undefined {
  const said = read(join(layout.serviceDirectory(layer), memberFiles.state, 'listening'));
  if (typeof said !== 'object' || said === null || !('port' in said)) return undefined;
  const port = Number(said.port);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  return { host: 'host' in said ? String(said.host) : 'localhost', port };
}

/** Undefined where somebody else has the port. */
function bound(host: string, port: number): BoundSocket | undefined {
  try {
    return new BoundSocket({ host, port });
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EADDRINUSE' || code === 'EACCES') return undefined;
    throw error;
  }
}

function refuse(host: string, port: number): never {
  throw new CliFault({
    code: 'PORT_IN_USE',
    reason: `port ${port} of ${host} is in use`,
    hint: "Stop what listens there, or name another one under listen in the service's config.json.",
  });
}

function read(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    // The service itself says what is wrong with its configuration.
    if (error instanceof SyntaxError || systemErrorCode(error) !== undefined) return undefined;
    throw error;
  }
}
