/**
 * Who carries out an algorithm. Providers register with what they can do, are tested before they are
 * taken (FIPS 140-3's conditional self-tests), and are then chosen by capability and policy.
 *
 * Nothing is ever silently weaker than what was asked for: only providers that the caller lists are
 * asked, in his order, and the answer names those that were passed over; another algorithm stands in
 * only where the registry calls it a fallback, the policy allows it by name, and the caller takes
 * fallbacks at all; and the answer says so. What the policy forbids is ORCH-8002, what nobody offers
 * is ORCH-8003.
 */
import { algorithmAllowed } from '#shared/core/policy.ts';
import type { AlgorithmKind, PolicyDocuments } from '#shared/core/policy.ts';
import { catalogued, isKnownAlgorithm } from './algorithm-catalogue.ts';
import type { KnownAlgorithm } from './algorithm-catalogue.ts';
import { invariant } from './errors.ts';
import type { CryptoProvider } from './provider.ts';
import { softwareSelfTest } from './self-test.ts';
import { tokenSelfTest } from './token-provider.ts';
import type { TokenProvider } from './token-provider.ts';

export type ProviderName = 'native' | 'noble' | 'token';

/**
 * What one does with an algorithm. `use` has the secret (sign, decapsulate, seal and open, digest,
 * mac), `check` the public half only (verify, encapsulate).
 */
export type Operation = 'use' | 'check';

export interface SoftwareProvider {
  readonly kind: 'software';
  readonly name: 'native' | 'noble';
  readonly crypto: CryptoProvider;
}

export type Provider = SoftwareProvider | TokenProvider;

export type Registration =
  | { readonly status: 'registered'; readonly algorithms: readonly KnownAlgorithm[] }
  | {
      readonly status: 'refused';
      readonly code: 'SELF_TEST_FAILED';
      readonly failed: readonly KnownAlgorithm[];
    };

export interface ProviderRequest {
  readonly algorithm: string;
  readonly operation: Operation;
  /** 1 to 7, or 8 for the mesh itself. */
  readonly layer: number;
  /** The providers that the caller takes, best first. Nobody else is asked. */
  readonly preference: readonly [ProviderName, ...ProviderName[]];
  /** Whether an algorithm that the registry calls a fallback may stand in. */
  readonly fallback: 'refused' | 'where-policy-allows';
}

export interface ChosenProvider {
  readonly status: 'chosen';
  readonly provider: Provider;
  readonly algorithm: KnownAlgorithm;
  /** What was asked for, where something else stands in. */
  readonly fallbackFor?: string;
  /** Providers that the caller would rather have had, and that do not offer this. */
  readonly passedOver: readonly ProviderName[];
}

export type ProviderChoice =
  | ChosenProvider
  | {
      readonly status: 'refused';
      readonly code: 'ORCH-8002' | 'ORCH-8003';
      readonly reason: string;
    };

/** SLH-DSA signatures take seconds, so a provider offers them only where it was asked to. */
export const usualAlgorithms: readonly KnownAlgorithm[] = [
  'ML-KEM-1024',
  'ML-KEM-768',
  'ML-DSA-87',
  'X25519MLKEM1024',
  'AES-256-GCM',
  'ChaCha20-Poly1305',
  'SHA3-256',
  'SHA3-384',
  'SHA3-512',
  'SHA-256',
  'BLAKE3',
  'HMAC-SHA3-384',
];

interface Offered {
  readonly provider: Provider;
  readonly algorithms: ReadonlySet<KnownAlgorithm>;
}

/** Both software providers have the same shape; this says which one `crypto` is. */
export function softwareProvider(crypto: CryptoProvider): SoftwareProvider {
  return { kind: 'software', name: crypto.name, crypto };
}

export class ProviderRegistry {
  readonly #offered = new Map<ProviderName, Offered>();

