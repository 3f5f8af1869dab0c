/**
 * What judging and verifying an audit take from the trust documents: what is in force, who may sign
 * what, and a stricter reading of signed documents, in which no signature is passed over.
 */

import type { SignedDocument } from '#schemas/document.ts';
import type { RoleName } from '#schemas/trust.ts';
import type { AddressOf } from '#shared/core/entitlement.ts';
import type { JudgeOptions } from '#shared/core/audit-judge.ts';
import type { CryptoProvider } from './provider.ts';
import { anchorKeysOf } from './root-roles.ts';
import { documentDigest, verifyAnchor, verifyDocument } from './signed-document.ts';
import { inForceOf } from './trust-in-force.ts';
import type { TrustView } from './trust.ts';

type Document = SignedDocument<{ kind: string }>;

/** The judge's view of a mesh. */
export function judgeOptions(
  crypto: CryptoProvider,
  trust: TrustView,
  addressOf: AddressOf,
): JudgeOptions {
  return {
    // What was in force once is taken at any leaf; entries of sagas are held to their own begin.
    inForce: inForceOf(trust, addressOf, () => true),
    policy: trust.policy,
    isSigned: (document) => trust.verifyStatement(document, 'orchestration') === 'ok',
    digestOf: (document) => documentDigest(crypto, document.body),
  };
}

/**
 * Whether every signature of the document is by a distinct key of the role and holds, and there are
 * enough of them; on a root, every hash-based one by a distinct anchor, and enough of those too.
 * `verifyStatement` passes over signatures by keys that it does not ask for; where each byte of a file
 * must count, nothing may be passed over.
 */
export function isSignedStrictly(
  crypto: CryptoProvider,
  trust: TrustView,
  document: Document,
  role: RoleName,
): boolean {
  const { signatures } = document;
  const byAnchors = signatures.filter(({ algorithm }) => algorithm === 'SLH-DSA-SHAKE-256s');
  const byKeys = signatures.filter(({ algorithm }) => algorithm === 'ML-DSA-87');
  if (new Set(signatures.map(({ key_id: keyId }) => keyId)).size !== signatures.length)
    return false;
  const { body } = document;
  const keys = trust.roleKeys(role);
  const isHeldByKey = byKeys.every(
    (signature) =>
      verifyDocument(crypto, { body, signatures: [signature] }, { keys, threshold: 1 }) === 'ok',
  );
  if (!isHeldByKey || byKeys.length < trust.root.roles[role].threshold) return false;
  if (role !== 'root') return byAnchors.length === 0;
  const anchors = anchorKeysOf(trust.root);
  return (
    byAnchors.length >= trust.root.anchor.threshold &&
    byAnchors.every(
      (signature) =>
        verifyAnchor(crypto, { body, signatures: [signature] }, { keys: anchors, threshold: 1 }) ===
        'ok',
    )
  );
}
