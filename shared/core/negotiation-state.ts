/**
 * What a negotiation is made of: its events as their receivers verified them, its state, and the rules
 * that come from outside the core: documents, enrolments, hashes and the memory of nonces.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { EventBody } from '#schemas/events.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type {
  AlgorithmAdvertisement,
  NegotiationConfirmed,
  NegotiationConstraints,
  NegotiationOpened,
  NegotiationTranscript,
  SelectedAlgorithms,
} from '#schemas/negotiation.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { sameData } from './equality.ts';
import type { VerifiedEvent } from './verified-event.ts';

export type NegotiationRole = AlgorithmAdvertisement['role'];

export const negotiationEventNames = [
  'negotiation-opened',
  'algorithms-advertised',
  'negotiation-confirmed',
  'negotiation-failed',
] as const;
export type NegotiationEventName = (typeof negotiationEventNames)[number];

/** Digests of the documents that an event was sealed under, hexadecimal. */
export interface Basis {
  readonly policyDigest: string;
  readonly registryDigest: string;
}

interface EventHead extends Basis {
  /** Statement hash, hexadecimal. */
  readonly hash: string;
  readonly senderId: string;
  readonly senderKind: AgentKind;
  readonly timeMs: number;
}

export type NegotiationEventOf<Name extends NegotiationEventName> = EventHead & {
  readonly type: Name;
  readonly body: EventBody<Name>;
};
/** Authentic, on the subject of its negotiation. */
export type NegotiationEvent = {
  [Name in NegotiationEventName]: NegotiationEventOf<Name>;
}[NegotiationEventName];

export interface AcceptedAdvertisement {
  readonly hash: string;
  readonly agentId: string;
  readonly timeMs: number;
  readonly advertisement: AlgorithmAdvertisement;
}

export interface NegotiationState {
  readonly negotiationId: string;
  /** `advertised`: both sides have; `agreed`: both have confirmed the same. */
  readonly phase: 'opened' | 'advertised' | 'agreed' | 'failed';
  readonly client: string;
  readonly server: string;
  readonly layers: { readonly client: LayerNumber; readonly server: LayerNumber };
  /** The operator's. */
  readonly constraints: NegotiationConstraints;
  /** Statement hashes of the operator's request and of the opening. */
  readonly request: string;
  readonly opened: string;
  readonly openedBy: string;
  readonly openedAtMs: number;
  readonly basis: Basis;
  readonly advertisements: {
    readonly client?: AcceptedAdvertisement;
    readonly server?: AcceptedAdvertisement;
  };
  /** What both have to confirm, once both have advertised. */
  readonly agreement: NegotiationConfirmed | null;
  readonly confirmations: { readonly client?: string; readonly server?: string };
  readonly failure: {
    readonly code: OrchCode;
    readonly reason: string;
    /** Sender and hash of the event that ended it. */
    readonly by: string;
    readonly event: string;
  } | null;
}

export type StateWithAdvertisements = NegotiationState & {
  readonly advertisements: Required<NegotiationState['advertisements']>;
};

/** Everything that the transcript stands for. */
export interface TranscriptInput {
  readonly negotiationId: string;
  readonly client: Pick<AcceptedAdvertisement, 'agentId' | 'advertisement'>;
  readonly server: Pick<AcceptedAdvertisement, 'agentId' | 'advertisement'>;
  readonly constraints: NegotiationConstraints;
  readonly basis: Basis;
  readonly selected: SelectedAlgorithms;
}

export interface NegotiationRules {
  /** Undefined where they were never in force. Whether they still are is for the agents to say. */
  documentsOf(
    basis: Basis,
  ): { readonly policy: PolicyBody; readonly registry: RegistryBody } | undefined;
  /** The layer of an enrolled layer agent; undefined for everybody else. */
  layerOf(agentId: string): LayerNumber | undefined;
  /** The event, where the disclosure is authentic. */
  requestOf(evidence: Disclosure): VerifiedEvent | undefined;
  transcriptOf(input: TranscriptInput): NegotiationTranscript;
  /** Whether another event than the one named has used the nonce. */
  isNonceReused(nonce: Uint8Array, hash: string): boolean;
}

export function basisOf({ policyDigest, registryDigest }: Basis): Basis {
  return { policyDigest, registryDigest };
}

export function transcriptInputOf(
  { negotiationId, advertisements, constraints, basis }: StateWithAdvertisements,
  selected: SelectedAlgorithms,
): TranscriptInput {
  const { client, server } = advertisements;
  return { negotiationId, client, server, constraints, basis, selected };
}

/** Why the opening is not what an operator asked for, or undefined. */
export function requestMisfit(
  { negotiationId, request, client, server, constraints }: NegotiationOpened,
  asked: VerifiedEvent | undefined,
): string | undefined {
  if (asked?.type !== 'negotiation-requested' || asked.senderKind !== 'operator') {
    return 'no operator asked for the negotiation';
  }
  const isSame =
    asked.hash === request && sameData(asked.body, { negotiationId, client, server, constraints });
  return isSame ? undefined : 'the operator asked for another negotiation';
}

/** Nonces kept; two of them make a negotiation. */
const noncesKeptMax = 8_192;

/** Which event used a nonce first. Bounded: it forgets the oldest. */
export class NonceBook {
  readonly #firstUse = new Map<string, string>();

  isReused(nonce: Uint8Array, hash: string): boolean {
    const name = nonce.join(' ');
    const first = this.#firstUse.get(name);
    if (first !== undefined) return first !== hash;
    this.#firstUse.set(name, hash);
    const [oldest] = this.#firstUse.keys();
    if (this.#firstUse.size > noncesKeptMax && oldest !== undefined) this.#firstUse.delete(oldest);
    return false;
  }
}
