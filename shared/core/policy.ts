/**
 * Whether a key of some kind may be made with some algorithm on some layer. The registry says what an
 * algorithm is, the policy what is allowed; what neither knows is denied. An exception allows one
 * algorithm by name on the layers it names; nothing lifts a prohibition. NIST rates signatures and
 * KEMs by category; where an algorithm of another kind has none (level 0), the lists alone decide.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { KeyKind, LayerNumber } from '#schemas/layers.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';

export interface AlgorithmUse {
  readonly algorithm: string;
  readonly keyKind: KeyKind;
  readonly layer: LayerNumber;
}

export type PolicyVerdict =
  { readonly ok: true } | { readonly ok: false; readonly code: OrchCode; readonly reason: string };

type Category = 'signature' | 'kem' | 'hybrid' | 'mac' | 'symmetric';

const categories: Readonly<Record<KeyKind, Category>> = {
  signature: 'signature',
  kem: 'kem',
  'hybrid-kem': 'hybrid',
  mac: 'mac',
  aead: 'symmetric',
};

export function policyAllows(
  use: AlgorithmUse,
  { policy, registry }: { readonly policy: PolicyBody; readonly registry: RegistryBody },
): PolicyVerdict {
  const { algorithm, keyKind, layer } = use;
  const category = categories[keyKind];
  const entry = registry.algorithms[category].find(({ name }) => name === algorithm);
  if (entry === undefined) {
    return {
      ok: false,
      code: 'ORCH-8003',
      reason: `the registry has no ${category} algorithm ${algorithm}`,
    };
  }
  const rules = policy.policies;
  const prohibited = [algorithm, ...(entry.components ?? [])].find((name) =>
    rules.prohibited_algorithms.includes(name),
  );
  if (prohibited !== undefined) return denied(`${prohibited} is prohibited`);
  if (entry.status === 'deprecated') return denied(`${algorithm} is deprecated`);
  const excepted = rules.exceptions.some(
    (exception) => exception.algorithm === algorithm && exception.layers.includes(layer),
  );
  if (!excepted && !rules.allowed_algorithms[category].includes(algorithm)) {
    return denied(`${algorithm} is not allowed for ${category} keys`);
  }
  const level = entry.security_level;
  const isRated = level > 0 || category === 'signature' || category === 'kem';
  if (!excepted && isRated && level < rules.minimum_security_level) {
    return denied(`${algorithm} is of level ${level}, below ${rules.minimum_security_level}`);
  }
  const hybrid = category === 'hybrid' ? hybridFault(entry, policy) : null;
  const fault = hybrid ?? layerFault(use, policy);
  return fault === null ? { ok: true } : denied(fault);
}

function hybridFault(entry: AlgorithmEntry, policy: PolicyBody): string | null {
  const { enabled, combiner } = policy.policies.hybrid_mode;
  if (!enabled) return 'hybrid keys are not enabled';
  return entry.combiner === undefined || entry.combiner === combiner
    ? null
    : `${entry.name} is combined by ${entry.combiner}, not by ${combiner}`;
}

function layerFault({ algorithm, keyKind, layer }: AlgorithmUse, policy: PolicyBody) {
  const { layer_1, layer_3, layer_4 } = policy.policies.layer_specific;
  const isMlDsa = algorithm.startsWith('ML-DSA-');
  if (layer === 1 && keyKind === 'signature' && layer_1.ml_dsa_signature_required && !isMlDsa) {
    return 'layer 1 signs with ML-DSA';
  }
  if (layer === 3 && keyKind === 'kem' && layer_3.hybrid_key_exchange_required) {
    return 'layer 3 exchanges keys in hybrid mode';
  }
  const aesBits = /^AES-(\d{3})-/.exec(algorithm)?.[1];
  if (layer === 4 && aesBits !== undefined && Number(aesBits) < layer_4.min_aes_key_size) {
    return `layer 4 asks for AES keys of ${layer_4.min_aes_key_size} bits`;
  }
  return null;
}

function denied(reason: string): PolicyVerdict {
  return { ok: false, code: 'ORCH-8002', reason };
}
