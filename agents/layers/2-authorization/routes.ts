/** The routes of layer 2's service: capabilities for a session, and what a capability is good for. */

import { capabilityRequestCheck, introspectionRequestCheck } from '#schemas/authorization.ts';
import type { Log } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { capabilityStatus } from '../service/capability-check.ts';
import { healthOf } from '../service/health.ts';
import { bodyOf, serviceApp, type ServiceApp } from '../service/http-app.ts';
import type { KeptSettings } from '../service/kept-settings.ts';
import { akpKeyOf, signingStatus } from '../service/token-signer.ts';
import { sessionStatus, type Capabilities } from './capabilities.ts';
import { capabilitySlot, type Certification } from './certification.ts';

const status = { ...capabilityStatus, ...sessionStatus, ...signingStatus } as const;

export interface AuthorizationRoutes {
  readonly log: Log;
  readonly keys: EmbeddedAdapter;
  readonly settings: KeptSettings;
  readonly capabilities: Capabilities;
  readonly certification: Certification;
}

export function authorizationRoutes(parts: AuthorizationRoutes): ServiceApp {
  const { log, keys, settings, capabilities, certification } = parts;
  const { app, refusals } = serviceApp<keyof typeof status>({ log, status });
  app.get('/v1/health', (context) => context.json(healthOf(2, keys, settings)));
  app.post('/v1/capabilities', async (context) => {
    const { count, ...wanted } = await bodyOf(context, capabilityRequestCheck);
    return context.json(
      await capabilities.give(count === undefined ? wanted : { ...wanted, count }),
    );
  });
  app.post('/internal/v1/introspections', async (context) =>
    context.json(await capabilities.take(await bodyOf(context, introspectionRequestCheck))),
  );
  app.get('/v1/capability-keys', (context) => {
    const there = keys.store.versions(capabilitySlot).filter(({ state }) => state !== 'destroyed');
    const certificates = certification.certificates();
    return context.json({ keys: there.map(akpKeyOf), certificates });
  });
  return { app, refusals };
}
