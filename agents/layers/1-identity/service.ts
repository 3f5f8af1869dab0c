/**
 * Layer 1's service, identity: logs users in by a key of theirs and a second factor, gives out session
 * tokens under 1/session-token, and vouches under 1/identity-signature for the keys of layer 2. A key
 * is held for as long as a session or a certificate that it signed is in time.
 */

import { Secret } from '#shared/crypto/secret.ts';
import { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { openStoreKey, StoreKey } from '../embedded/store-key.ts';
import { ExpiryLedger } from '../service/expiry-ledger.ts';
import { metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { LayerService, OpenService, ServicePorts } from '../service/service.ts';
import { TokenSigner } from '../service/token-signer.ts';
import { sessionToken } from '#schemas/identity.ts';
import { identityAdminRoutes } from './admin-routes.ts';
import { CertificateRegister, identitySlot } from './certificate-register.ts';
import { Challenges } from './challenges.ts';
import { IdentityStore } from './identity-store.ts';
import { Login } from './login.ts';
import { identityRoutes, sessionSlot } from './routes.ts';

const recentUseDefaultMs = 2_000;
/** The disk is told of the latest expiry of a session key once a minute. */
const aheadMs = 60_000;

interface Stores {
  readonly keys: EmbeddedAdapter;
  readonly store: IdentityStore;
  readonly challenges: Challenges;
}

/** @throws AdapterError where a store cannot be used */
export const openService: OpenService = async (ports) => {
  const { layer, config, disk, crypto, clock, log } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseDefaultMs;
  const settings = KeptSettings.open(disk);
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs });
  const { store, challenges } = opened(keys, () => openStores(keys, ports));
  const { database } = store;
  const ledger = opened(store, () => ExpiryLedger.open({ database, clock, aheadMs }));
  const certificates = CertificateRegister.open({ database, keys, crypto, clock });
  const signer = new TokenSigner({ keys, slot: sessionSlot, token: sessionToken, clock, ledger });
  const login = new Login({
    crypto,
    clock,
    store,
    challenges,
    signer,
    settings: () => settings.current,
  });
  const routes = identityRoutes({ log, crypto, keys, settings, login, certificates });
  const adapter = new HookedAdapter('identity-service', keys, {
    [sessionSlot]: sessionHooks(signer, ledger),
    [identitySlot]: { users: async (version) => certificates.users(version) },
  });
  return {
    adapter,
    routes: routes.app,
    peerRoutes: routes.peerRoutes,
    adminRoutes: identityAdminRoutes(store, log),
    configure: async (told) => settings.adopt(told),
    measure: () => metricsOf({ sessions: login.sessions, users: store.users() }, routes.refusals),
    takeCounts: () => keys.usage.takeCounts(),
    start: async () => undefined,
    stop: async () => {
      challenges.wipe();
      store.close();
      keys.close();
    },
  } satisfies LayerService;
};

/** The TOTP secrets and the challenges each have a key of their own, derived from the store key. */
function openStores(keys: EmbeddedAdapter, { disk, crypto }: ServicePorts): Stores {
  const storeKey = openStoreKey(crypto, disk, { mayCreate: false });
  try {
    const secrets = new StoreKey(crypto, new Secret(storeKey.derive('user-totp')));
    const challenges = new Challenges(crypto, new Secret(storeKey.derive('login-challenge')));
    return { keys, store: IdentityStore.open({ disk, crypto, secrets }), challenges };
  } finally {
    storeKey.wipe();
  }
}

function sessionHooks(signer: TokenSigner, ledger: ExpiryLedger): SlotHooks {
  return {
    activated: async () => signer.prune(),
    rolledBack: async () => signer.prune(),
    users: async (version) => ledger.users(sessionSlot, version),
    retiring: async () => signer.prune(),
    verify: (version) => signer.tried(version),
  };
}

/** What was opened before is closed again where the next does not open. */
function opened<Result>(before: { close(): void }, open: () => Result): Result {
  try {
    return open();
  } catch (error) {
    before.close();
    throw error;
  }
}
