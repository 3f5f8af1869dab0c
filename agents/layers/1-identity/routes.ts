/** The routes of layer 1's service: logging in, the keys that others verify under, certificates. */

import type { Hono } from 'hono';
import {
  certificateRequestCheck,
  certificatesInUseCheck,
  challengeRequestCheck,
  sessionRequestCheck,
  type IdentityKey,
} from '#schemas/identity.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Log } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { healthOf } from '../service/health.ts';
import {
  bodyOf,
  Refused,
  serviceApp,
  type RefusalCounts,
  type ServiceApps,
} from '../service/http-app.ts';
import { isNamedAs, isPossessed } from '../service/key-certificate.ts';
import type { KeptSettings } from '../service/kept-settings.ts';
import { akpKeyOf, signingStatus } from '../service/token-signer.ts';
import { identitySlot, type CertificateRegister } from './certificate-register.ts';
import { loginStatus, type Login } from './login.ts';

export const sessionSlot = '1/session-token';

const status = {
  ...loginStatus,
  ...signingStatus,
  /** The key to be certified is none, or is not the one of that id. */
  KEY_REFUSED: 400,
  /** Whoever asks does not show that the key to be certified is his. */
  POSSESSION_UNPROVEN: 403,
} as const;

export interface IdentityRoutes {
  readonly log: Log;
  readonly crypto: CryptoProvider;
  readonly keys: EmbeddedAdapter;
  readonly settings: KeptSettings;
  readonly login: Login;
  readonly certificates: CertificateRegister;
}

export function identityRoutes(parts: IdentityRoutes): ServiceApps {
  const { log, keys, settings, login } = parts;
  const { app, refusals } = serviceApp<keyof typeof status>({ log, status });
  app.get('/v1/health', (context) => context.json(healthOf(1, keys, settings)));
  app.post('/v1/challenges', async (context) => {
    const { subject } = await bodyOf(context, challengeRequestCheck);
    return context.json(login.challenge(subject));
  });
  app.post('/v1/sessions', async (context) =>
    context.json(await login.session(await bodyOf(context, sessionRequestCheck))),
  );
  // A prepared key signs nothing yet; verifiers that know it early are not surprised by it.
  app.get('/v1/jwks', (context) => context.json({ keys: usable(keys, sessionSlot).map(akpKeyOf) }));
  app.get('/v1/identity-keys', (context) => context.json({ keys: identityKeysOf(keys) }));
  return { app, refusals, peerRoutes: { 2: certificateRoutes(parts, refusals) } };
}

/** For layer 2, whose keys are certified. */
function certificateRoutes(parts: IdentityRoutes, refusals: RefusalCounts): Hono {
  const { log, crypto, certificates } = parts;
  const { app } = serviceApp<keyof typeof status>({ log, status, refusals });
  app.post('/internal/v1/certificates', async (context) => {
    const { slot, keyId, ...rest } = await bodyOf(context, certificateRequestCheck);
    const publicKey = fromBase64Url(rest.publicKey);
    if (publicKey === undefined || !isNamedAs(crypto, publicKey, keyId)) {
      throw new Refused('KEY_REFUSED', 'this is not the key of that id');
    }
    const proof = fromBase64Url(rest.proof) ?? new Uint8Array();
    if (!isPossessed(crypto, { slot, keyId, publicKey }, proof)) {
      throw new Refused('POSSESSION_UNPROVEN', 'the key to be certified did not sign the request');
    }
    return context.json(certificates.issue(slot, keyId));
  });
  app.put('/internal/v1/certificates/in-use', async (context) => {
    const { slot, serials } = await bodyOf(context, certificatesInUseCheck);
    certificates.keepOnly(slot, serials);
    return context.json({});
  });
  return app;
}

function identityKeysOf(keys: EmbeddedAdapter): IdentityKey[] {
  return usable(keys, identitySlot).flatMap(({ keyId, version, state, publicKey }) => {
    if (publicKey === undefined || state === 'prepared' || state === 'destroyed') return [];
    return [{ keyId, version, state, publicKey: toBase64Url(publicKey) }];
  });
}

function usable(keys: EmbeddedAdapter, slot: string) {
  return keys.store.versions(slot).filter(({ state }) => state !== 'destroyed');
}
