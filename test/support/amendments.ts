/** Documents that a world's operators sign after genesis. */

import type { SignedDocument } from '#schemas/document.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import type { RevocationBody, RootBody } from '#schemas/trust.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import { localSigner, signDocument, type AnchorSigner } from '#shared/crypto/signed-document.ts';
import type { World } from './world.ts';

export const operatorIds = ['op-1', 'op-2'] as const;

export function keyOf(world: World, name: string): SigningKey {
  const key = world.keys.get(name);
  if (key === undefined) throw new Error(`no key for ${name}`);
  return key;
}

export function instant(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

/** Signed by the named keys of the world, both operators unless told. */
export async function signedBy<Body extends { readonly kind: string }>(
  world: World,
  body: Body,
  names: readonly string[] = operatorIds,
): Promise<SignedDocument<Body>> {
  return signDocument(
    body,
    names.map((name) => localSigner(world.crypto, keyOf(world, name))),
  );
}

/** The next policy, issued now unless changed; not signed yet. */
export function policyAfter(world: World, change: (body: PolicyBody) => void = () => undefined) {
  return amended(world, world.bundle.policy.body, change);
}

export function registryAfter(
  world: World,
  change: (body: RegistryBody) => void = () => undefined,
): RegistryBody {
  return amended(world, world.bundle.registry.body, change);
}

export function rootAfter(world: World, change: (body: RootBody) => void = () => undefined) {
  return amended(world, world.bundle.root.body, change);
}

export async function signedRoot(
  world: World,
  body: RootBody,
  keys: readonly SigningKey[],
  anchors: readonly AnchorSigner[],
): Promise<SignedDocument<RootBody>> {
  return signDocument(
    body,
    keys.map((key) => localSigner(world.crypto, key)),
    anchors,
  );
}

export function revocationOf(
  world: World,
  agentId: string,
  change: Partial<RevocationBody> = {},
): RevocationBody {
  return {
    kind: 'revocation',
    mesh: world.mesh,
    agent_id: agentId,
    key_id: keyOf(world, agentId).publicKey.keyIdHex,
    reason: 'its machine was stolen',
    issued_at: instant(world.clock.nowMs()),
    ...change,
  };
}

function amended<Body extends PolicyBody | RegistryBody | RootBody>(
  world: World,
  before: Body,
  change: (body: Body) => void,
): Body {
  const nowMs = world.clock.nowMs();
  const body = {
    ...structuredClone(before),
    version: before.version + 1,
    issued_at: instant(nowMs),
    expires_at: instant(nowMs + 30 * 24 * 3_600_000),
  };
  change(body);
  return body;
}
