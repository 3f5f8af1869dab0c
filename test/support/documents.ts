/** Documents of a test mesh that amend those in force, signed by its operators. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { TrustDocuments } from '#schemas/queries.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import type { OfferedDocument, RootBody } from '#schemas/trust.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { versionsOf } from '#shared/crypto/known-versions.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { crypto, type World } from './world.ts';
import { patienceMs } from './patience.ts';

const dayMs = 24 * 3_600_000;

type Amendable = PolicyBody | RegistryBody | RootBody;

/** The next version of `body`, changed by `change`; by every operator unless told. */
export async function amended<Body extends Amendable>(
  world: World,
  body: Body,
  change: (draft: Body) => void = () => undefined,
  signers: readonly string[] = ['op-1', 'op-2'],
): Promise<OfferedDocument> {
  const draft = structuredClone(body);
  draft.version += 1;
  const nowMs = world.clock.nowMs();
  draft.issued_at = new Date(nowMs).toISOString();
  draft.expires_at = new Date(nowMs + 20 * dayMs).toISOString();
  change(draft);
  const keys = signers.map((id) => {
    const key = world.keys.get(id);
    if (key === undefined) throw new Error(`no key for ${id}`);
    return localSigner(world.crypto, key);
  });
  const anchors = draft.kind === 'root' ? [...world.anchors.values()] : [];
  return (await signDocument(draft, keys, anchors)) as OfferedDocument;
}

export async function revocationOf(world: World, agentId: string): Promise<OfferedDocument> {
  const keyId = world.trust.agent(agentId)?.keyId;
  if (keyId === undefined) throw new Error(`${agentId} is not enrolled`);
  const keys = ['op-1', 'op-2'].map((id) => {
    const key = world.keys.get(id);
    if (key === undefined) throw new Error(`no key for ${id}`);
    return localSigner(world.crypto, key);
  });
  const body = {
    kind: 'revocation' as const,
    mesh: world.mesh,
    agent_id: agentId,
    key_id: keyId,
    reason: 'stolen',
    issued_at: new Date(world.clock.nowMs()).toISOString(),
  };
  return await signDocument(body, keys);
}

export function bytesOf(document: OfferedDocument): Uint8Array<ArrayBuffer> {
  return new Uint8Array(utf8(JSON.stringify(document)));
}

/** What the command line does at each run: asks one orchestrator, verifies what it tells. */
export async function learnFrom(
  operator: Principal,
  agentId: string,
  { trust, nowMs }: { readonly trust: TrustView; readonly nowMs: number },
): Promise<void> {
  const query = { ask: 'trust-documents', ...versionsOf(trust.highest()) } as const;
  const answer = await operator.ask({ agentId, channel: 'notices' }, query, 4_000);
  if (!answer.ok) throw new Error(`${answer.code}: ${answer.reason}`);
  const { documents } = answer.result as TrustDocuments;
  for (const document of documents) trust.adoptBytes(document, nowMs, { takesExpired: true });
}

/** Offers a document, and waits until every running agent has it in force. */
export async function adopt(
  mesh: {
    readonly running: () => readonly string[];
    readonly trustOf: (agentId: string) => TrustView;
    readonly offer: (operatorId: string, document: Uint8Array<ArrayBuffer>) => Promise<void>;
  },
  operatorId: string,
  document: OfferedDocument,
): Promise<void> {
  await mesh.offer(operatorId, bytesOf(document));
  const digest = documentDigest(crypto, document.body);
  const deadlineMs = Date.now() + patienceMs;
  const holds = (agentId: string): boolean => {
    const { root, registry, policy } = mesh.trustOf(agentId).highest();
    return [root, registry, policy].some((newest) => newest.digest === digest);
  };
  while (!mesh.running().every(holds)) {
    if (Date.now() > deadlineMs) {
      const late = mesh.running().filter((id) => !holds(id));
      throw new Error(`not adopted by ${late.join(', ')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
