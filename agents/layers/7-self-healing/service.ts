/**
 * Layer 7's service, self-healing: holds the key that signs healing claims, signs those that its agent
 * brings over the control socket, and tells who may how all layers are and what was asked for. The
 * looking for anomalies is the agent's: it is the agent that reads telemetry.
 */

import { HealingClaim, healingSlot } from '#schemas/healing.ts';
import { compile } from '#schemas/primitives.ts';
import type { Hono } from 'hono';
import { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import {
  capabilityStatus,
  requireCapability,
  type CapabilityCode,
} from '../service/capability-check.ts';
import { healthOf, metricsOf } from '../service/health.ts';
import { HookedAdapter } from '../service/hooked-adapter.ts';
import { bodyOf, Refused, serviceApp } from '../service/http-app.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { LayerService, OpenService, ServicePorts } from '../service/service.ts';
import { ActionRegister, type SignedAction } from './action-register.ts';
import { signClaim, writtenSignature } from './claim-signing.ts';
import { PeerHealth } from './peer-health.ts';

const recentUseMsDefault = 1_000;
const scope = 'health:read';
const actionsShownMax = 100;
const claimCheck = compile(HealingClaim);

/** Another claim was signed under this id; the slot is frozen. */
const adminStatus = { CLAIM_DIFFERS: 409, SIGNING_FROZEN: 503 } as const;

interface Parts {
  readonly ports: ServicePorts;
  readonly keys: EmbeddedAdapter;
  readonly settings: KeptSettings;
  readonly register: ActionRegister;
}

/** @throws AdapterError */
export const openService: OpenService = async (ports) => {
  const { layer, disk, crypto, clock, config } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseMsDefault;
  const settings = KeptSettings.open(disk);
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs });
  try {
    const parts = { ports, keys, settings, register: ActionRegister.open(disk) };
    return serviceOf(parts);
  } catch (error) {
    keys.close();
    throw error;
  }
};

function serviceOf(parts: Parts): LayerService {
  const { keys, settings, register } = parts;
  const { app, refusals } = publicRoutes(parts);
  return {
    adapter: new HookedAdapter('self-healing-service', keys, {}),
    routes: app,
    adminRoutes: adminRoutes(parts),
    configure: async (told) => settings.adopt(told),
    measure: () => metricsOf({ 'healing-actions': register.count() }, refusals),
    takeCounts: () => keys.usage.takeCounts(),
    start: async () => undefined,
    stop: async () => {
      register.close();
      keys.close();
    },
  };
}

function publicRoutes({ ports, keys, settings, register }: Parts) {
  const { layer, log, clock } = ports;
  const peers = new PeerHealth({ own: layer, peer: (other) => ports.peer(other), clock });
  const service = serviceApp<CapabilityCode>({ log, status: capabilityStatus });
  const { app } = service;
  app.get('/v1/health', async (context) =>
    context.json({ ...healthOf(layer, keys, settings), layers: await peers.all() }),
  );
  app.get('/v1/healing-actions', async (context) => {
    await requireCapability(context, { authorization: () => ports.peer(2) }, scope);
    return context.json({ actions: register.latest(actionsShownMax).map(written) });
  });
  return service;
}

/** For the agent. A claim that comes again gets the signature that it had. */
function adminRoutes({ ports, keys, register }: Parts): Hono {
  const { log, crypto, clock } = ports;
  const { app } = serviceApp<keyof typeof adminStatus>({ log, status: adminStatus });
  app.post('/healing-actions', async (context) => {
    const claim = await bodyOf(context, claimCheck);
    const known = register.find(claim);
    if (known === 'CLAIM_DIFFERS') {
      throw new Refused('CLAIM_DIFFERS', 'another claim was signed under this id');
    }
    if (keys.store.slot(healingSlot).frozen) {
      throw new Refused('SIGNING_FROZEN', `${healingSlot} is frozen`, { retryable: true });
    }
    const action = known ?? {
      claim,
      signature: signClaim(keys, { crypto, clock }, claim),
      signedAtMs: clock.nowMs(),
    };
    if (known === undefined) register.add(action);
    return context.json(writtenSignature(action.signature));
  });
  return app;
}

function written({ claim, signature, signedAtMs }: SignedAction) {
  return { claim, signature: writtenSignature(signature), signedAtMs };
}
