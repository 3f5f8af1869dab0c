/**
 * Signed documents: root, registry, policy, revocations, enrolments and the signer's statements.
 *
 * Signed bytes are the canonical JSON (RFC 8785) of the body; the context of a signature (ML-DSA-87
 * and, on a root, SLH-DSA-SHAKE-256s beside it) is "gyre/v1/document/" and the body's `kind`, so that
 * no document passes for one of another kind. The digest of a document is SHA3-256 of the same bytes;
 * a key id is SHA3-256 of the raw public key.
 *
 * Invariant: a threshold counts distinct keys. An id that is not the hash of its key counts for
 * nothing, a key that signs twice counts once, keys that are not asked for are ignored.
 */
import { documentSignaturesMax } from '#schemas/document.ts';
import type { DocumentSignature, SignedDocument } from '#schemas/document.ts';
import { fromBase64Url, toBase64Url, toHex, utf8 } from './bytes.ts';
import { canonicalJson } from './canonical-json.ts';
import { CryptoError, invariant } from './errors.ts';
import type { SigningKey, SlhDsaSigningKey } from './key-handle.ts';
import type { CryptoProvider } from './provider.ts';
import { sizes } from './provider.ts';

/** Signs document bytes: a key in memory, or a token elsewhere. */
export interface DocumentSigner {
  /** Hexadecimal SHA3-256 of the raw public key. */
  readonly keyId: string;
  /** ML-DSA-87 signature of 4,627 bytes over `bytes` with `context` (ASCII). */
  sign(bytes: Uint8Array, context: string): Promise<Uint8Array>;
}

/** Signs a root a second time, by a hash-based key. */
export interface AnchorSigner {
  /** Hexadecimal SHA3-256 of the raw public key. */
  readonly keyId: string;
  /** SLH-DSA-SHAKE-256s signature of 29,792 bytes over `bytes` with `context` (ASCII). */
  sign(bytes: Uint8Array, context: string): Promise<Uint8Array>;
}

/** A public key that may sign. */
export interface DocumentKey {
  /** Hexadecimal SHA3-256 of `publicKey`. */
  readonly keyId: string;
  /** Raw public key: 2,592 bytes of ML-DSA-87, or 64 of SLH-DSA-SHAKE-256s. */
  readonly publicKey: Uint8Array;
}

/** Keys that count, and how many of them must have signed. */
export interface Accepted {
  readonly keys: Iterable<DocumentKey>;
  readonly threshold: number;
}

/** Why a document does not stand. */
export type DocumentRefusal =
  /** No body with a kind, no canonical form, too many or malformed signatures. */
  | 'DOCUMENT_MALFORMED'
  /** Too few distinct keys, and at least one signature by an accepted key does not check. */
  | 'SIGNATURE_INVALID'
  /** Too few distinct keys have signed. */
  | 'THRESHOLD_NOT_MET';

const signatureBytes = {
  'ML-DSA-87': sizes.mlDsa87.signature,
  'SLH-DSA-SHAKE-256s': sizes.slhDsaShake256s.signature,
} as const;
const publicKeyBytes = {
  'ML-DSA-87': sizes.mlDsa87.publicKey,
  'SLH-DSA-SHAKE-256s': sizes.slhDsaShake256s.publicKey,
} as const;
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

/** An anchor signer with its key in this process; signing takes more than a second. */
export function localAnchor(
  crypto: CryptoProvider,
  key: SlhDsaSigningKey,
  publicKey: Uint8Array,
): AnchorSigner {
  return {
    keyId: keyIdOf(crypto, publicKey),
    sign: async (bytes, context) =>
      await crypto.signSlhDsaAsync(key, { message: bytes, context: utf8(context) }),
  };
}

/**
 * Signs `body` by every signer, in the given order, then by every anchor. Throws `CryptoError` `NOT_ENCODABLE` for what is
 * not JSON, and whatever a signer rejects with.
 */
