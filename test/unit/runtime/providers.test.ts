/** Which provider an agent runs on: tested, listed, allowed; never one that nobody listed. */
import { describe, expect, test } from 'vitest';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { suiteFault, testedProvider } from '#shared/runtime/providers.ts';
import { developmentTimes, policyBody } from '#cli/mesh/policy-body.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';

/** A runtime whose ML-DSA verifies everything. */
const broken: CryptoProvider = { ...createNativeProvider(), verify: () => true };
const make = (name: 'native' | 'noble'): CryptoProvider =>
  name === 'native' ? broken : createNobleProvider();

const validity = { issuedAt: '2026-01-01T00:00:00.000Z', expiresAt: '2027-01-01T00:00:00.000Z' };
const policy = policyBody('test', validity, developmentTimes);
const registry = registryBody('test', validity, {});

describe('a provider that fails its self-tests', () => {
  test('is refused where nothing else is listed', async () => {
    expect(await testedProvider(['native'], make)).toBeUndefined();
  });

  test('is passed over, and named, where another one is listed', async () => {
    const found = await testedProvider(['native', 'noble'], make);
    expect(found?.crypto.name).toBe('noble');
    expect(found?.passedOver).toEqual(['native']);
  });
});

describe('the suite of the mesh', () => {
  test('is offered by both providers under the policy that gyre installs', async () => {
    for (const name of ['native', 'noble'] as const) {
      const found = await testedProvider([name]);
      expect(found && suiteFault(found, { policy, registry })).toBeUndefined();
    }
  });

  test('is not, where the policy forbids a part of it or the registry lacks one', async () => {
    const found = await testedProvider(['native']);
    if (found === undefined) throw new Error('the native provider is there');
    const forbidding = structuredClone(policy);
    forbidding.policies.prohibited_algorithms.push('ChaCha20-Poly1305');
    expect(suiteFault(found, { policy: forbidding, registry })).toMatchObject({
      code: 'ORCH-8002',
    });
    const lacking = structuredClone(registry);
    lacking.algorithms.signature = [];
    expect(suiteFault(found, { policy, registry: lacking })).toMatchObject({ code: 'ORCH-8003' });
  });
});
