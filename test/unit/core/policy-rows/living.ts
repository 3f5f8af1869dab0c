/** A mesh with real documents, under which a policy is signed by the operators and adopted. */

import type { PolicyBody } from '#schemas/policy.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { crypto, makeWorld, type World } from '../../../support/world.ts';
import type { Change } from './row.ts';

let made: Promise<World> | undefined;

/** Made once; every row has a view of its own. */
export function worldOf(): Promise<World> {
  return (made ??= makeWorld());
}

/** Turns the provisioned policy into its successor. */
export const successor: Change = (_policies, body) => {
  const nowMs = Date.now();
  body.version = 2;
  body.issued_at = new Date(nowMs).toISOString();
  body.expires_at = new Date(nowMs + 3_600_000).toISOString();
};

export async function adopt(policy: PolicyBody) {
  const world = await worldOf();
  const trust: TrustView = world.newTrust();
  const operators = ['op-1', 'op-2'].map((name) => {
    const key = world.keys.get(name);
    if (key === undefined) throw new Error(`no key of ${name}`);
    return localSigner(crypto, key);
  });
  const adoptedAtMs = Date.now();
  const adoption = trust.adopt(await signDocument(policy, operators), adoptedAtMs);
  return { world, trust, adoption, adoptedAtMs };
}

/** The view under the policy. */
export async function under(policy: PolicyBody) {
  const { adoption, ...rest } = await adopt(policy);
  if (adoption.status !== 'adopted') throw new Error(JSON.stringify(adoption));
  return rest;
}
