/**
 * What of a request goes on to another service, and where: `/<layer name>/v1/…` becomes `/v1/…` on the
 * layer's socket, and nothing else is reached. Paths are taken apart as the services take them apart, so
 * that no dots, however they are written, lead out of `/v1/`.
 */

import type { IncomingHttpHeaders } from 'node:http';
import { layerNames, layerNumbers, type LayerNumber } from '#schemas/layers.ts';

export interface Target {
  readonly layer: LayerNumber;
  /** With its query. */
  readonly path: string;
}

const layerOf = new Map(layerNumbers.map((layer) => [layerNames[layer], layer]));
const methods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']);
const base = 'http://network.invalid';
const outerPath = /^\/([a-z-]+)(\/v1\/.*)$/;

/** Of one connection, and not of the request (RFC 9110 section 7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Undefined for what leads to no service. */
export function targetOf(method: string, url: string): Target | undefined {
  if (!methods.has(method) || !url.startsWith('/') || url.startsWith('//')) return undefined;
  const parsed = URL.parse(url, base);
  if (parsed === null || parsed.origin !== base) return undefined;
  const [, name = '', path] = outerPath.exec(parsed.pathname) ?? [];
  const layer = layerOf.get(name);
  return layer === undefined || path === undefined
    ? undefined
    : { layer, path: `${path}${parsed.search}` };
}

/** Without those of the connection, and those that the sender calls so. */
export function forwardedHeaders(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const named = new Set(
    (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()),
  );
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined || hopByHop.has(name) || named.has(name) ? [] : [[name, value]],
    ),
  );
}
