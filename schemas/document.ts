/**
 * The signed JSON document: one envelope for the root, the registry, the policy, enrolments and
 * everything that the signer states. Signed bytes are the RFC 8785 form of `body`; the ML-DSA-87
 * context is `gyre/v1/document/<kind>`, so that no statement can pass for one of another kind.
 */

import { Type, type Static, type TSchema } from 'typebox';
import { Base64Url, DigestHex, List, StrictObject } from './primitives.ts';

export const documentSignaturesMax = 16;

export const DocumentSignature = StrictObject({
  key_id: DigestHex(),
  algorithm: Type.Literal('ML-DSA-87'),
  /** 4,627 bytes (FIPS 204), base64url without padding: 6,170 characters. */
  signature: Base64Url(6170),
});
export type DocumentSignature = Static<typeof DocumentSignature>;

/** A moment as documents write it: RFC 3339, UTC, milliseconds (`2026-01-31T12:00:00.000Z`). */
export function Instant() {
  return Type.String({
    pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$',
    maxLength: 24,
  });
}

/** A document over one body schema. */
export function signedDocument<Body extends TSchema>(body: Body) {
  return StrictObject({
    body,
    signatures: List(DocumentSignature, { itemsMin: 1, itemsMax: documentSignaturesMax }),
  });
}

export interface SignedDocument<Body> {
  body: Body;
  signatures: DocumentSignature[];
}
