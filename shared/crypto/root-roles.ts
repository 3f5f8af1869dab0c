/**
 * The keys that a root document names, by role, and whether they signed something. One root, one
 * instance: which root counts is the caller's question.
 */

import type { SignedDocument } from '#schemas/document.ts';
import type { RoleName, RootBody } from '#schemas/trust.ts';
import type { SignatureResult } from '#shared/core/document-review.ts';
import { fromBase64Url } from './bytes.ts';
import type { CryptoProvider } from './provider.ts';
import { verifyAnchor, verifyDocument, type DocumentKey } from './signed-document.ts';

type Document = SignedDocument<{ readonly kind: string }>;

export class RootRoles {
  readonly #crypto: CryptoProvider;
  readonly #root: RootBody;
  readonly #keys = new Map<RoleName, readonly DocumentKey[]>();

  constructor(crypto: CryptoProvider, root: RootBody) {
    this.#crypto = crypto;
    this.#root = root;
    for (const role of Object.keys(root.roles) as RoleName[]) {
      this.#keys.set(role, keysOf(root, role));
    }
  }

  keys(role: RoleName): readonly DocumentKey[] {
    return this.#keys.get(role) ?? [];
  }

  /** Whether enough keys of the role signed the document with ML-DSA-87. */
  check(document: Document, role: RoleName): SignatureResult {
    const { threshold } = this.#root.roles[role];
    return settled(verifyDocument(this.#crypto, document, { keys: this.keys(role), threshold }));
  }

  /** Whether enough of the root's anchors signed the document with SLH-DSA-SHAKE-256s. */
  checkAnchor(document: Document): SignatureResult {
    const { anchor } = this.#root;
    const keys = anchorKeysOf(this.#root);
    return settled(verifyAnchor(this.#crypto, document, { keys, threshold: anchor.threshold }));
  }
}

/** The anchors of a root, raw public keys of 64 bytes. */
export function anchorKeysOf({ anchor }: RootBody): DocumentKey[] {
  return Object.entries(anchor.keys).flatMap(([keyId, { public_key: text }]) => {
    const publicKey = fromBase64Url(text);
    return publicKey?.length === 64 ? [{ keyId, publicKey }] : [];
  });
}

function keysOf(root: RootBody, role: RoleName): DocumentKey[] {
  return root.roles[role].key_ids.flatMap((keyId) => {
    const publicKey = fromBase64Url(root.keys[keyId]?.public_key ?? '');
    return publicKey?.length === 2592 ? [{ keyId, publicKey }] : [];
  });
}

function settled(result: ReturnType<typeof verifyDocument>): SignatureResult {
  return result === 'DOCUMENT_MALFORMED' ? 'SIGNATURE_INVALID' : result;
}
