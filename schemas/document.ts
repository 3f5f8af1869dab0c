/**
 * The signed JSON document: one envelope for the root, the registry, the policy, enrolments and
 * everything that the signer states. Signed bytes are the RFC 8785 form of `body`; the ML-DSA-87
 * context is `gyre/v1/document/<kind>`, so that no statement can pass for one of another kind.
 */

import { Type, type Static, type TSchema } from 'typebox';
import { Base64Url, DigestHex, IntegerRange, List, OneOf, StrictObject } from './primitives.ts';

export const documentSignaturesMax = 16;

/** A document with its signatures, as JSON: more is refused before it is parsed. */
export const documentBytesMax = 384 * 1024;

/**
 * One signature: ML-DSA-87 (FIPS 204, 4,627 bytes: 6,170 characters of base64url without padding), or
 * SLH-DSA-SHAKE-256s (FIPS 205, 29,792 bytes: 39,723 characters) beside it on a root.
 */
export const DocumentSignature = StrictObject({
  key_id: DigestHex(),
  algorithm: OneOf(['ML-DSA-87', 'SLH-DSA-SHAKE-256s']),
  signature: Base64Url(39_723),
});
export type DocumentSignature = Static<typeof DocumentSignature>;

/**
 * A moment as documents write it: RFC 3339, UTC, milliseconds (`2026-01-31T12:00:00.000Z`). There is such
 * a moment, and this is its one text: no 31 February, and no month 13, which no time would ever be after.
 */
export function Instant() {
  const schema = Type.String({
    pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$',
    maxLength: 24,
  });
  return Type.Refine(schema, isMoment, () => 'must be a moment from 1970 on');
}

function isMoment(text: string): boolean {
  const timeMs = Date.parse(text);
  // What the calendar or the clock does not have is no date at all, or falls on the next day.
  return timeMs >= 0 && new Date(timeMs).getUTCDate() === Number(text.slice(8, 10));
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

/** Version and validity of a document that is amended by signing a higher version. */
export const Dated = {
  version: IntegerRange({ min: 1, max: 1_000_000_000 }),
  issued_at: Instant(),
  expires_at: Instant(),
};
