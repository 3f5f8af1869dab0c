/**
 * Versioned cryptographic objects: made from an algorithm's value, read with every claim checked
 * against what the algorithm is, and verified by the provider that the object's algorithm asks for
 * under the policy. Nothing in an object is believed: not its level, not its size, not its key id.
 */
import {
  algorithmVersion,
  cryptoObjectCheck,
  cryptoObjectVersion,
  objectValueBytesMax,
} from '#schemas/crypto-object.ts';
import type { CryptoObject, CryptoObjectCode, CryptoObjectType } from '#schemas/crypto-object.ts';
import { formatInstant, instantMs } from '#shared/core/instant.ts';
import type { AlgorithmKind, PolicyDocuments } from '#shared/core/policy.ts';
import { catalogue, isKnownAlgorithm } from './algorithm-catalogue.ts';
import type { CatalogueEntry, KnownAlgorithm } from './algorithm-catalogue.ts';
import { cryptoOf } from './algorithms.ts';
import type { ChosenProvider, ProviderName, ProviderRegistry } from './algorithms.ts';
import { fromBase64Url, toBase64Url, toHex } from './bytes.ts';
import { CryptoError, invariant } from './errors.ts';
import type { CryptoProvider, SignInput, VerifyInput } from './provider.ts';

export interface ObjectContent {
  readonly type: CryptoObjectType;
  readonly algorithm: KnownAlgorithm;
  /** Raw: of AEADs nonce ‖ ciphertext ‖ tag. */
  readonly value: Uint8Array;
  /** 64 hexadecimal characters. */
  readonly keyIdHex: string;
  readonly createdAtMs: number;
  readonly isBackwardCompatible: boolean;
  readonly successor?: string;
}

export type ParsedObject = { readonly status: 'ok' } & ObjectContent;
export interface RefusedObject {
  readonly status: 'refused';
  readonly code: CryptoObjectCode;
  readonly reason: string;
}

/** Raw public keys by key id. */
export type PublicKeys = (
  keyIdHex: string,
) => { readonly algorithm: string; readonly raw: Uint8Array } | undefined;

export interface VerifyRequest {
  /** What was signed. */
  readonly input: SignInput;
  readonly keys: PublicKeys;
  readonly providers: ProviderRegistry;
  readonly preference: readonly [ProviderName, ...ProviderName[]];
  readonly documents: PolicyDocuments;
  /** 1 to 7, or 8 for the mesh itself. */
  readonly layer: number;
}

export type VerifiedObject =
  | {
      readonly status: 'ok';
      readonly algorithm: KnownAlgorithm;
      readonly provider: ProviderName;
      readonly successor?: string;
    }
  | RefusedObject;

/** Kinds of algorithm that make each type of object. */
const makers: Readonly<Record<CryptoObjectType, readonly AlgorithmKind[]>> = {
  signature: ['signature'],
  ciphertext: ['kem', 'hybrid', 'symmetric'],
  public_key: ['signature', 'kem', 'hybrid'],
  wrapped_key: ['symmetric'],
};
/** A wrapped key is at least an AES-128 key and at most the largest secret key here. */
const wrappedKeyBytes = { min: 16, max: 4896 } as const;

/** The object for a value of ours; one that does not fit its algorithm is a mistake of the caller. */
export function createCryptoObject(content: ObjectContent): CryptoObject {
  const { algorithm, keyIdHex, createdAtMs, isBackwardCompatible, successor } = content;
  const fault = contentFault(content);
  invariant(fault === undefined, fault?.reason ?? 'a value that fits its algorithm');
  const head = {
    version: cryptoObjectVersion,
    algorithm,
    algorithm_version: algorithmVersion,
    metadata: {
      created_at: formatInstant(createdAtMs),
      key_id: keyIdHex,
      algorithm_parameters: {
        security_level: catalogue[algorithm].securityLevel,
        parameter_set: algorithm,
      },
    },
    backward_compatible: isBackwardCompatible,
    ...(successor === undefined ? {} : { successor_algorithm: successor }),
  };
  const value = toBase64Url(content.value);
  switch (content.type) {
    case 'signature':
      return { object_type: 'signature', ...head, signature: value };
    case 'ciphertext':
      return { object_type: 'ciphertext', ...head, ciphertext: value };
    case 'public_key':
      return { object_type: 'public_key', ...head, public_key: value };
    case 'wrapped_key':
      return { object_type: 'wrapped_key', ...head, wrapped_key: value };
  }
}

