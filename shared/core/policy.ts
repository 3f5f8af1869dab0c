/**
 * Whether an algorithm may be used for some kind of key on some layer. The registry says what an
 * algorithm is, the policy what is allowed; what neither knows is denied. An exception allows one
 * algorithm by name on the layers it names, whatever its strength; nothing lifts a prohibition, which
 * also falls on what a hybrid is made of.
 *
 * NIST rates whatever holds a key by category; categories 2 and 4 are defined by the search for
 * collisions of SHA-256 and SHA-384, so for hashes the lists decide, not the minimum level. Level 0 is
 * an algorithm without a category: nothing is claimed of it against a quantum computer.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { KeyKind, LayerNumber } from '#schemas/layers.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';

export type AlgorithmKind = keyof RegistryBody['algorithms'];

/** The layer of the mesh itself: its own protocol runs on it. */
export const meshLayer = 8;

export interface AlgorithmUse {
  readonly algorithm: string;
  readonly keyKind: KeyKind;
  readonly layer: LayerNumber;
}

/** The same by the registry's own kinds, which have hashes as well. */
export interface AlgorithmClaim {
  readonly algorithm: string;
  readonly kind: AlgorithmKind;
  /** 1 to 7, or 8 for the mesh itself. */
  readonly layer: number;
}

export interface PolicyDocuments {
  readonly policy: PolicyBody;
  readonly registry: RegistryBody;
}

export interface PolicyDenial {
  readonly ok: false;
  /** ORCH-8003 where the registry has no such algorithm, ORCH-8002 otherwise. */
  readonly code: OrchCode;
  readonly reason: string;
}
export type PolicyVerdict = { readonly ok: true } | PolicyDenial;

/** Registry's kind of the algorithm that a kind of key is used with. */
export const algorithmKinds: Readonly<Record<KeyKind, AlgorithmKind>> = {
  signature: 'signature',
  kem: 'kem',
  'hybrid-kem': 'hybrid',
  mac: 'mac',
  aead: 'symmetric',
};

/** Key exchanges without strength against a quantum computer, as components of hybrids. */
const classicalExchanges: ReadonlySet<string> = new Set([
  'X25519',
  'X448',
  'ECDH-P256',
  'ECDH-P384',
  'ECDH-P521',
]);

export function policyAllows(use: AlgorithmUse, documents: PolicyDocuments): PolicyVerdict {
  const { algorithm, keyKind, layer } = use;
  return algorithmAllowed({ algorithm, kind: algorithmKinds[keyKind], layer }, documents);
}

export function algorithmAllowed(
  claim: AlgorithmClaim,
  { policy, registry }: PolicyDocuments,
): PolicyVerdict {
  const { algorithm, kind, layer } = claim;
  const entry = entryOf(registry, kind, algorithm);
  if (entry === undefined) {
    const reason = `the registry has no ${kind} algorithm ${algorithm}`;
    return { ok: false, code: 'ORCH-8003', reason };
  }
  const rules = policy.policies;
  const prohibited = partsOf(entry).find((name) => rules.prohibited_algorithms.includes(name));
  if (prohibited !== undefined) return denied(`${prohibited} is prohibited`);
  if (entry.status === 'deprecated') return denied(`${algorithm} is deprecated`);
  const isExcepted = rules.exceptions.some(
    (exception) => exception.algorithm === algorithm && exception.layers.includes(layer),
  );
  if (!isExcepted && !rules.allowed_algorithms[kind].includes(algorithm)) {
    return denied(`${algorithm} is not allowed for ${kind} keys`);
  }
  const fault =
    (isExcepted ? undefined : strengthFault(entry, kind, policy)) ??
    (kind === 'hybrid' ? hybridFault(entry, { policy, registry }) : undefined) ??
    layerFault(entry, claim, policy);
  return fault === undefined ? { ok: true } : denied(fault);
}

/** What the registry says of an algorithm; undefined where it says nothing. Lists are short. */
export function entryOf(
  { algorithms }: RegistryBody,
  kind: AlgorithmKind,
  algorithm: string,
): AlgorithmEntry | undefined {
  return algorithms[kind].find(({ name }) => name === algorithm);
}

/** Why an algorithm is too weak for the policy unless it is excepted, or undefined. */
export function strengthFault(
  { name, security_level: level }: AlgorithmEntry,
  kind: AlgorithmKind,
  { policies }: PolicyBody,
): string | undefined {
  if (policies.quantum_security_required && level === 0) {
    return `${name} has no strength against a quantum computer`;
  }
  const isRated = kind !== 'hash' && (level > 0 || kind === 'signature' || kind === 'kem');
  return isRated && level < policies.minimum_security_level
    ? `${name} is of level ${level}, below ${policies.minimum_security_level}`
    : undefined;
}

/** Names under which a prohibition finds an algorithm: its own and what it is made of. */
export function partsOf({ name, components = [], combiner }: AlgorithmEntry): string[] {
  return [name, ...components, ...(combiner === undefined ? [] : [combiner])];
}

function hybridFault(entry: AlgorithmEntry, { policy, registry }: PolicyDocuments) {
  const { hybrid_mode: mode, quantum_security_required: isQuantum } = policy.policies;
  const { name, components = [], combiner } = entry;
  if (!mode.enabled) return 'hybrid keys are not enabled';
  if (combiner !== mode.combiner) {
    return `${name} is combined by ${combiner ?? 'nothing known'}, not by ${mode.combiner}`;
  }
  if (mode.classical_component_required && !components.some((one) => classicalExchanges.has(one))) {
    return `${name} has no classical component`;
  }
  const isStrong = registry.algorithms.kem.some(
    (kem) => kem.security_level > 0 && components.includes(kem.name),
  );
  return isQuantum && !isStrong ? `${name} has no post-quantum component` : undefined;
}

function layerFault(
  { key_sizes: sizes = {} }: AlgorithmEntry,
  { algorithm, kind, layer }: AlgorithmClaim,
  policy: PolicyBody,
): string | undefined {
  const { layer_1, layer_3, layer_4 } = policy.policies.layer_specific;
  const isMlDsa = algorithm.startsWith('ML-DSA-');
  if (layer === 1 && kind === 'signature' && layer_1.ml_dsa_signature_required && !isMlDsa) {
    return 'layer 1 signs with ML-DSA';
  }
  if (layer === 3 && kind === 'kem' && layer_3.hybrid_key_exchange_required) {
    return 'layer 3 exchanges keys in hybrid mode';
  }
  if (layer !== 4 || kind !== 'symmetric') return undefined;
  const isAuthenticated = sizes['tag'] !== undefined;
  if (layer_4.authenticated_encryption_required && !isAuthenticated) {
    return `layer 4 asks for authenticated encryption, and ${algorithm} has no tag`;
  }
  const aesBits = /^AES-(\d{3})-/.exec(algorithm)?.[1];
  return aesBits !== undefined && Number(aesBits) < layer_4.min_aes_key_size
    ? `layer 4 asks for AES keys of ${layer_4.min_aes_key_size} bits`
    : undefined;
}

function denied(reason: string): PolicyDenial {
  return { ok: false, code: 'ORCH-8002', reason };
}
