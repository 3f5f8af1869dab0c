/**
 * What a layer agent offers in negotiations: algorithms that its provider passed its self-tests in and
 * that the registry knows. What its slots turn keys of is preferred; how fast an algorithm is, is what the
 * registry says was measured. The policy is not asked here: it is applied by whoever selects.
 */

import { slotDefinitions, type LayerNumber } from '#schemas/layers.ts';
import {
  negotiatedKinds,
  type AlgorithmCapabilities,
  type AlgorithmOffer,
  type NegotiatedKind,
  type NegotiationConstraints,
  type TlsVersion,
} from '#schemas/negotiation.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import { ProviderRegistry, softwareProvider } from '#shared/crypto/algorithms.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { acceleratedAlgorithms } from './processor-features.ts';

/** What an agent says of its algorithms, in advertisements and inspections. */
export interface AlgorithmClaims {
  readonly algorithms: AlgorithmCapabilities;
  readonly constraints: NegotiationConstraints;
  readonly tlsVersionMin?: TlsVersion;
}

export interface CapabilityInput {
  readonly layer: LayerNumber;
  /** Names that the agent's provider carries out. */
  readonly able: readonly string[];
  readonly registry: RegistryBody;
  /** Names that the processor has instructions for. */
  readonly accelerated: ReadonlySet<string>;
}

/** The slowest operation that was measured decides. */
const highTierMs = 2;
const mediumTierMs = 50;
/** As many as an advertisement may name of one kind. */
const offersMax = 32;

const registered: Readonly<Record<NegotiatedKind, readonly (keyof RegistryBody['algorithms'])[]>> =
  {
    kem: ['hybrid', 'kem'],
    signature: ['signature'],
    symmetric: ['symmetric'],
    hash: ['hash'],
  };

export interface ClaimsInput {
  readonly layer: LayerNumber;
  readonly crypto: CryptoProvider;
  /** Asked each time: a later registry may know more. */
  readonly trust: { readonly registry: RegistryBody };
  readonly constraints?: NegotiationConstraints;
  readonly tlsVersionMin?: TlsVersion;
}

/** Tests the provider once, which takes some milliseconds. */
export async function algorithmClaims(input: ClaimsInput): Promise<() => AlgorithmClaims> {
  const { layer, crypto, trust, constraints = {}, tlsVersionMin } = input;
  const able = await ableAlgorithms(crypto);
  const accelerated = acceleratedAlgorithms();
  return () => ({
    algorithms: algorithmCapabilities({ layer, able, accelerated, registry: trust.registry }),
    constraints,
    ...(tlsVersionMin === undefined ? {} : { tlsVersionMin }),
  });
}

/** Names of the algorithms in which the provider passed its self-tests. */
export async function ableAlgorithms(crypto: CryptoProvider): Promise<readonly string[]> {
  const registration = await new ProviderRegistry().register(softwareProvider(crypto));
  return registration.status === 'registered' ? registration.algorithms : [];
}

export function algorithmCapabilities(input: CapabilityInput): AlgorithmCapabilities {
  const entries = negotiatedKinds.map((kind) => [kind, offersOf(kind, input)] as const);
  return Object.fromEntries(entries) as AlgorithmCapabilities;
}

function offersOf(kind: NegotiatedKind, input: CapabilityInput): AlgorithmOffer[] {
  const { layer, able, registry, accelerated } = input;
  const turned = slotDefinitions.flatMap((slot) => (slot.layer === layer ? [slot.algorithm] : []));
  return registered[kind]
    .flatMap((name) => registry.algorithms[name])
    .filter(({ name, status }) => status !== 'deprecated' && able.includes(name))
    .slice(0, offersMax)
    .map((entry) => ({
      algorithm: entry.name,
      status: turned.includes(entry.name) ? 'preferred' : 'supported',
      performanceTier: tierOf(entry),
      ...(accelerated.has(entry.name) ? { hardwareAccelerated: true } : {}),
    }));
}

/** What nobody measured is promised nothing of. */
function tierOf({ performance = {} }: AlgorithmEntry): AlgorithmOffer['performanceTier'] {
  const times = Object.values(performance);
  if (times.length === 0) return 'low';
  const slowestMs = Math.max(...times);
  if (slowestMs <= highTierMs) return 'high';
  return slowestMs <= mediumTierMs ? 'medium' : 'low';
}
