/**
 * The seven layers and the key slots that each one turns: data, so that one rotation serves every
 * kind of key. A slot is a place for a key ("1/identity-signature"); its versions follow each other.
 */

import { Type, type Static } from 'typebox';
import { OneOf } from './primitives.ts';

export const layerNumbers = [1, 2, 3, 4, 5, 6, 7] as const;
export type LayerNumber = (typeof layerNumbers)[number];
export const LayerNumber = Type.Unsafe<LayerNumber>(Type.Integer({ minimum: 1, maximum: 7 }));

export const layerNames: Readonly<Record<LayerNumber, string>> = {
  1: 'identity',
  2: 'authorization',
  3: 'network',
  4: 'encryption',
  5: 'database',
  6: 'phi',
  7: 'self-healing',
};

/** What can be done with a key: decides how it is generated, probed and retired. */
export const keyKinds = ['signature', 'kem', 'hybrid-kem', 'mac', 'aead'] as const;
export const KeyKind = OneOf(keyKinds);
export type KeyKind = Static<typeof KeyKind>;

/** The policy's `max_key_age_days` entry that a slot falls under. */
export const ageRules = [
  'identity_keys',
  'session_keys',
  'kek',
  'signature_keys',
  'hmac_keys',
] as const;
export type AgeRule = (typeof ageRules)[number];

/** Name of a slot: layer and key type, `1/identity-signature`. */
export function SlotName() {
  return Type.String({ pattern: '^[1-7]/[a-z][a-z0-9-]{0,40}$', maxLength: 43 });
}

export interface SlotDefinition {
  readonly slot: string;
  readonly layer: LayerNumber;
  readonly keyType: string;
  readonly keyKind: KeyKind;
  readonly algorithm: string;
  readonly ageRule: AgeRule;
}

export const slotDefinitions: readonly SlotDefinition[] = [
  slot(1, 'identity-signature', 'signature', 'ML-DSA-87', 'identity_keys'),
  slot(1, 'session-token', 'signature', 'ML-DSA-87', 'identity_keys'),
  slot(2, 'capability-signature', 'signature', 'ML-DSA-87', 'identity_keys'),
  slot(2, 'nonce-mac', 'mac', 'HMAC-SHA3-384', 'hmac_keys'),
  slot(3, 'tls-certificate', 'signature', 'ML-DSA-87', 'signature_keys'),
  slot(3, 'key-exchange', 'hybrid-kem', 'X25519MLKEM1024', 'session_keys'),
  slot(3, 'session-ticket', 'aead', 'AES-256-GCM', 'session_keys'),
  slot(4, 'root-kek', 'aead', 'AES-256-GCM', 'kek'),
  slot(4, 'kek', 'hybrid-kem', 'X25519MLKEM1024', 'kek'),
  slot(5, 'record-signature', 'signature', 'ML-DSA-87', 'signature_keys'),
  slot(5, 'column-key', 'aead', 'AES-256-GCM', 'kek'),
  slot(6, 'patient-mac', 'mac', 'HMAC-SHA3-384', 'signature_keys'),
  slot(6, 'consent-signature', 'signature', 'ML-DSA-87', 'signature_keys'),
  slot(7, 'healing-signature', 'signature', 'ML-DSA-87', 'signature_keys'),
];

export interface LayerDependency {
  readonly prerequisite: LayerNumber;
  readonly dependent: LayerNumber;
  readonly reason: string;
}

/** Agents of a dependent layer are members of the asymmetric slots of its prerequisite. */
export const layerDependencies: readonly LayerDependency[] = [
  { prerequisite: 1, dependent: 2, reason: 'capability keys are certified by identity keys' },
  { prerequisite: 4, dependent: 5, reason: 'column keys are wrapped by the key-encryption key' },
];

/** Order of layers that no dependency ties (specification: 1, 4, 3, 2, then 5, 6, 7). */
export const preferredSequence: readonly LayerNumber[] = [1, 4, 3, 2, 5, 6, 7];

function slot(
  layer: LayerNumber,
  keyType: string,
  keyKind: KeyKind,
  algorithm: string,
  ageRule: AgeRule,
): SlotDefinition {
  return { slot: `${layer}/${keyType}`, layer, keyType, keyKind, algorithm, ageRule };
}
