/**
 * Layer 1's service, identity: logs users in by a key of theirs and a second factor, gives out session
 * tokens under 1/session-token, and vouches under 1/identity-signature for the keys of layer 2. A key
 * is held for as long as a session or a certificate that it signed is in time.
 */

import { Secret } from '#shared/crypto/secret.ts';
import type { VerificationResult } from '../adapter.ts';
import { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { openStoreKey, StoreKey } from '../embedded/store-key.ts';
import { ExpiryLedger } from '../service/expiry-ledger.ts';
import { metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { LayerService, OpenService, ServicePorts } from '../service/service.ts';
import { checkToken } from '../service/token-check.ts';
import { akpKeyOf, TokenSigner } from '../service/token-signer.ts';
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
  const { type } = sessionToken;
  const signer = new TokenSigner({ keys, slot: sessionSlot, type, clock, ledger });
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
    [sessionSlot]: sessionHooks({ keys, store, challenges }, signer, ledger, ports),
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
    return { keys, store: IdentityStore.open(disk, secrets), challenges };
  } finally {
    storeKey.wipe();
  }
}

function sessionHooks(
  { keys }: Stores,
  signer: TokenSigner,
  ledger: ExpiryLedger,
  { clock }: ServicePorts,
): SlotHooks {
  return {
    activated: async () => signer.prune(),
    rolledBack: async () => signer.prune(),
    users: async (version) => ledger.users(sessionSlot, version),
    retiring: async () => signer.prune(),
    verify: async (version) => await tried(keys, signer, version, clock.nowMs()),
  };
}

/** A token by the key, for nobody, and its verification as others verify. */
async function tried(
  keys: EmbeddedAdapter,
  signer: TokenSigner,
  version: number,
  nowMs: number,
): Promise<VerificationResult> {
  const stored = keys.store.version(sessionSlot, version);
  if (stored === undefined) return { ok: false, reason: `there is no version ${version}` };
  const { type, issuer } = sessionToken;
  const second = Math.floor(nowMs / 1_000);
  const claims = { iss: issuer, aud: 'nobody', sub: 'nobody', jti: 'trial' };
  const times = { iat: second, nbf: second, exp: second + 1 };
  const token = await signer.signWith(stored, { ...claims, ...times });
  const rules = { type, issuer, audience: 'nobody', nowMs, keyOf: async () => akpKeyOf(stored) };
  const verdict = await checkToken(token, rules);
  return verdict.status === 'valid'
    ? { ok: true }
    : { ok: false, reason: `a token of ${sessionSlot} is ${verdict.fault}` };
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
