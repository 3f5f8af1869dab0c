/**
 * Which implementation of the algorithms an agent runs on. The configuration lists those that it takes,
 * best first, and lists the native one alone unless told: a runtime that lacks it is refused, never
 * silently replaced by a slower or less guarded one. What is chosen has passed its self-tests in this
 * very process, and offers everything that the mesh's own protocol needs under the policy in force.
 */

import type { ProviderPreference } from '#schemas/config.ts';
import { meshLayer } from '#shared/core/policy.ts';
import { meshSuite } from '#shared/core/policy-faults.ts';
import {
  ProviderRegistry,
  softwareProvider,
  usualAlgorithms,
  type ProviderName,
} from '#shared/crypto/algorithms.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';

export type SoftwareName = 'native' | 'noble';

export const preferenceDefault: ProviderPreference = ['native'];

export interface TestedProvider {
  readonly crypto: CryptoProvider;
  readonly registry: ProviderRegistry;
  /** Those that were preferred and did not pass. */
  readonly passedOver: readonly SoftwareName[];
}

/** Undefined where none of the listed ones passed its self-tests. */
export async function testedProvider(
  preference: readonly SoftwareName[],
  make: (name: SoftwareName) => CryptoProvider = made,
): Promise<TestedProvider | undefined> {
  const registry = new ProviderRegistry();
  const passedOver: SoftwareName[] = [];
  for (const name of preference) {
    const crypto = make(name);
    const { status } = await registry.register(softwareProvider(crypto));
    if (status === 'registered') return { crypto, registry, passedOver };
    passedOver.push(name);
  }
  return undefined;
}

/** What of the mesh's suite this provider may not or cannot do under these documents. */
export function suiteFault(
  { registry, crypto }: TestedProvider,
  { policy, registry: documents }: Pick<TrustView, 'policy' | 'registry'>,
): { readonly code: 'ORCH-8002' | 'ORCH-8003'; readonly reason: string } | undefined {
  const preference: readonly [ProviderName] = [crypto.name];
  const tested: readonly string[] = usualAlgorithms;
  // Signatures of roots are verified only, and take seconds to test: see `usualAlgorithms`.
  for (const { algorithm } of meshSuite.filter((each) => tested.includes(each.algorithm))) {
    const request = { algorithm, operation: 'use', layer: meshLayer, preference } as const;
    const choice = registry.providerFor(
      { ...request, fallback: 'refused' },
      { policy, registry: documents },
    );
    if (choice.status === 'refused') return choice;
  }
  return undefined;
}

function made(name: SoftwareName): CryptoProvider {
  return name === 'native' ? createNativeProvider() : createNobleProvider();
}
