/**
 * What judging and verifying an audit take from the trust documents: what is in force, who may sign
 * what, and a stricter reading of signed documents, in which no signature is passed over.
 */

import type { SignedDocument } from '#schemas/document.ts';
import type { RoleName } from '#schemas/trust.ts';
import type { AddressOf } from '#shared/core/entitlement.ts';
import type { JudgeOptions } from '#shared/core/audit-judge.ts';
import { mayOfferExpired } from '#shared/core/document-review.ts';
import type { CryptoProvider } from './provider.ts';
import { anchorKeysOf } from './root-roles.ts';
import { documentDigest, verifyAnchor, verifyDocument, type Accepted } from './signed-document.ts';
import { inForceOf } from './trust-in-force.ts';
import type { TrustView } from './trust.ts';

type Document = SignedDocument<{ kind: string }>;

/**
 * The judge's view of a mesh. `trust` is the judge's own, at genesis: the fold adopts what is offered.
 */
export function judgeOptions(
  crypto: CryptoProvider,
  trust: TrustView,
  addressOf: AddressOf,
): JudgeOptions {
  return {
    // What was in force once is taken at any leaf; entries of sagas are held to their own begin.
    inForce: inForceOf(trust, addressOf, () => true),
    policyFor: (basisDigest) => trust.policyFor(basisDigest),
    isNotOlder: (kind, digest, earlier) =>
      kind === 'policy'
        ? trust.isPolicyNotOlder(digest, earlier)
        : trust.isRegistryNotOlder(digest, earlier),
    adopt: (document, { kind, timeMs }) => {
      const takesExpired = mayOfferExpired(kind);
      const adoption = trust.adoptBytes(document, timeMs, { takesExpired });
      if (adoption.status === 'known') return adoption;
      if (adoption.status === 'refused') {
        const { code, refusal, reason } = adoption;
        return { status: 'refused', reason: `${code}, ${refusal}: ${reason}` };
      }
      const { version, digest } = adoption;
      return { status: 'adopted', note: { kind: adoption.kind, version, digest } };
    },
    isRevoked: (agentId) => trust.isRevoked(agentId),
    isSigned: (document) => trust.verifyStatement(document, 'orchestration') === 'ok',
    digestOf: (document) => documentDigest(crypto, document.body),
  };
}

/** Who may sign a document: keys of a role, and on a root its anchors beside them. */
export interface StrictSigners extends Accepted {
  readonly anchors?: Accepted;
}

/** The signers of a role by the newest root of a view. */
export function strictSigners(trust: TrustView, role: RoleName): StrictSigners {
  const { roles, anchor } = trust.root;
  const signers = { keys: trust.roleKeys(role), threshold: roles[role].threshold };
  if (role !== 'root') return signers;
  return { ...signers, anchors: { keys: anchorKeysOf(trust.root), threshold: anchor.threshold } };
}

/**
 * Whether every signature of the document is by a distinct key of the role and holds, and there are
 * enough of them; on a root, every hash-based one by a distinct anchor, and enough of those too.
 * `verifyStatement` passes over signatures by keys that it does not ask for; where each byte of a file
 * must count, nothing may be passed over.
 */
export function isSignedStrictly(
  crypto: CryptoProvider,
  { body, signatures }: Document,
  { keys, threshold, anchors }: StrictSigners,
): boolean {
  const distinct = new Set(signatures.map(({ key_id: keyId }) => keyId));
  if (distinct.size !== signatures.length) return false;
  const byKeys = signatures.filter(({ algorithm }) => algorithm === 'ML-DSA-87');
  const byAnchors = signatures.filter(({ algorithm }) => algorithm === 'SLH-DSA-SHAKE-256s');
  if (byKeys.length < threshold || byAnchors.length < (anchors?.threshold ?? 0)) return false;
  const one = { keys, threshold: 1 };
  const oneAnchor = { keys: anchors?.keys ?? [], threshold: 1 };
  return (
    byKeys.every((each) => verifyDocument(crypto, { body, signatures: [each] }, one) === 'ok') &&
    byAnchors.every(
      (each) => verifyAnchor(crypto, { body, signatures: [each] }, oneAnchor) === 'ok',
    )
  );
}
