/**
 * The faces of a service: public routes on the service socket, the adapter on the control socket, and
 * a socket for each layer that is served more. On that one are the layer's routes and the public ones,
 * so that a caller needs one client; who asks is known by the socket and by nothing that is sent.
 */

import { getPath } from 'hono/utils/url';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import type { LayerService } from './service.ts';

/** What answers requests, like an app of Hono. */
export interface ServiceFace {
  fetch(request: Request): Response | Promise<Response>;
}

/** What nobody is answered on a public socket. */
const internalPrefix = '/internal/';

/** Of one layer, by the number of the layer; undefined where it is served nothing of its own. */
export function peerFaceOf(service: LayerService, peer: LayerNumber): ServiceFace | undefined {
  const { routes, peerRoutes } = service;
  const own = peerRoutes?.[peer];
  if (own === undefined) return undefined;
  return {
    fetch: (request) =>
      getPath(request).startsWith(internalPrefix) ? own.fetch(request) : routes.fetch(request),
  };
}

/** Layers that a configuration gives sockets of their own, with the paths. */
export function peerPathsOf(
  peerSockets: Readonly<Record<string, string>>,
): readonly (readonly [LayerNumber, string])[] {
  return layerNumbers.flatMap((peer) => {
    const path = peerSockets[String(peer)];
    return path === undefined ? [] : [[peer, path] as const];
  });
}
