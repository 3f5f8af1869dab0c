/**
 * Layer 2's service, authorization: gives capabilities for sessions of layer 1, by roles, and tells the
 * other services once what each is good for. Its signing keys carry certificates of layer 1; what is
 * certified goes on while layer 1 is down.
 */

import { capabilityToken } from '#schemas/authorization.ts';
import { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { ExpiryLedger } from '../service/expiry-ledger.ts';
import { metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { ServiceClient } from '../service/service-client.ts';
import type { LayerService, OpenService } from '../service/service.ts';
import { TokenSigner } from '../service/token-signer.ts';
import { openDatabase } from '../sqlite.ts';
import { authorizationAdminRoutes } from './admin-routes.ts';
import { Capabilities } from './capabilities.ts';
import { capabilitySlot, Certification } from './certification.ts';
import { Entitlements } from './entitlements.ts';
import { IdentityView } from './identity-view.ts';
import { nonceSlot, Nonces } from './nonces.ts';
import { ReplayStore } from './replay-store.ts';
import { authorizationRoutes } from './routes.ts';

const recentUseDefaultMs = 2_000;
/** The disk is told of the latest expiry of a key every ten seconds. */
const aheadMs = 10_000;

/** @throws AdapterError where a store cannot be used */
export const openService: OpenService = async (ports) => {
  const { layer, config, disk, crypto, clock, log } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseDefaultMs;
  const settings = KeptSettings.open(disk);
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs });
  const database = openDatabase(disk, 'authorization.db');
  const ledger = ExpiryLedger.open({ database, clock, aheadMs });
  const entitlements = Entitlements.restore(database);
  let identity: ServiceClient | undefined;
  const peer = () => (identity ??= ports.peer(1));
  const view = IdentityView.restore({ disk, crypto, clock, peer });
  const stores = { database, keys, view };
  const certification = Certification.restore({ ...stores, crypto, clock, log, peer });
  const replays = ReplayStore.open(disk, { clock });
  const signed = { slot: capabilitySlot, token: capabilityToken };
  const signer = new TokenSigner({ ...signed, keys, clock, ledger });
  const capabilities = new Capabilities({
    keys,
    settings,
    crypto,
    clock,
    view,
    certification,
    entitlements,
    replays,
    signer,
    ledger,
    nonces: new Nonces(keys, crypto),
  });
  const { app, refusals, peerRoutes } = authorizationRoutes({
    log,
    keys,
    settings,
    capabilities,
    certification,
  });
  const hooks = capabilityHooks({ keys, signer, ledger, certification });
  return {
    adapter: new HookedAdapter('authorization-service', keys, {
      [capabilitySlot]: hooks,
      [nonceSlot]: nonceHooks(ledger),
    }),
    routes: app,
    peerRoutes,
    adminRoutes: authorizationAdminRoutes(entitlements, log),
    configure: async (told) => settings.adopt(told),
    measure: () =>
      metricsOf(
        {
          'capabilities-given': capabilities.given,
          'capabilities-accepted': capabilities.accepted,
          'nonces-kept': replays.count,
          subjects: entitlements.subjects,
        },
        refusals,
      ),
    takeCounts: () => keys.usage.takeCounts(),
    start: async () => certification.start(),
    stop: async () => {
      await certification.stop();
      replays.close();
      database.close();
      keys.close();
    },
  } satisfies LayerService;
};

interface CapabilityParts {
  readonly keys: EmbeddedAdapter;
  readonly signer: TokenSigner;
  readonly ledger: ExpiryLedger;
  readonly certification: Certification;
}

function capabilityHooks(parts: CapabilityParts): SlotHooks {
  const { keys, signer, ledger, certification } = parts;
  return {
    prepared: (version) => certification.require(version),
    activated: async (version) => {
      signer.prune();
      await certification.require(version);
    },
    rolledBack: async () => signer.prune(),
    users: async (version) => ledger.users(capabilitySlot, version),
    retiring: async () => signer.prune(),
    verify: async (version) => {
      const keyId = keys.store.version(capabilitySlot, version)?.keyId;
      if (keyId !== undefined && !certification.isCertified(keyId)) {
        return { ok: false, reason: `version ${version} of ${capabilitySlot} has no certificate` };
      }
      return await signer.tried(version);
    },
  };
}

function nonceHooks(ledger: ExpiryLedger): SlotHooks {
  return { users: async (version) => ledger.users(nonceSlot, version) };
}
