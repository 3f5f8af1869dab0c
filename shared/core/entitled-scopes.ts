/** What somebody may do: the scopes of all of one's roles together. What no role names is denied. */

import type { Scope } from '#schemas/authorization.ts';

/** Scopes by role; roles that do not exist give nothing. */
export type ScopesByRole = ReadonlyMap<string, readonly Scope[]>;

/** The first of the wanted scopes that the roles do not give, or undefined where they give all. */
export function scopeNotGiven(
  wanted: readonly Scope[],
  roles: readonly string[],
  byRole: ScopesByRole,
): Scope | undefined {
  const given = new Set(roles.flatMap((role) => byRole.get(role) ?? []));
  return wanted.find((scope) => !given.has(scope));
}
