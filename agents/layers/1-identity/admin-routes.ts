/** What administrators do with users, on the control socket. Each says what shall be. */

import type { Context, Hono } from 'hono';
import { subjectNameCheck, userEntryCheck } from '#schemas/identity.ts';
import { fromBase64Url } from '#shared/crypto/bytes.ts';
import { sizes } from '#shared/crypto/provider.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { bodyOf, Refused, serviceApp } from '../service/http-app.ts';
import type { IdentityStore } from './identity-store.ts';
import { totpSecretBytes } from './totp.ts';

const status = { SUBJECT_UNKNOWN: 404, KEY_REFUSED: 400, STORE_FULL: 507 } as const;

export function identityAdminRoutes(store: IdentityStore, log: Log): Hono {
  const { app } = serviceApp<keyof typeof status>({ log, status });
  app.put('/users/:subject', async (context) => {
    const subject = subjectOf(context);
    const entry = await bodyOf(context, userEntryCheck);
    const publicKey = fromBase64Url(entry.publicKey);
    if (publicKey?.length !== sizes.mlDsa87.publicKey) {
      throw new Refused('KEY_REFUSED', 'an ML-DSA-87 public key has 2,592 bytes');
    }
    const secret = secretOf(entry.totpSecret);
    try {
      if (!store.enrol(subject, publicKey, secret)) {
        throw new Refused('STORE_FULL', 'there is no room for another user');
      }
    } finally {
      secret?.fill(0);
    }
    return context.json({ subject, hasSecondFactor: secret !== undefined });
  });
  app.get('/users/:subject', (context) => {
    const user = store.user(subjectOf(context));
    if (user === undefined) throw new Refused('SUBJECT_UNKNOWN', 'there is no such user');
    const { subject, hasSecondFactor, factor } = user;
    return context.json({ subject, hasSecondFactor, lockedUntilMs: factor.lockedUntilMs });
  });
  app.delete('/users/:subject', (context) => {
    store.remove(subjectOf(context));
    return context.json({});
  });
  return app;
}

function subjectOf(context: Context): string {
  const subject = context.req.param('subject');
  if (subjectNameCheck.check(subject)) return subject;
  throw new Refused('REQUEST_MALFORMED', 'this cannot be the name of a user');
}

function secretOf(text: string | undefined): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const secret = fromBase64Url(text);
  const { min, max } = totpSecretBytes;
  if (secret !== undefined && secret.length >= min && secret.length <= max) return secret;
  throw new Refused('KEY_REFUSED', `a TOTP secret has ${min} to ${max} bytes`);
}
