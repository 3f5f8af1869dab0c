/**
 * Which algorithms of one kind two sides could agree on: offered by both, known to the registry,
 * allowed by the policy on both layers, within every constraint. Nothing here ever adds an algorithm,
 * and nothing depends on which of the two is client and which server.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type {
  AlgorithmCapabilities,
  AlgorithmOffer,
  NegotiatedKind,
  NegotiationConstraints,
  TlsVersion,
} from '#schemas/negotiation.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import { algorithmAllowed, type AlgorithmKind, type PolicyVerdict } from './policy.ts';

/** What one side brings; an advertisement is one. */
export interface NegotiatingSide {
  readonly capabilities: AlgorithmCapabilities;
  readonly constraints: NegotiationConstraints;
  readonly tlsVersionMin?: TlsVersion;
}

export interface SelectionInput {
  readonly client: NegotiatingSide;
  readonly server: NegotiatingSide;
  /** The operator's, beside those of the sides. */
  readonly constraints: NegotiationConstraints;
  readonly policy: PolicyBody;
  readonly registry: RegistryBody;
  readonly layers: { readonly client: LayerNumber; readonly server: LayerNumber };
}

export interface SelectionRefusal {
  readonly status: 'refused';
  readonly code: OrchCode;
  readonly reason: string;
}

/** An algorithm that both sides could use, with what it is ranked by: more is better. */
export interface Candidate {
  readonly name: string;
  /** The registry's security level. */
  readonly level: number;
  /** How many of the two prefer or require it. */
  readonly preference: number;
  /** Both sides' performance tiers together: low 0, medium 1, high 2 each. */
  readonly tier: number;
  /** How many of the two have hardware for it. */
  readonly hardware: number;
  /** Its part of a handshake, as the registry measured it; 0 where no constraint asks. */
  readonly handshakeMs: number;
}

export type CandidateSearch =
  { readonly status: 'found'; readonly candidates: readonly Candidate[] } | SelectionRefusal;

interface Shared {
  readonly name: string;
  readonly offers: readonly [AlgorithmOffer, AlgorithmOffer];
}

interface Known extends Shared {
  readonly registered: AlgorithmKind;
  readonly entry: AlgorithmEntry;
}

/** What makes up a handshake, by the registry's names of the operations. */
const handshakeParts: Readonly<Record<NegotiatedKind, readonly string[]>> = {
  kem: ['encaps_ms', 'decaps_ms'],
  signature: ['sign_ms', 'verify_ms'],
  symmetric: [],
  hash: [],
};

const tierRank: Readonly<Record<AlgorithmOffer['performanceTier'], number>> = {
  high: 2,
  medium: 1,
  low: 0,
};

/** Never empty where found. */
export function candidatesOf(kind: NegotiatedKind, input: SelectionInput): CandidateSearch {
  const { client, server } = input;
  const sides = [client.capabilities[kind], server.capabilities[kind]] as const;
  if (sides.some(isRepetitive)) return refused('ORCH-8012', `a ${kind} algorithm is offered twice`);
  const required = requiredNames([...sides[0], ...sides[1]]);
  if (required.length > 1) {
    return refused('ORCH-8012', `${required.join(' and ')} are both required for ${kind}`);
  }
  const offered = sharedOffers(...sides);
  const shared = offered.filter(({ name }) => required.every((only) => only === name));
  const known = shared.flatMap((each) => knownOf(kind, each, input.registry));
  if (known.length === 0) return nothingShared(kind, shared, sides, input.registry);
  return allowedOf(kind, known, input);
}

/** The tightest of all that are stated. */
export function combinedConstraints({
  client,
  server,
  constraints,
}: Pick<SelectionInput, 'client' | 'server' | 'constraints'>): NegotiationConstraints {
  const all = [client.constraints, server.constraints, constraints];
  const tightest = (name: keyof NegotiationConstraints) => {
    const stated = all.flatMap((each) => each[name] ?? []);
    return stated.length === 0 ? {} : { [name]: Math.min(...stated) };
  };
  return {
    ...tightest('maxSignatureBytes'),
    ...tightest('maxPublicKeyBytes'),
    ...tightest('maxHandshakeMs'),
  };
}

/** Names of a list of offers that their senders require, each once, sorted. */
function requiredNames(offers: readonly AlgorithmOffer[]): string[] {
  const names = offers.filter(({ status }) => status === 'required').map((each) => each.algorithm);
  return [...new Set(names)].toSorted();
}

function isRepetitive(offers: readonly AlgorithmOffer[]): boolean {
  return new Set(offers.map(({ algorithm }) => algorithm)).size !== offers.length;
}

/** In order of name, so that whatever is said of them is the same from both sides. */
function sharedOffers(one: readonly AlgorithmOffer[], other: readonly AlgorithmOffer[]): Shared[] {
  const others = new Map(other.map((offer) => [offer.algorithm, offer]));
  return one
    .flatMap((offer) => {
      const match = others.get(offer.algorithm);
      return match === undefined
        ? []
        : [{ name: offer.algorithm, offers: [offer, match] } satisfies Shared];
    })
    .toSorted((left, right) => (left.name < right.name ? -1 : 1));
}

