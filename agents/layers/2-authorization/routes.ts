/** The routes of layer 2's service: capabilities for a session, and what a capability is good for. */

import { capabilityRequestCheck, introspectionRequestCheck } from '#schemas/authorization.ts';
import { layerNames, type LayerNumber } from '#schemas/layers.ts';
import type { Log } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { capabilityStatus } from '../service/capability-check.ts';
import { healthOf } from '../service/health.ts';
import type { Hono } from 'hono';
import { bodyOf, serviceApp, type RefusalCounts, type ServiceApps } from '../service/http-app.ts';
import type { KeptSettings } from '../service/kept-settings.ts';
import { akpKeyOf, signingStatus } from '../service/token-signer.ts';
import { sessionStatus, type Capabilities } from './capabilities.ts';
import { capabilitySlot, type Certification } from './certification.ts';
import { identityStatus } from './identity-view.ts';

const status = {
  ...capabilityStatus,
  ...sessionStatus,
  ...identityStatus,
  ...signingStatus,
} as const;
/** A token and little else. */
const bodyBytesMax = 32 * 1024;
/** Twice as many as layer 3 sends at once. */
const inFlightMax = 512;

export interface AuthorizationRoutes {
  readonly log: Log;
  readonly keys: EmbeddedAdapter;
  readonly settings: KeptSettings;
  readonly capabilities: Capabilities;
  readonly certification: Certification;
}

export function authorizationRoutes(parts: AuthorizationRoutes): ServiceApps {
  const { log, keys, settings, capabilities, certification } = parts;
  const { app, refusals } = serviceApp<keyof typeof status>({
    log,
    status,
    bodyBytesMax,
    inFlightMax,
  });
  app.get('/v1/health', (context) => context.json(healthOf(2, keys, settings)));
  app.post('/v1/capabilities', async (context) => {
    const { count, ...wanted } = await bodyOf(context, capabilityRequestCheck);
    return context.json(
      await capabilities.give(count === undefined ? wanted : { ...wanted, count }),
    );
  });
  app.get('/v1/capability-keys', (context) => {
    const there = keys.store.versions(capabilitySlot).filter(({ state }) => state !== 'destroyed');
    const certificates = certification.certificates();
    return context.json({ keys: there.map(akpKeyOf), certificates });
  });
  const introspection = (peer: LayerNumber) => introspectionRoutes(parts, refusals, peer);
  return {
    app,
    refusals,
    peerRoutes: {
      4: introspection(4),
      5: introspection(5),
      6: introspection(6),
      7: introspection(7),
    },
  };
}

/** A layer is told of the capabilities for itself: it cannot use up those for another. */
function introspectionRoutes(
  { log, capabilities }: AuthorizationRoutes,
  refusals: RefusalCounts,
  peer: LayerNumber,
): Hono {
  const { app } = serviceApp<keyof typeof status>({ log, status, refusals });
  app.post('/internal/v1/introspections', async (context) => {
    const request = await bodyOf(context, introspectionRequestCheck);
    return context.json(await capabilities.take(request, layerNames[peer]));
  });
  return app;
}
