/**
 * Signed documents: root, registry, policy, enrolments and the signer's statements.
 *
 * Signed bytes are the canonical JSON (RFC 8785) of the body; the ML-DSA-87 context is
 * "gyre/v1/document/" and the body's `kind`, so that no document passes for one of another kind. The
 * digest of a document is SHA3-256 of the same bytes; a key id is SHA3-256 of the raw public key.
 *
 * Invariant: a threshold counts distinct keys. An id that is not the hash of its key counts for
 * nothing, a key that signs twice counts once, keys that are not asked for are ignored.
 */
import { documentSignaturesMax } from '#schemas/document.ts';
import type { DocumentSignature, SignedDocument } from '#schemas/document.ts';
import { fromBase64Url, toBase64Url, toHex, utf8 } from './bytes.ts';
import { canonicalJson } from './canonical-json.ts';
import { CryptoError, invariant } from './errors.ts';
import type { SigningKey } from './key-handle.ts';
import type { CryptoProvider } from './provider.ts';
import { sizes } from './provider.ts';

/** Signs document bytes: a key in memory, or a token elsewhere. */
export interface DocumentSigner {
  /** Hexadecimal SHA3-256 of the raw public key. */
  readonly keyId: string;
  /** ML-DSA-87 signature of 4,627 bytes over `bytes` with `context` (ASCII). */
  sign(bytes: Uint8Array, context: string): Promise<Uint8Array>;
}

/** A public key that may sign. */
export interface DocumentKey {
  /** Hexadecimal SHA3-256 of `publicKey`. */
  readonly keyId: string;
  /** Raw ML-DSA-87 public key, 2,592 bytes. */
  readonly publicKey: Uint8Array;
}

/** Why a document does not stand. */
export type DocumentRefusal =
  /** No body with a kind, no canonical form, too many or malformed signatures. */
  | 'DOCUMENT_MALFORMED'
  /** Too few distinct keys, and at least one signature by an accepted key does not check. */
  | 'SIGNATURE_INVALID'
  /** Too few distinct keys have signed. */
  | 'THRESHOLD_NOT_MET';

const kindPattern = /^[a-z][a-z0-9_]{0,62}$/;

/** The ML-DSA context of a kind of document: "gyre/v1/document/" and the kind, at most 80 bytes. */
export function documentContext(kind: string): string {
  invariant(kindPattern.test(kind), 'a document kind in snake_case');
  return `gyre/v1/document/${kind}`;
}

/** The bytes that are signed. Throws `CryptoError` `NOT_ENCODABLE` for what is not JSON. */
export function documentBytes(body: unknown): Uint8Array {
  return canonicalJson(body);
}

/** SHA3-256 of the signed bytes, hexadecimal. Throws as `documentBytes`. */
export function documentDigest(crypto: CryptoProvider, body: unknown): string {
  return toHex(crypto.sha3_256(documentBytes(body)));
}

/** Id of a raw public key: SHA3-256, hexadecimal. */
export function keyIdOf(crypto: CryptoProvider, publicKey: Uint8Array): string {
  return toHex(crypto.sha3_256(publicKey));
}

/** A signer with its key in this process. */
export function localSigner(crypto: CryptoProvider, key: SigningKey): DocumentSigner {
  return {
    keyId: key.publicKey.keyIdHex,
    sign: async (bytes, context) =>
      await crypto.signAsync(key, { message: bytes, context: utf8(context) }),
  };
}

/**
 * Signs `body` by every signer, in the given order. Throws `CryptoError` `NOT_ENCODABLE` for what is
 * not JSON, and whatever a signer rejects with.
 */
export async function signDocument<Body extends { readonly kind: string }>(
  body: Body,
  signers: readonly DocumentSigner[],
): Promise<SignedDocument<Body>> {
  invariant(
    signers.length >= 1 && signers.length <= documentSignaturesMax,
    `1 to ${documentSignaturesMax} signers`,
  );
  const keyIds = new Set(signers.map(({ keyId }) => keyId));
  invariant(keyIds.size === signers.length, 'every signer signs once');
  const bytes = documentBytes(body);
  const context = documentContext(body.kind);
  const signatures = await Promise.all(
    signers.map(async (signer): Promise<DocumentSignature> => {
      const signature = await signer.sign(bytes, context);
      if (signature.length !== sizes.mlDsa87.signature) {
        throw new CryptoError('KEY_INVALID', 'a signer answered with no ML-DSA-87 signature');
      }
      return {
        key_id: signer.keyId,
        algorithm: 'ML-DSA-87',
        signature: toBase64Url(signature),
      };
    }),
  );
  return { body, signatures };
}

/**
 * Whether at least `threshold` distinct keys of `keys` have signed the document. Never throws for
 * what the document contains.
 */
export function verifyDocument(
  crypto: CryptoProvider,
  document: SignedDocument<{ readonly kind: string }>,
  accepted: { readonly keys: Iterable<DocumentKey>; readonly threshold: number },
): 'ok' | DocumentRefusal {
  const { threshold } = accepted;
  invariant(Number.isInteger(threshold) && threshold >= 1, 'a threshold of at least one');
  const { body, signatures } = document;
  if (typeof body.kind !== 'string' || !kindPattern.test(body.kind)) return 'DOCUMENT_MALFORMED';
  if (signatures.length > documentSignaturesMax) return 'DOCUMENT_MALFORMED';
  const message = canonicalBytes(body);
  if (message === undefined) return 'DOCUMENT_MALFORMED';
  const keys = distinctKeys(crypto, accepted.keys);
  const context = utf8(documentContext(body.kind));
  const holds = new Set<string>();
  let failed = false;
  for (const { key_id: keyId, signature: text } of signatures) {
    const publicKey = keys.get(keyId);
    if (publicKey === undefined || holds.has(keyId)) continue;
    const signature = fromBase64Url(text);
    if (signature === undefined) return 'DOCUMENT_MALFORMED';
    const key = crypto.importVerifyKey(publicKey);
    if (crypto.verify(key, { message, context, signature })) holds.add(keyId);
    else failed = true;
  }
  if (holds.size >= threshold) return 'ok';
  return failed ? 'SIGNATURE_INVALID' : 'THRESHOLD_NOT_MET';
}

function canonicalBytes(body: unknown): Uint8Array | undefined {
  try {
    return documentBytes(body);
  } catch (fault) {
    if (fault instanceof CryptoError && fault.code === 'NOT_ENCODABLE') return undefined;
    throw fault;
  }
}

function distinctKeys(
  crypto: CryptoProvider,
  keys: Iterable<DocumentKey>,
): ReadonlyMap<string, Uint8Array> {
  const distinct = new Map<string, Uint8Array>();
  for (const { keyId, publicKey } of keys) {
    const isKey = publicKey.length === sizes.mlDsa87.publicKey;
    if (isKey && keyIdOf(crypto, publicKey) === keyId) distinct.set(keyId, publicKey);
  }
  return distinct;
}