export async function signDocument<Body extends { readonly kind: string }>(
  body: Body,
  signers: readonly DocumentSigner[],
  anchors: readonly AnchorSigner[] = [],
): Promise<SignedDocument<Body>> {
  const total = signers.length + anchors.length;
  invariant(
    signers.length >= 1 && total <= documentSignaturesMax,
    `1 to ${documentSignaturesMax} signers`,
  );
  const keyIds = new Set([...signers, ...anchors].map(({ keyId }) => keyId));
  invariant(keyIds.size === total, 'every signer signs once');
  const bytes = documentBytes(body);
  const context = documentContext(body.kind);
  const signatures = await Promise.all([
    ...signers.map((signer) => signatureBy(signer, 'ML-DSA-87', { bytes, context })),
    ...anchors.map((anchor) => signatureBy(anchor, 'SLH-DSA-SHAKE-256s', { bytes, context })),
  ]);
  return { body, signatures };
}

async function signatureBy(
  signer: DocumentSigner | AnchorSigner,
  algorithm: DocumentSignature['algorithm'],
  { bytes, context }: { readonly bytes: Uint8Array; readonly context: string },
): Promise<DocumentSignature> {
  const signature = await signer.sign(bytes, context);
  if (signature.length !== signatureBytes[algorithm]) {
    throw new CryptoError('KEY_INVALID', `a signer answered with no ${algorithm} signature`);
  }
  return { key_id: signer.keyId, algorithm, signature: toBase64Url(signature) };
}

/**
 * Whether at least `threshold` distinct keys of `keys` have signed the document with ML-DSA-87. Never
 * throws for what the document contains.
 */
export function verifyDocument(
  crypto: CryptoProvider,
  document: SignedDocument<{ readonly kind: string }>,
  accepted: Accepted,
): 'ok' | DocumentRefusal {
  return countSignatures(crypto, document, { ...accepted, algorithm: 'ML-DSA-87' });
}

/** As `verifyDocument`, of the hash-based signatures (SLH-DSA-SHAKE-256s) of a root. */
export function verifyAnchor(
  crypto: CryptoProvider,
  document: SignedDocument<{ readonly kind: string }>,
  accepted: Accepted,
): 'ok' | DocumentRefusal {
  return countSignatures(crypto, document, { ...accepted, algorithm: 'SLH-DSA-SHAKE-256s' });
}

function countSignatures(
  crypto: CryptoProvider,
  { body, signatures }: SignedDocument<{ readonly kind: string }>,
  accepted: Accepted & { readonly algorithm: DocumentSignature['algorithm'] },
): 'ok' | DocumentRefusal {
  const { threshold, algorithm } = accepted;
  invariant(Number.isInteger(threshold) && threshold >= 1, 'a threshold of at least one');
  if (typeof body.kind !== 'string' || !kindPattern.test(body.kind)) return 'DOCUMENT_MALFORMED';
  if (signatures.length > documentSignaturesMax) return 'DOCUMENT_MALFORMED';
  const message = canonicalBytes(body);
  if (message === undefined) return 'DOCUMENT_MALFORMED';
  const keys = distinctKeys(crypto, accepted.keys, algorithm);
  const context = utf8(documentContext(body.kind));
  const holds = new Set<string>();
  let failed = false;
  for (const { key_id: keyId, algorithm: used, signature: text } of signatures) {
    const publicKey = keys.get(keyId);
    if (publicKey === undefined || used !== algorithm || holds.has(keyId)) continue;
    const signature = fromBase64Url(text);
    if (signature === undefined) return 'DOCUMENT_MALFORMED';
    const input = { message, context, signature };
    const isGood =
      algorithm === 'ML-DSA-87'
        ? crypto.verify(crypto.importVerifyKey(publicKey), input)
        : crypto.verifySlhDsa(publicKey, input);
    if (isGood) holds.add(keyId);
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
  algorithm: DocumentSignature['algorithm'],
): ReadonlyMap<string, Uint8Array> {
  const distinct = new Map<string, Uint8Array>();
  for (const { keyId, publicKey } of keys) {
    const isKey = publicKey.length === publicKeyBytes[algorithm];
    if (isKey && keyIdOf(crypto, publicKey) === keyId) distinct.set(keyId, publicKey);
  }
  return distinct;
}
