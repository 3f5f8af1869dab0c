/**
 * What the core's negotiation takes from outside: enrolments and documents of a view of trust, hashes of
 * a provider, events as they were received or disclosed. Live agents and whoever computes a negotiation
 * again later use the same.
 */

import { isEventType, type EventBody } from '#schemas/events.ts';
import type { Disclosure, Header } from '#schemas/frame.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { AgentKind } from '#schemas/trust.ts';
import {
  NonceBook,
  negotiationEventNames,
  type Basis,
  type NegotiationEvent,
  type NegotiationEventName,
  type NegotiationRules,
} from '#shared/core/negotiation-state.ts';
import { toHex } from './bytes.ts';
import { parseDisclosure } from './envelope.ts';
import { negotiationTranscript } from './negotiation-transcript.ts';
import type { CryptoProvider } from './provider.ts';
import type { TrustView } from './trust.ts';

/** One memory of nonces per set of rules. */
export function negotiationRules(crypto: CryptoProvider, trust: TrustView): NegotiationRules {
  const nonces = new NonceBook();
  return {
    documentsOf: ({ policyDigest, registryDigest }) => {
      const policy = trust.policyOf(policyDigest);
      const registry = trust.registryOf(registryDigest);
      return policy === undefined || registry === undefined ? undefined : { policy, registry };
    },
    layerOf: (agentId) => {
      const agent = trust.agent(agentId);
      return agent?.kind === 'layer' ? (agent.layer as LayerNumber | undefined) : undefined;
    },
    requestOf: (evidence) => {
      const opening = trust.verifyEvidence(evidence);
      return opening.status === 'ok' ? opening.event : undefined;
    },
    transcriptOf: (input) => negotiationTranscript(crypto, input),
    isNonceReused: (nonce, hash) => nonces.isReused(nonce, hash),
  };
}

/** Why nothing may be negotiated under these documents now, or undefined. */
export function basisFault(
  trust: TrustView,
  { policyDigest, registryDigest }: Basis,
  nowMs: number,
): { readonly code: 'ORCH-8002' | 'ORCH-8010' | 'ORCH-8011'; readonly reason: string } | undefined {
  const stale = staleFault(trust, nowMs);
  if (stale !== undefined) return stale;
  const isNewest = policyDigest === trust.policyDigest && registryDigest === trust.registryDigest;
  return isNewest
    ? undefined
    : { code: 'ORCH-8002', reason: 'registry or policy were amended since it was opened' };
}

/** With expired documents nothing new begins. */
export function staleFault(trust: TrustView, nowMs: number) {
  const [kind] = trust.staleness(nowMs);
  if (kind === undefined) return undefined;
  const code = kind === 'policy' ? ('ORCH-8011' as const) : ('ORCH-8010' as const);
  return { code, reason: `the ${kind} has expired` };
}

interface HeardEvent<Name extends NegotiationEventName> {
  readonly hash: string;
  readonly type: Name;
  readonly header: Pick<Header, 'timeMs' | 'policyDigest' | 'registryDigest'>;
  readonly sender: { readonly agentId: string; readonly kind: AgentKind };
  readonly body: EventBody<Name>;
}
/** What a receiver has of an event of a negotiation. */
export type HeardNegotiationEvent = {
  [Name in NegotiationEventName]: HeardEvent<Name>;
}[NegotiationEventName];

/** A received event as the core takes it. */
export function negotiationEvent(event: HeardNegotiationEvent): NegotiationEvent {
  const { hash, type, header, sender, body } = event;
  // Type and body stay together.
  return {
    hash,
    type,
    body,
    senderId: sender.agentId,
    senderKind: sender.kind,
    timeMs: header.timeMs,
    policyDigest: toHex(header.policyDigest),
    registryDigest: toHex(header.registryDigest),
  } as NegotiationEvent;
}

/** The event of a disclosure of any origin, with its subject; undefined where it is not authentic. */
export function disclosedNegotiationEvent(
  trust: TrustView,
  disclosure: Disclosure,
): { readonly subject: string; readonly event: NegotiationEvent } | undefined {
  const parsed = parseDisclosure(disclosure);
  if (!parsed.ok || !isNegotiationEvent(parsed.header.type)) return undefined;
  const opening = trust.verifyEvidence(disclosure);
  if (opening.status !== 'ok') return undefined;
  const { hash, type, body, senderId: agentId, senderKind: kind } = opening.event;
  if (!isNegotiationEvent(type)) return undefined;
  const { header } = parsed;
  // Type and body were checked together.
  const heard = { hash, type, body, header, sender: { agentId, kind } } as HeardNegotiationEvent;
  return { subject: header.subject, event: negotiationEvent(heard) };
}

export function isNegotiationEvent(type: string): type is NegotiationEventName {
  return isEventType(type) && (negotiationEventNames as readonly string[]).includes(type);
}
