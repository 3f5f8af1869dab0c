/** Users of a mesh whose layers are services, enrolled by an administrator on the control sockets. */
import { ServiceClient } from '#agents/layers/service/service-client.ts';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import type { Scope } from '#schemas/authorization.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import type { StackUser } from './stack-user.ts';

export const roles = {
  patient: [
    'patient:read',
    'patient:write',
    'observation:read',
    'observation:write',
    'consent:read',
    'consent:write',
    'record:read',
    'record:write',
    'encryption:use',
  ],
  clinician: ['patient:read', 'observation:read'],
  keeper: ['encryption:use'],
} as const satisfies Readonly<Record<string, readonly Scope[]>>;
export type Role = keyof typeof roles;

/** Each with a role; may be done again. */
export async function enrol(
  layout: MeshLayout,
  users: readonly { readonly user: StackUser; readonly role: Role }[],
): Promise<void> {
  const identity = new ServiceClient({ socketPath: layout.controlSocket(1) });
  const authorization = new ServiceClient({ socketPath: layout.controlSocket(2) });
  try {
    for (const role of new Set(users.map((each) => each.role))) {
      await put(authorization, `roles/${role}`, { scopes: roles[role] });
    }
    for (const { user, role } of users) {
      await put(identity, `users/${user.subject}`, {
        publicKey: toBase64Url(user.key.publicKey.raw),
        totpSecret: toBase64Url(user.totpSecret),
      });
      await put(authorization, `subjects/${user.subject}`, { roles: [role] });
    }
  } finally {
    identity.close();
    authorization.close();
  }
}

async function put(client: ServiceClient, path: string, body: unknown): Promise<void> {
  const answer = await client.ask({ method: 'PUT', path: `/v1/admin/${path}`, body });
  if (answer.status === 'refused') throw new Error(`${answer.code}: ${answer.reason}`);
}