/** What an object from outside says, after all of it was checked against its algorithm. */
export function parseCryptoObject(received: unknown): ParsedObject | RefusedObject {
  if (!cryptoObjectCheck.check(received)) {
    return refused('OBJECT_MALFORMED', cryptoObjectCheck.errors(received)[0] ?? 'not an object');
  }
  const { algorithm, metadata, successor_algorithm: successor } = received;
  if (received.version !== cryptoObjectVersion) {
    return refused('OBJECT_VERSION_UNKNOWN', `version ${received.version}`);
  }
  if (!isKnownAlgorithm(algorithm)) return refused('ALGORITHM_UNKNOWN', algorithm);
  if (received.algorithm_version !== algorithmVersion) {
    return refused('ALGORITHM_VERSION_UNKNOWN', `${algorithm} ${received.algorithm_version}`);
  }
  const { security_level: level, parameter_set: set } = metadata.algorithm_parameters;
  if (level !== catalogue[algorithm].securityLevel || set !== algorithm) {
    return refused('PARAMETERS_MISMATCH', `${algorithm} is not ${set} of level ${level}`);
  }
  const value = fromBase64Url(valueOf(received));
  const createdAtMs = instantMs(metadata.created_at);
  if (value === undefined || Number.isNaN(createdAtMs)) {
    return refused('OBJECT_MALFORMED', value === undefined ? 'its value' : 'its time');
  }
  const content: ObjectContent = {
    type: received.object_type,
    algorithm,
    value,
    keyIdHex: metadata.key_id,
    createdAtMs,
    isBackwardCompatible: received.backward_compatible,
    ...(successor === undefined ? {} : { successor }),
  };
  return contentFault(content) ?? { status: 'ok', ...content };
}

/**
 * Whether a signature object holds for `input`, judged by the provider that its algorithm and the
 * policy lead to. SLH-DSA takes 2 (native) or 50 milliseconds.
 */
export function verifyCryptoObject(received: unknown, request: VerifyRequest): VerifiedObject {
  const object = parseCryptoObject(received);
  if (object.status === 'refused') return object;
  const { algorithm, keyIdHex, successor } = object;
  if (object.type !== 'signature') return refused('TYPE_MISMATCH', `a ${object.type}`);
  const { providers, preference, documents, layer } = request;
  const choice = providers.providerFor(
    // A signature of one algorithm cannot be checked by another: no fallback.
    { algorithm, operation: 'check', layer, preference, fallback: 'refused' },
    documents,
  );
  if (choice.status === 'refused') {
    const hint = successor === undefined ? '' : `; its successor is ${successor}`;
    return refused(choice.code, `${choice.reason}${hint}`);
  }
  const key = request.keys(keyIdHex);
  if (key === undefined) return refused('KEY_UNKNOWN', keyIdHex);
  const fault = keyFault(choice, object, key);
  if (fault !== undefined) return fault;
  const input = { ...request.input, signature: object.value };
  if (!holds(cryptoOf(choice), { algorithm, raw: key.raw }, input)) {
    return refused('SIGNATURE_INVALID', `by ${keyIdHex}`);
  }
  const named = successor === undefined ? {} : { successor };
  return { status: 'ok', algorithm, provider: choice.provider.name, ...named };
}

function keyFault(
  choice: ChosenProvider,
  object: ParsedObject,
  key: { readonly algorithm: string; readonly raw: Uint8Array },
): RefusedObject | undefined {
  const isRight =
    key.algorithm === object.algorithm &&
    toHex(cryptoOf(choice).sha3_256(key.raw)) === object.keyIdHex;
  return isRight ? undefined : refused('KEY_MISMATCH', object.keyIdHex);
}

function holds(
  crypto: CryptoProvider,
  { algorithm, raw }: { readonly algorithm: KnownAlgorithm; readonly raw: Uint8Array },
  input: VerifyInput,
): boolean {
  try {
    return algorithm === 'ML-DSA-87'
      ? crypto.verify(crypto.importVerifyKey(raw), input)
      : crypto.verifySlhDsa(raw, input);
  } catch (fault) {
    // A key that is no key of the algorithm verifies nothing.
    if (fault instanceof CryptoError) return false;
    throw fault;
  }
}

function contentFault({ type, algorithm, value }: ObjectContent): RefusedObject | undefined {
  const entry: CatalogueEntry = catalogue[algorithm];
  if (!makers[type].includes(entry.kind)) {
    return refused('TYPE_MISMATCH', `${algorithm} makes no ${type}`);
  }
  const { min, max } = lengths(type, entry);
  return value.length >= min && value.length <= max
    ? undefined
    : refused('SIZE_MISMATCH', `a ${type} of ${algorithm} of ${value.length} bytes`);
}

function lengths(type: CryptoObjectType, { kind, sizes }: CatalogueEntry) {
  if (kind !== 'symmetric') {
    const exact = sizes[type];
    invariant(exact !== undefined, 'the catalogue gives the size of what an algorithm makes');
    return { min: exact, max: exact };
  }
  const overhead = (sizes['nonce'] ?? 0) + (sizes['tag'] ?? 0);
  return type === 'wrapped_key'
    ? { min: overhead + wrappedKeyBytes.min, max: overhead + wrappedKeyBytes.max }
    : { min: overhead, max: objectValueBytesMax };
}

function valueOf(object: CryptoObject): string {
  switch (object.object_type) {
    case 'signature':
      return object.signature;
    case 'ciphertext':
      return object.ciphertext;
    case 'public_key':
      return object.public_key;
    case 'wrapped_key':
      return object.wrapped_key;
  }
}

function refused(code: CryptoObjectCode, reason: string): RefusedObject {
  return { status: 'refused', code, reason };
}
