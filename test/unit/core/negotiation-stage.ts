/** Advertisements, documents and whole negotiations for tests of the core. */
import type {
  AlgorithmAdvertisement,
  AlgorithmCapabilities,
  AlgorithmOffer,
  NegotiationConstraints,
} from '#schemas/negotiation.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import { developmentTimes, policyBody } from '#cli/mesh/policy-body.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import type { SelectionInput } from '#shared/core/negotiation-candidates.ts';
import {
  NonceBook,
  type NegotiationEvent,
  type NegotiationRules,
} from '#shared/core/negotiation-state.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { negotiationTranscript } from '#shared/crypto/negotiation-transcript.ts';

export const crypto = createNativeProvider();

const validity = { issuedAt: '2026-01-01T00:00:00Z', expiresAt: '2027-01-01T00:00:00Z' };
export const policy: PolicyBody = policyBody('test', validity, developmentTimes);
export const registry: RegistryBody = registryBody('test', validity, {
  'ML-KEM-1024': { encaps_ms: 1, decaps_ms: 1 },
  'ML-DSA-87': { sign_ms: 2, verify_ms: 1 },
});

export function offer(algorithm: string, change: Partial<AlgorithmOffer> = {}): AlgorithmOffer {
  return { algorithm, status: 'supported', performanceTier: 'high', ...change };
}

export function capabilities(change: Partial<AlgorithmCapabilities> = {}): AlgorithmCapabilities {
  return {
    kem: [offer('ML-KEM-1024'), offer('X25519MLKEM1024')],
    signature: [offer('ML-DSA-87'), offer('SLH-DSA-SHAKE-256s')],
    symmetric: [offer('AES-256-GCM'), offer('ChaCha20-Poly1305')],
    hash: [offer('SHA3-384'), offer('SHA3-512')],
    ...change,
  };
}

export interface SelectionChange {
  readonly client?: Partial<AlgorithmCapabilities>;
  readonly server?: Partial<AlgorithmCapabilities>;
  readonly clientConstraints?: NegotiationConstraints;
  readonly constraints?: NegotiationConstraints;
  readonly layers?: { readonly client: LayerNumber; readonly server: LayerNumber };
  readonly policy?: PolicyBody;
  readonly registry?: RegistryBody;
}

export function selection(change: SelectionChange = {}): SelectionInput {
  return {
    client: {
      capabilities: capabilities(change.client),
      constraints: change.clientConstraints ?? {},
    },
    server: { capabilities: capabilities(change.server), constraints: {} },
    constraints: change.constraints ?? {},
    layers: change.layers ?? { client: 4, server: 5 },
    policy: change.policy ?? policy,
    registry: change.registry ?? registry,
  };
}

/** The policy with other rules. */
export function policyWith(change: Partial<PolicyBody['policies']>): PolicyBody {
  return { ...policy, policies: { ...policy.policies, ...change } };
}

/** A policy that also takes hash-based signatures. */
export const slhAllowed = policyWith({
  allowed_algorithms: {
    ...policy.policies.allowed_algorithms,
    signature: ['ML-DSA-87', 'SLH-DSA-SHAKE-256s'],
  },
});

export function registryWith(
  kind: keyof RegistryBody['algorithms'],
  entries: readonly AlgorithmEntry[],
): RegistryBody {
  return { ...registry, algorithms: { ...registry.algorithms, [kind]: [...entries] } };
}

const layers: Readonly<Record<string, LayerNumber>> = { 'encryption-a': 4, 'database-a': 5 };

/** The parties are encryption-a and database-a; the operator's request is always as opened. */
export function rules(): NegotiationRules {
  const nonces = new NonceBook();
  return {
    documentsOf: ({ policyDigest }) =>
      policyDigest === digest('p') ? { policy, registry } : undefined,
    layerOf: (agentId) => layers[agentId],
    requestOf: () => ({
      hash: digest('r'),
      senderId: 'op-1',
      senderKind: 'operator',
      timeMs: 0,
      type: 'negotiation-requested',
      body: {
        negotiationId: 'n-1',
        client: 'encryption-a',
        server: 'database-a',
        constraints: {},
      },
    }),
    transcriptOf: (input) => negotiationTranscript(crypto, input),
    isNonceReused: (nonce, hash) => nonces.isReused(nonce, hash),
  };
}

/** 64 hexadecimal characters that differ by their letter. */
export function digest(letter: string): string {
  return Buffer.from(letter).toString('hex').padStart(64, '0');
}

const bytes = (count: number) => new Uint8Array(count);
const noDisclosure = {
  header: bytes(1),
  ciphertextHash: bytes(64),
  commitment: bytes(32),
  seal: bytes(4627),
  salt: bytes(32),
  body: bytes(1),
};

type Opened = Extract<NegotiationEvent, { type: 'negotiation-opened' }>;
const head = { timeMs: 1_000, policyDigest: digest('p'), registryDigest: digest('g') };

export const opened: Opened = {
  ...head,
  type: 'negotiation-opened',
  hash: digest('o'),
  senderId: 'orchestrator-a',
  senderKind: 'orchestrator',
  body: {
    negotiationId: 'n-1',
    request: digest('r'),
    evidence: noDisclosure,
    client: 'encryption-a',
    server: 'database-a',
    constraints: {},
  },
};

export function advertised(
  role: 'client' | 'server',
  change: Partial<AlgorithmAdvertisement> = {},
): Extract<NegotiationEvent, { type: 'algorithms-advertised' }> {
  return {
    ...head,
    type: 'algorithms-advertised',
    hash: digest(role),
    senderId: role === 'client' ? 'encryption-a' : 'database-a',
    senderKind: 'layer',
    body: {
      negotiationId: 'n-1',
      role,
      nonce: new Uint8Array(32).fill(role.length + (role === 'client' ? 1 : 2)),
      capabilities: capabilities(),
      constraints: {},
      ...change,
    },
  };
}

/** The same event under another hash, or by somebody else. */
export function altered<Event extends NegotiationEvent>(
  event: Event,
  change: Partial<Pick<NegotiationEvent, 'hash' | 'senderId' | 'senderKind'>>,
): Event {
  return { ...event, ...change };
}

export function confirmed(
  agentId: string,
  body: Extract<NegotiationEvent, { type: 'negotiation-confirmed' }>['body'],
): NegotiationEvent {
  const hash = digest(agentId === 'encryption-a' ? 'c' : 's');
  return {
    ...head,
    type: 'negotiation-confirmed',
    hash,
    senderId: agentId,
    senderKind: 'layer',
    body,
  };
}
