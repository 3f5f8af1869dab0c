/**
 * The selection of a negotiation, as a function of both advertisements, the operator's constraints,
 * policy and registry. It is symmetric and deterministic, never leaves the policy, and is monotone: an
 * algorithm less on one side never makes the result stronger. Strength is the weaker of KEM and
 * signature first, then each kind's level; preference decides only among equals of that order.
 */

import { tlsVersions, type SelectedAlgorithms } from '#schemas/negotiation.ts';
import {
  candidatesOf,
  combinedConstraints,
  type Candidate,
  type SelectionInput,
  type SelectionRefusal,
} from './negotiation-candidates.ts';

export type Selection =
  { readonly status: 'selected'; readonly selected: SelectedAlgorithms } | SelectionRefusal;

interface Pair {
  readonly kem: Candidate;
  readonly signature: Candidate;
}

/**
 * What both sides take, or ORCH-8001 (nothing in common), ORCH-8002 (only what the policy forbids),
 * ORCH-8003 (only what the registry does not know), ORCH-8012 (offers that contradict each other).
 */
export function selectAlgorithms(input: SelectionInput): Selection {
  const fault = tlsFault(input);
  if (fault !== undefined) return { status: 'refused', code: 'ORCH-8002', reason: fault };
  const kem = candidatesOf('kem', input);
  if (kem.status === 'refused') return kem;
  const signature = candidatesOf('signature', input);
  if (signature.status === 'refused') return signature;
  const symmetric = candidatesOf('symmetric', input);
  if (symmetric.status === 'refused') return symmetric;
  const hash = candidatesOf('hash', input);
  if (hash.status === 'refused') return hash;
  const pair = bestPair(kem.candidates, signature.candidates, input);
  if (pair === undefined) {
    const reason = 'no KEM and signature in common make a handshake within the constraints';
    return { status: 'refused', code: 'ORCH-8001', reason };
  }
  return {
    status: 'selected',
    selected: {
      kem: pair.kem.name,
      signature: pair.signature.name,
      symmetric: best(symmetric.candidates).name,
      hash: best(hash.candidates).name,
    },
  };
}

/** Layer 3 may not agree on anything while it still speaks an older TLS than the policy allows. */
function tlsFault({ client, server, layers, policy }: SelectionInput): string | undefined {
  const least = policy.policies.layer_specific.layer_3.min_tls_version;
  const rankOf = (version: string): number => (tlsVersions as readonly string[]).indexOf(version);
  const floors = [
    { layer: layers.client, version: client.tlsVersionMin },
    { layer: layers.server, version: server.tlsVersionMin },
  ].flatMap(({ layer, version }) => (layer === 3 && version !== undefined ? [version] : []));
  const [lowest] = floors.toSorted((one, other) => rankOf(one) - rankOf(other));
  if (lowest === undefined) return undefined;
  // A version that nobody knows is met by nobody.
  const isMet = rankOf(least) >= 0 && rankOf(lowest) >= rankOf(least);
  return isMet ? undefined : `layer 3 still speaks TLS ${lowest}, and the policy asks for ${least}`;
}

/**
 * A handshake's time is the KEM's and the signature's together, so the two are chosen together. Without
 * that constraint this is the best KEM and the best signature.
 */
function bestPair(
  kems: readonly Candidate[],
  signatures: readonly Candidate[],
  input: SelectionInput,
): Pair | undefined {
  const { maxHandshakeMs = Infinity } = combinedConstraints(input);
  let found: Pair | undefined;
  for (const kem of kems) {
    for (const signature of signatures) {
      if (kem.handshakeMs + signature.handshakeMs > maxHandshakeMs) continue;
      const pair = { kem, signature };
      if (found === undefined || comparePairs(pair, found) < 0) found = pair;
    }
  }
  return found;
}

function comparePairs(one: Pair, other: Pair): number {
  const weakest = ({ kem, signature }: Pair) => Math.min(kem.level, signature.level);
  const sum = (field: 'preference' | 'tier' | 'hardware') => (pair: Pair) =>
    pair.kem[field] + pair.signature[field];
  return (
    weakest(other) - weakest(one) ||
    other.kem.level - one.kem.level ||
    other.signature.level - one.signature.level ||
    sum('preference')(other) - sum('preference')(one) ||
    sum('tier')(other) - sum('tier')(one) ||
    sum('hardware')(other) - sum('hardware')(one) ||
    compareNames(one.kem, other.kem) ||
    compareNames(one.signature, other.signature)
  );
}

/** @throws where there is none: a search that found something found one */
function best(candidates: readonly Candidate[]): Candidate {
  const [first] = candidates.toSorted(compare);
  if (first === undefined) throw new Error('assertion: there is a candidate');
  return first;
}

/** Total, because no two candidates of one kind have one name. */
function compare(one: Candidate, other: Candidate): number {
  return (
    other.level - one.level ||
    other.preference - one.preference ||
    other.tier - one.tier ||
    other.hardware - one.hardware ||
    compareNames(one, other)
  );
}

function compareNames(one: Candidate, other: Candidate): number {
  if (one.name === other.name) return 0;
  return one.name < other.name ? -1 : 1;
}