  /**
   * Tests `provider` in each of `algorithms` (of a token: in its own) and takes it, or refuses it
   * whole: a provider that fails one test is not trusted with the others. What was not tested is not
   * offered. Registering a name again replaces what stood there.
   */
  async register(
    provider: Provider,
    algorithms: readonly KnownAlgorithm[] = usualAlgorithms,
  ): Promise<Registration> {
    const tested = provider.kind === 'token' ? provider.algorithms : [...new Set(algorithms)];
    const failed: KnownAlgorithm[] = [];
    for (const algorithm of tested) {
      const holds =
        provider.kind === 'token'
          ? await tokenSelfTest(provider)
          : await softwareSelfTest(provider.crypto, algorithm);
      if (!holds) failed.push(algorithm);
    }
    if (failed.length > 0) {
      this.#offered.delete(provider.name);
      return { status: 'refused', code: 'SELF_TEST_FAILED', failed };
    }
    this.#offered.set(provider.name, { provider, algorithms: new Set(tested) });
    return { status: 'registered', algorithms: [...tested] };
  }

  /** Names of the providers that offer `algorithm`, in a fixed order. */
  offering(algorithm: KnownAlgorithm, operation: Operation): ProviderName[] {
    const order: readonly ProviderName[] = ['token', 'native', 'noble'];
    return order.filter((name) => this.#offers(name, algorithm, operation) !== undefined);
  }

  /** The provider for one algorithm under these documents. The same question has one answer. */
  providerFor(request: ProviderRequest, documents: PolicyDocuments): ProviderChoice {
    const { algorithm, layer } = request;
    const kind = catalogued(algorithm)?.kind;
    if (kind === undefined) return refused('ORCH-8003', `nobody here knows ${algorithm}`);
    const verdict = algorithmAllowed({ algorithm, kind, layer }, documents);
    if (!verdict.ok) return refused(policyCode(verdict.code), verdict.reason);
    const chosen = this.#firstOffering(request, algorithm);
    if (chosen !== undefined) return chosen;
    const nobody = `none of ${request.preference.join(', ')} offers ${algorithm}`;
    if (request.fallback === 'refused') return refused('ORCH-8003', nobody);
    return this.#fallback(request, kind, documents) ?? refused('ORCH-8003', nobody);
  }

  #fallback(
    request: ProviderRequest,
    kind: AlgorithmKind,
    documents: PolicyDocuments,
  ): ProviderChoice | undefined {
    const { algorithm: asked, layer } = request;
    const standIns = documents.registry.algorithms[kind].filter(
      ({ fallback_for: standsInFor }) => standsInFor === asked,
    );
    let denial: ProviderChoice | undefined;
    for (const { name } of standIns) {
      const verdict = algorithmAllowed({ algorithm: name, kind, layer }, documents);
      if (!verdict.ok) {
        denial ??= refused(policyCode(verdict.code), `as a fallback: ${verdict.reason}`);
        continue;
      }
      const chosen = this.#firstOffering(request, name);
      if (chosen !== undefined) return { ...chosen, fallbackFor: asked };
    }
    return denial;
  }

  #firstOffering(request: ProviderRequest, algorithm: string): ChosenProvider | undefined {
    if (!isKnownAlgorithm(algorithm)) return undefined;
    const passedOver: ProviderName[] = [];
    for (const name of request.preference) {
      const provider = this.#offers(name, algorithm, request.operation);
      if (provider !== undefined) return { status: 'chosen', provider, algorithm, passedOver };
      passedOver.push(name);
    }
    return undefined;
  }

  #offers(name: ProviderName, algorithm: KnownAlgorithm, operation: Operation) {
    const offered = this.#offered.get(name);
    if (offered === undefined || !offered.algorithms.has(algorithm)) return undefined;
    // A token signs with keys that never leave it; what needs no secret is not its business.
    if (offered.provider.kind === 'token' && operation === 'check') return undefined;
    return offered.provider;
  }
}

/** The functions of a chosen software provider. A token here is a mistake of the caller. */
export function cryptoOf({ provider }: ChosenProvider): CryptoProvider {
  invariant(provider.kind === 'software', 'a provider whose keys are in this process');
  return provider.crypto;
}

function policyCode(code: string): 'ORCH-8002' | 'ORCH-8003' {
  return code === 'ORCH-8003' ? 'ORCH-8003' : 'ORCH-8002';
}

function refused(code: 'ORCH-8002' | 'ORCH-8003', reason: string): ProviderChoice {
  return { status: 'refused', code, reason };
}
