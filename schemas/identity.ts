/**
 * What layer 1's service takes and gives: enrolled users, challenges and sessions, the keys by which
 * session tokens and certificates are verified, and the certificates that carry layer 2's keys.
 */

import { Type, type Static } from 'typebox';
import { SlotName } from './layers.ts';
import {
  Base64Url,
  DigestHex,
  List,
  OneOf,
  StrictObject,
  TimeMs,
  Uint,
  compile,
} from './primitives.ts';

/** Somebody who logs in: a person or a program, by a name that is given once. */
export function SubjectName() {
  return Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$', maxLength: 128 });
}
export const subjectNameCheck = compile(SubjectName());

/** A JWT: an ML-DSA-87 signature alone has 6,170 characters. */
export function TokenText() {
  return Type.String({
    pattern: '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$',
    maxLength: 9_000,
  });
}

/** Names of tokens' makers, of whom they are for, and their types (RFC 8725 section 3.11). */
export const sessionToken = {
  issuer: 'gyre/identity',
  audience: 'gyre/authorization',
  type: 'session+jwt',
} as const;

/** ML-DSA context of a login: the signed message is the challenge's nonce of 32 bytes. */
export const loginContext = 'gyre/v1/login';

/** An ML-DSA-87 public key of 2,592 bytes. */
const PublicKey = Base64Url(3_456);
/** An ML-DSA-87 signature of 4,627 bytes. */
const Signature = Base64Url(6_170);

export const ChallengeRequest = StrictObject({ subject: SubjectName() });
export const challengeRequestCheck = compile(ChallengeRequest);

export const Challenge = StrictObject({
  challengeId: Base64Url(400),
  nonce: Base64Url(43),
  expiresAtMs: TimeMs(),
});
export type Challenge = Static<typeof Challenge>;
export const challengeCheck = compile(Challenge);

export const SessionRequest = StrictObject({
  challengeId: Base64Url(400),
  signature: Base64Url(6_200),
  otp: Type.Optional(Type.String({ pattern: '^[0-9]{8}$', maxLength: 8 })),
});
export type SessionRequest = Static<typeof SessionRequest>;
export const sessionRequestCheck = compile(SessionRequest);

export const Session = StrictObject({ token: TokenText(), expiresAtMs: TimeMs() });
export type Session = Static<typeof Session>;
export const sessionCheck = compile(Session);

/** `amr` of a session token (RFC 8176): by proof of possession, and by a second factor. */
export const SessionClaims = StrictObject({
  iss: OneOf([sessionToken.issuer]),
  sub: SubjectName(),
  aud: OneOf([sessionToken.audience]),
  iat: Uint(),
  nbf: Uint(),
  exp: Uint(),
  jti: Base64Url(22),
  amr: List(OneOf(['pop', 'otp', 'mfa']), { itemsMin: 1, itemsMax: 3 }),
});
export type SessionClaims = Static<typeof SessionClaims>;
export const sessionClaimsCheck = compile(SessionClaims);

/** A user as an administrator writes one. Without a secret there is no second factor. */
export const UserEntry = StrictObject({
  publicKey: PublicKey,
  /** 32 to 64 bytes for HMAC-SHA-512. */
  totpSecret: Type.Optional(
    Type.String({ pattern: '^[A-Za-z0-9_-]+$', minLength: 43, maxLength: 86 }),
  ),
});
export type UserEntry = Static<typeof UserEntry>;
export const userEntryCheck = compile(UserEntry);

/** A verification key (RFC 9964). */
export const AkpKey = StrictObject({
  kty: OneOf(['AKP']),
  alg: OneOf(['ML-DSA-87']),
  use: OneOf(['sig']),
  kid: DigestHex(),
  pub: PublicKey,
});
export type AkpKey = Static<typeof AkpKey>;

export const KeySet = StrictObject({ keys: List(AkpKey, { itemsMax: 64 }) });
export type KeySet = Static<typeof KeySet>;
export const keySetCheck = compile(KeySet);

export const IdentityKey = StrictObject({
  keyId: DigestHex(),
  version: Uint(),
  state: OneOf(['primary', 'accepted', 'withdrawn']),
  publicKey: PublicKey,
});
export type IdentityKey = Static<typeof IdentityKey>;

export const IdentityKeys = StrictObject({ keys: List(IdentityKey, { itemsMax: 64 }) });
export type IdentityKeys = Static<typeof IdentityKeys>;
export const identityKeysCheck = compile(IdentityKeys);

const Serial = Type.String({ pattern: '^[0-9a-f]{32}$', maxLength: 32 });

/** Signed over its canonical JSON (RFC 8785), context "gyre/v1/document/key_certificate". */
export const KeyCertificateBody = StrictObject({
  kind: OneOf(['key_certificate']),
  serial: Serial,
  subject_slot: SlotName(),
  subject_key_id: DigestHex(),
  issuer_key_id: DigestHex(),
  issued_at_ms: TimeMs(),
  expires_at_ms: TimeMs(),
});
export type KeyCertificateBody = Static<typeof KeyCertificateBody>;

export const KeyCertificate = StrictObject({ body: KeyCertificateBody, signature: Signature });
export type KeyCertificate = Static<typeof KeyCertificate>;
export const keyCertificateCheck = compile(KeyCertificate);

/** The slots whose keys identity keys certify. */
export const certifiedSlots = ['2/capability-signature'] as const;
const CertifiedSlot = OneOf(certifiedSlots);

/** ML-DSA context of the proof in a request for a certificate. */
export const possessionContext = 'gyre/v1/certificate-request';

export const CertificateRequest = StrictObject({
  slot: CertifiedSlot,
  keyId: DigestHex(),
  publicKey: PublicKey,
  /** By that very key, over all of this: whoever asks has it. */
  proof: Signature,
});
export const certificateRequestCheck = compile(CertificateRequest);

/** Every certificate that the holder of a slot still uses; all others of the slot are superseded. */
export const CertificatesInUse = StrictObject({
  slot: CertifiedSlot,
  serials: List(Serial, { itemsMax: 64 }),
});
export const certificatesInUseCheck = compile(CertificatesInUse);
