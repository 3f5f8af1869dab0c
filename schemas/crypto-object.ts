/**
 * The versioned cryptographic object: a signature, ciphertext, public key or wrapped key that says
 * by itself what it is, so that it can be read long after the algorithm of the day has changed.
 * Sizes are only bounded here; whether one fits its algorithm is said by shared/crypto/crypto-object.
 */

import { Type, type Static } from 'typebox';
import { Instant } from './document.ts';
import {
  AlgorithmName,
  Base64Url,
  DigestHex,
  IntegerRange,
  OneOf,
  StrictObject,
  compile,
} from './primitives.ts';

export const cryptoObjectTypes = ['signature', 'ciphertext', 'public_key', 'wrapped_key'] as const;
export type CryptoObjectType = (typeof cryptoObjectTypes)[number];

/** Layout of the object itself. */
export const cryptoObjectVersion = '2.0';
/** Version of an algorithm: of its standard as gyre uses it (context strings, seeds, combiner). */
export const algorithmVersion = '1.0';

/** Bytes of one value: the largest signature is 29,792; a ciphertext may be a document. */
export const objectValueBytesMax = 65_536;
const valueCharsMax = Math.ceil((objectValueBytesMax * 4) / 3);

/** `major.minor`. */
function DottedVersion() {
  return Type.String({ pattern: '^(0|[1-9]\\d{0,3})\\.(0|[1-9]\\d{0,3})$', maxLength: 9 });
}

const head = {
  version: DottedVersion(),
  algorithm: AlgorithmName(),
  algorithm_version: DottedVersion(),
  metadata: StrictObject({
    created_at: Instant(),
    /** SHA3-256 of the raw public key; of a symmetric key the name under which it is kept. */
    key_id: DigestHex(),
    algorithm_parameters: StrictObject({
      /** NIST category. */
      security_level: IntegerRange({ min: 0, max: 5 }),
      parameter_set: AlgorithmName(),
    }),
  }),
  /** Whether a reader that does not know the successor may go on with this algorithm. */
  backward_compatible: Type.Boolean(),
  /** What takes over from the algorithm, once that is decided. */
  successor_algorithm: Type.Optional(AlgorithmName()),
};

const value = () => Base64Url(valueCharsMax);

export const SignatureObject = StrictObject({
  object_type: OneOf(['signature']),
  ...head,
  signature: value(),
});
export const CiphertextObject = StrictObject({
  object_type: OneOf(['ciphertext']),
  ...head,
  ciphertext: value(),
});
export const PublicKeyObject = StrictObject({
  object_type: OneOf(['public_key']),
  ...head,
  public_key: value(),
});
export const WrappedKeyObject = StrictObject({
  object_type: OneOf(['wrapped_key']),
  ...head,
  wrapped_key: value(),
});

export const CryptoObject = Type.Union([
  SignatureObject,
  CiphertextObject,
  PublicKeyObject,
  WrappedKeyObject,
]);
export type CryptoObject = Static<typeof CryptoObject>;

export const cryptoObjectCheck = compile(CryptoObject);

/** Why an object was not taken. ORCH-8002 and ORCH-8003 come from policy and registry. */
export const cryptoObjectCodes = [
  'OBJECT_MALFORMED',
  'OBJECT_VERSION_UNKNOWN',
  'ALGORITHM_UNKNOWN',
  'ALGORITHM_VERSION_UNKNOWN',
  /** Level or parameter set are not those of the algorithm. */
  'PARAMETERS_MISMATCH',
  /** The algorithm makes nothing of this type. */
  'TYPE_MISMATCH',
  'SIZE_MISMATCH',
  'KEY_UNKNOWN',
  /** The key is not of the object's algorithm, or the object's key id is not the key's. */
  'KEY_MISMATCH',
  'SIGNATURE_INVALID',
  'ORCH-8002',
  'ORCH-8003',
] as const;
export type CryptoObjectCode = (typeof cryptoObjectCodes)[number];
