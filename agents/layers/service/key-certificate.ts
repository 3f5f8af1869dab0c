/**
 * A key of layer 2 carries the word of layer 1 that it is one: a certificate under an identity key.
 * Signed bytes are the canonical JSON (RFC 8785) of the body; ML-DSA-87 with a context of its own
 * (FIPS 204 section 5.2), so that no other signature of an identity key passes for one.
 */

import type { CapabilityKeys } from '#schemas/authorization.ts';
import type { AkpKey, IdentityKey, KeyCertificate, KeyCertificateBody } from '#schemas/identity.ts';
import { possessionContext } from '#schemas/identity.ts';
import { fromBase64Url, lengthPrefixed, toBase64Url, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentBytes, documentContext } from '#shared/crypto/signed-document.ts';
import { signWith, type OpenKey } from '../embedded/key-kinds.ts';

const context = utf8(documentContext('key_certificate'));
const possession = utf8(possessionContext);

/** A certificate by an identity key that is open for the moment. */
export function signCertificate(
  crypto: CryptoProvider,
  key: OpenKey,
  body: KeyCertificateBody,
): KeyCertificate {
  const signature = signWith(crypto, key, { message: documentBytes(body), context });
  return { body, signature: toBase64Url(signature) };
}

/** Whether one of the identity keys signed it. The time is not looked at. */
export function isSignedByIdentity(
  crypto: CryptoProvider,
  certificate: KeyCertificate,
  identityKeys: readonly IdentityKey[],
): boolean {
  const { body } = certificate;
  const issuer = identityKeys.find(({ keyId }) => keyId === body.issuer_key_id);
  const publicKey = fromBase64Url(issuer?.publicKey ?? '');
  const signature = fromBase64Url(certificate.signature);
  if (publicKey === undefined || signature === undefined) return false;
  if (!isNamedAs(crypto, publicKey, body.issuer_key_id)) return false;
  const message = documentBytes(body);
  const key = crypto.importVerifyKey(publicKey);
  return crypto.verify(key, { message, context, signature });
}

export function isInTime({ body }: KeyCertificate, nowMs: number): boolean {
  return body.issued_at_ms <= nowMs && nowMs < body.expires_at_ms;
}

/**
 * The capability keys that count: those whose certificate by one of layer 1's identity keys holds now.
 * For whoever verifies capabilities without asking layer 2; a nonce's second use only layer 2 notices.
 */
export function certifiedKeys(
  crypto: CryptoProvider,
  offered: CapabilityKeys,
  trusted: { readonly identityKeys: readonly IdentityKey[]; readonly nowMs: number },
): AkpKey[] {
  const { identityKeys, nowMs } = trusted;
  return offered.keys.filter(({ kid, pub }) => {
    const publicKey = fromBase64Url(pub);
    if (publicKey === undefined || !isNamedAs(crypto, publicKey, kid)) return false;
    return offered.certificates.some(
      (certificate) =>
        certificate.body.subject_slot === '2/capability-signature' &&
        certificate.body.subject_key_id === kid &&
        isInTime(certificate, nowMs) &&
        isSignedByIdentity(crypto, certificate, identityKeys),
    );
  });
}

/** The key that a certificate is asked for. */
export interface CertifiedKey {
  readonly slot: string;
  readonly keyId: string;
  readonly publicKey: Uint8Array;
}

/** A proof that whoever asks for a certificate has the key, by that key open for the moment. */
export function provePossession(
  crypto: CryptoProvider,
  key: OpenKey,
  certified: CertifiedKey,
): Uint8Array {
  return signWith(crypto, key, { message: possessed(certified), context: possession });
}

export function isPossessed(
  crypto: CryptoProvider,
  certified: CertifiedKey,
  signature: Uint8Array,
): boolean {
  const key = crypto.importVerifyKey(certified.publicKey);
  return crypto.verify(key, { message: possessed(certified), context: possession, signature });
}

function possessed({ slot, keyId, publicKey }: CertifiedKey): Uint8Array {
  return lengthPrefixed(utf8(slot), utf8(keyId), publicKey);
}

/** Whether a key is an ML-DSA-87 key of this id. */
export function isNamedAs(crypto: CryptoProvider, publicKey: Uint8Array, keyId: string): boolean {
  return publicKey.length === 2_592 && toHex(crypto.sha3_256(publicKey)) === keyId;
}
