/**
 * Layer 6's service: health resources in the shape of FHIR, each sealed under a key of its patient and
 * its own, shown to those whom the patient's signed consents name. Content lies in layer 5.
 *
 *   PUT, GET /v1/fhir/{Patient|Observation|Consent}/:id     capability patient:write, patient:read, …
 *   GET      /v1/fhir/Observation?patient=ID&after=NAME     capability observation:read
 *   GET      /v1/health
 *
 * An answer carries the resource and, beside it, the version of the key that sealed it and the tag.
 */

import type { Context } from 'hono';
import { FHIR_ID_PATTERN, resourceTypes, type ResourceType } from '#schemas/fhir.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { AdapterError } from '../adapter.ts';
import { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { capabilityStatus, requireCapability } from '../service/capability-check.ts';
import { healthOf, metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { Refused, serviceApp } from '../service/http-app.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { LayerService, ServicePorts } from '../service/service.ts';
import { PatientRecords, recordStatus } from './records.ts';
import { Resealer } from './resealer.ts';
import { ResourceDesk, resourceStatus, type SealedResource } from './resource-desk.ts';
import { SealStore, type SealKind } from './seal-store.ts';
import { Sealing, signatureSlot, tagSlot } from './sealing.ts';

const recentUseMsDefault = 1_000;
const idPattern = new RegExp(FHIR_ID_PATTERN);
const status = { ...capabilityStatus, ...recordStatus, ...resourceStatus } as const;

export async function openService(ports: ServicePorts): Promise<LayerService> {
  const { layer, config, disk, crypto, clock, log, peer } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseMsDefault;
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs });
  const settings = KeptSettings.open(disk);
  const seals = SealStore.open(disk);
  const sealing = new Sealing({ keys, crypto, clock });
  const records = new PatientRecords(() => peer(5));
  const desk = new ResourceDesk({ seals, sealing, records, clock });
  const resealer = new Resealer({ desk, seals, sealing, clock, log });
  const adapter = new HookedAdapter('phi-service', keys, {
    [tagSlot]: hooksOf(seals, resealer, 'tag'),
    [signatureSlot]: hooksOf(seals, resealer, 'signature'),
  });
  const { app, refusals } = serviceApp<keyof typeof status>({ log, status });
  const bearerOf = (context: Context, type: ResourceType, action: 'read' | 'write') => {
    const capability = { authorization: () => peer(2) };
    return requireCapability(context, capability, `${type.toLowerCase()}:${action}`);
  };
  app.get('/v1/health', (context) => context.json(healthOf(layer, keys, settings)));
  app.get('/v1/fhir/Observation', async (context) => {
    const patient = idOf(context.req.query('patient'));
    const bearer = await bearerOf(context, 'Observation', 'read');
    const found = await desk.observationsOf(patient, context.req.query('after') ?? '', bearer);
    return context.json({ entries: found.map(written) });
  });
  app.get('/v1/fhir/:type/:id', async (context) => {
    const type = typeOf(context.req.param('type'));
    const id = idOf(context.req.param('id'));
    return context.json(written(await desk.get(type, id, await bearerOf(context, type, 'read'))));
  });
  app.put('/v1/fhir/:type/:id', async (context) => {
    const type = typeOf(context.req.param('type'));
    const id = idOf(context.req.param('id'));
    const body = await jsonOf(context);
    const bearer = await bearerOf(context, type, 'write');
    return context.json(written(await desk.put(type, id, body, bearer)));
  });
  return {
    adapter,
    routes: app,
    configure: async (told) => settings.adopt(told),
    measure: () => metricsOf(resealer.measure(), refusals),
    takeCounts: () => keys.usage.takeCounts(),
    start: async () => resealer.start(),
    stop: async () => {
      await resealer.stop();
      seals.close();
      keys.close();
    },
  };
}

/** A new primary key: what the one before sealed is sealed anew, and needs it until then. */
function hooksOf(seals: SealStore, resealer: Resealer, kind: SealKind): SlotHooks {
  return {
    activated: async () => resealer.wake(),
    rolledBack: async () => resealer.wake(),
    users: async (version) => seals.countUnder(kind, version),
    retiring: async (version) => {
      const users = seals.countUnder(kind, version);
      if (users === 0) return;
      throw new AdapterError('STATE_CONFLICT', `${users} resources still need version ${version}`);
    },
  };
}

function written({ resource, seal }: SealedResource) {
  const { tag, signature } = seal;
  return {
    resource,
    seal: {
      keyVersion: tag.version,
      tag: toBase64Url(tag.bytes),
      ...(signature === undefined
        ? {}
        : { signatureKeyVersion: signature.version, signature: toBase64Url(signature.bytes) }),
    },
  };
}

function typeOf(text: string): ResourceType {
  const type = resourceTypes.find((known) => known === text);
  if (type !== undefined) return type;
  throw new Refused('PATH_UNKNOWN', 'resources of this type are not kept here');
}

function idOf(text: string | undefined): string {
  if (text !== undefined && idPattern.test(text)) return text;
  throw new Refused('REQUEST_MALFORMED', 'an id has letters, digits, - and ., at most 64');
}

async function jsonOf(context: Context): Promise<unknown> {
  try {
    return await context.req.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Refused('REQUEST_MALFORMED', 'the body is not JSON');
  }
}
