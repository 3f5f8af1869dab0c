/**
 * Negotiation: two agents advertise what they can do and under which constraints, both compute the same
 * selection, and each confirms it with the hashes of everything it rests on. All of it is on the log,
 * so that anyone can compute the result again.
 */

import { Type, type Static } from 'typebox';
import { Disclosure } from './frame.ts';
import { OrchestrationCodeName, Reason } from './saga.ts';
import {
  AgentId,
  AlgorithmName,
  Bytes,
  DigestHex,
  Identifier,
  IntegerRange,
  List,
  OneOf,
  StrictObject,
} from './primitives.ts';

/** Kinds of algorithm that are negotiated; `kem` is answered by a plain or a hybrid KEM. */
export const negotiatedKinds = ['kem', 'signature', 'symmetric', 'hash'] as const;
export type NegotiatedKind = (typeof negotiatedKinds)[number];

export const AlgorithmOffer = StrictObject({
  algorithm: AlgorithmName(),
  /** `required`: the sender takes no other of this kind. */
  status: OneOf(['required', 'preferred', 'supported']),
  performanceTier: OneOf(['high', 'medium', 'low']),
  hardwareAccelerated: Type.Optional(Type.Boolean()),
});
export type AlgorithmOffer = Static<typeof AlgorithmOffer>;

const Offers = List(AlgorithmOffer, { itemsMax: 32 });

export const AlgorithmCapabilities = StrictObject({
  kem: Offers,
  signature: Offers,
  symmetric: Offers,
  hash: Offers,
});
export type AlgorithmCapabilities = Static<typeof AlgorithmCapabilities>;

/** Rising. */
export const tlsVersions = ['1.0', '1.1', '1.2', '1.3'] as const;
export const TlsVersion = OneOf(tlsVersions);
export type TlsVersion = Static<typeof TlsVersion>;

/** Each removes candidates; none ever adds one. */
export const NegotiationConstraints = StrictObject({
  maxSignatureBytes: Type.Optional(IntegerRange({ min: 1, max: 1_000_000 })),
  maxPublicKeyBytes: Type.Optional(IntegerRange({ min: 1, max: 1_000_000 })),
  /** Sum of the registry's measured times of one handshake: encapsulate, decapsulate, sign, verify. */
  maxHandshakeMs: Type.Optional(IntegerRange({ min: 1, max: 600_000 })),
});
export type NegotiationConstraints = Static<typeof NegotiationConstraints>;

/** Of an agent that says nothing of algorithms. */
export const nothingAdvertised: {
  readonly algorithms: AlgorithmCapabilities;
  readonly constraints: NegotiationConstraints;
} = { algorithms: { kem: [], signature: [], symmetric: [], hash: [] }, constraints: {} };

/** What one side can do, bound to one negotiation by id and nonce. */
export const AlgorithmAdvertisement = StrictObject({
  negotiationId: Identifier(),
  role: OneOf(['client', 'server']),
  nonce: Bytes(32),
  capabilities: AlgorithmCapabilities,
  constraints: NegotiationConstraints,
  /** Lowest TLS version that the sender's systems still speak, where they speak TLS. */
  tlsVersionMin: Type.Optional(TlsVersion),
});
export type AlgorithmAdvertisement = Static<typeof AlgorithmAdvertisement>;

export const SelectedAlgorithms = StrictObject({
  kem: AlgorithmName(),
  signature: AlgorithmName(),
  symmetric: AlgorithmName(),
  hash: AlgorithmName(),
});
export type SelectedAlgorithms = Static<typeof SelectedAlgorithms>;

/** SHA3-512 each, over domain-separated canonical bytes (`docs/protocol.md`). */
export const NegotiationTranscript = StrictObject({
  clientCapabilitiesHash: Bytes(64),
  serverCapabilitiesHash: Bytes(64),
  policyHash: Bytes(64),
  negotiationHash: Bytes(64),
});
export type NegotiationTranscript = Static<typeof NegotiationTranscript>;

/* Events: the request on the operators' channel, the rest on `negotiation.<id>`. */

export const NegotiationRequested = StrictObject({
  negotiationId: Identifier(),
  client: AgentId(),
  server: AgentId(),
  /** Added to what the agents ask for themselves. */
  constraints: NegotiationConstraints,
});
export type NegotiationRequested = Static<typeof NegotiationRequested>;

export const NegotiationOpened = StrictObject({
  negotiationId: Identifier(),
  /** Statement hash of the operator's request. */
  request: DigestHex(),
  /** The request itself, so that the parties need not take the orchestrator's word for it. */
  evidence: Disclosure,
  client: AgentId(),
  server: AgentId(),
  constraints: NegotiationConstraints,
});
export type NegotiationOpened = Static<typeof NegotiationOpened>;

export const NegotiationConfirmed = StrictObject({
  negotiationId: Identifier(),
  selected: SelectedAlgorithms,
  transcript: NegotiationTranscript,
  /** Statement hashes of what it was computed from, in this order. */
  opened: DigestHex(),
  clientAdvertisement: DigestHex(),
  serverAdvertisement: DigestHex(),
});
export type NegotiationConfirmed = Static<typeof NegotiationConfirmed>;

export const NegotiationFailed = StrictObject({
  negotiationId: Identifier(),
  code: OrchestrationCodeName,
  reason: Reason,
});
export type NegotiationFailed = Static<typeof NegotiationFailed>;

/* Answers to operators. */

/** Events of one negotiation that are kept and shown; it needs five. */
export const negotiationEventsMax = 24;

/** Answer to `negotiation-show`: the log of the negotiation, for the asker to fold himself. */
export const NegotiationShown = StrictObject({
  negotiationId: Identifier(),
  isOver: Type.Boolean(),
  /** In the order of the bus, the opening first; none where nobody has opened it yet. */
  events: List(Disclosure, { itemsMax: negotiationEventsMax }),
});
export type NegotiationShown = Static<typeof NegotiationShown>;

export const AgentCapabilities = StrictObject({
  agentId: AgentId(),
  layer: IntegerRange({ min: 1, max: 7 }),
  ready: Type.Boolean(),
  reason: Type.Optional(Reason),
  algorithms: AlgorithmCapabilities,
  constraints: NegotiationConstraints,
  tlsVersionMin: Type.Optional(TlsVersion),
});
export type AgentCapabilities = Static<typeof AgentCapabilities>;

/** Answer to `capabilities-list`. */
export const CapabilitiesList = StrictObject({
  agents: List(AgentCapabilities, { itemsMax: 1_024 }),
});
export type CapabilitiesList = Static<typeof CapabilitiesList>;
