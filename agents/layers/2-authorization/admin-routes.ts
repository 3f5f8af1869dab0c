/** What administrators do with roles and with those who have them, on the control socket. */

import type { Context, Hono } from 'hono';
import { roleEntryCheck, roleNameCheck, subjectEntryCheck } from '#schemas/authorization.ts';
import { subjectNameCheck } from '#schemas/identity.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { bodyOf, Refused, serviceApp } from '../service/http-app.ts';
import type { Entitlements } from './entitlements.ts';

const status = { ROLE_UNKNOWN: 409, STORE_FULL: 507 } as const;

export function authorizationAdminRoutes(entitlements: Entitlements, log: Log): Hono {
  const { app } = serviceApp<keyof typeof status>({ log, status });
  app.put('/roles/:role', async (context) => {
    const role = named(context, 'role', roleNameCheck);
    const { scopes } = await bodyOf(context, roleEntryCheck);
    if (!entitlements.setRole(role, [...new Set(scopes)])) throw full();
    return context.json({ role, scopes });
  });
  app.delete('/roles/:role', (context) => {
    entitlements.removeRole(named(context, 'role', roleNameCheck));
    return context.json({});
  });
  app.put('/subjects/:subject', async (context) => {
    const subject = named(context, 'subject', subjectNameCheck);
    const { roles } = await bodyOf(context, subjectEntryCheck);
    if (!roles.every((role) => entitlements.hasRole(role))) {
      throw new Refused('ROLE_UNKNOWN', 'a role of these does not exist');
    }
    if (!entitlements.setSubject(subject, [...new Set(roles)])) throw full();
    return context.json({ subject, roles });
  });
  app.get('/subjects/:subject', (context) => {
    const subject = named(context, 'subject', subjectNameCheck);
    return context.json({ subject, roles: entitlements.rolesOf(subject) });
  });
  app.delete('/subjects/:subject', (context) => {
    entitlements.removeSubject(named(context, 'subject', subjectNameCheck));
    return context.json({});
  });
  return app;
}

function named(
  context: Context,
  what: 'role' | 'subject',
  check: { check(value: unknown): value is string },
): string {
  const name = context.req.param(what);
  if (check.check(name)) return name;
  throw new Refused('REQUEST_MALFORMED', `this cannot be the name of a ${what}`);
}

function full(): Refused {
  return new Refused('STORE_FULL', 'there is no room for another one');
}