function knownOf(kind: NegotiatedKind, shared: Shared, registry: RegistryBody): Known[] {
  const found = lookUp(kind, shared.name, registry);
  return found === undefined ? [] : [{ ...shared, ...found }];
}

/** The registry's kinds under which the offers of a kind are found: hybrid KEMs stand among KEMs. */
const registeredAs: Readonly<Record<NegotiatedKind, readonly AlgorithmKind[]>> = {
  kem: ['kem', 'hybrid'],
  signature: ['signature'],
  symmetric: ['symmetric'],
  hash: ['hash'],
};

function lookUp(kind: NegotiatedKind, name: string, { algorithms }: RegistryBody) {
  for (const registered of registeredAs[kind]) {
    const entry = algorithms[registered].find((each) => each.name === name);
    if (entry !== undefined) return { registered, entry };
  }
  return undefined;
}

/** ORCH-8003 where it is the registry that leaves nothing, ORCH-8001 where the sides do. */
function nothingShared(
  kind: NegotiatedKind,
  shared: readonly Shared[],
  sides: readonly (readonly AlgorithmOffer[])[],
  registry: RegistryBody,
): SelectionRefusal {
  const isUnknown = ({ algorithm }: AlgorithmOffer) =>
    lookUp(kind, algorithm, registry) === undefined;
  const isAllUnknown = sides.some((offers) => offers.length > 0 && offers.every(isUnknown));
  if (shared.length > 0 || isAllUnknown) {
    return refused('ORCH-8003', `the registry knows no ${kind} algorithm that both sides take`);
  }
  return refused('ORCH-8001', `no ${kind} algorithm in common`);
}

function allowedOf(
  kind: NegotiatedKind,
  known: readonly Known[],
  input: SelectionInput,
): CandidateSearch {
  const verdicts = known.map((each) => ({ each, verdict: policyVerdict(each, input) }));
  const allowed = verdicts.filter(({ verdict }) => verdict.ok).map(({ each }) => each);
  if (allowed.length === 0) {
    const reasons = verdicts.flatMap(({ verdict }) => (verdict.ok ? [] : [verdict.reason]));
    return refused('ORCH-8002', reasons.join('; '));
  }
  const limits = combinedConstraints(input);
  const candidates = allowed.flatMap((each) => withinLimits(kind, each, limits));
  return candidates.length > 0
    ? { status: 'found', candidates }
    : refused('ORCH-8001', `no ${kind} algorithm in common is within the constraints`);
}

/** Allowed on the layers of both sides. */
function policyVerdict({ name, registered }: Known, input: SelectionInput): PolicyVerdict {
  const { policy, registry, layers } = input;
  const both = [...new Set([layers.client, layers.server])].toSorted((one, other) => one - other);
  for (const layer of both) {
    const claim = { algorithm: name, kind: registered, layer };
    const verdict = algorithmAllowed(claim, { policy, registry });
    if (!verdict.ok) return verdict;
  }
  return { ok: true };
}

/** What the registry does not state cannot be shown to be within a limit, so it is not. */
function withinLimits(
  kind: NegotiatedKind,
  { name, offers, entry }: Known,
  limits: NegotiationConstraints,
): Candidate[] {
  const { maxSignatureBytes, maxPublicKeyBytes, maxHandshakeMs } = limits;
  const isWithin = (bytes: number | undefined, most: number | undefined): boolean =>
    most === undefined || (bytes !== undefined && bytes <= most);
  const hasPublicKey = kind === 'kem' || kind === 'signature';
  if (kind === 'signature' && !isWithin(entry.key_sizes?.['signature'], maxSignatureBytes)) {
    return [];
  }
  if (hasPublicKey && !isWithin(entry.key_sizes?.['public_key'], maxPublicKeyBytes)) return [];
  const handshakeMs = maxHandshakeMs === undefined ? 0 : measuredMs(kind, entry);
  if (handshakeMs === undefined || handshakeMs > (maxHandshakeMs ?? 0)) return [];
  const preference = count(offers, ({ status }) => status !== 'supported');
  const hardware = count(offers, ({ hardwareAccelerated }) => hardwareAccelerated === true);
  const tier = offers.reduce((sum, { performanceTier }) => sum + tierRank[performanceTier], 0);
  return [{ name, level: entry.security_level, preference, tier, hardware, handshakeMs }];
}

function measuredMs(kind: NegotiatedKind, { performance }: AlgorithmEntry): number | undefined {
  let sumMs = 0;
  for (const part of handshakeParts[kind]) {
    const ms = performance?.[part];
    if (ms === undefined) return undefined;
    sumMs += ms;
  }
  return sumMs;
}

function count<Item>(items: readonly Item[], holds: (item: Item) => boolean): number {
  return items.filter(holds).length;
}

function refused(code: OrchCode, reason: string): SelectionRefusal {
  return { status: 'refused', code, reason };
}
