/**
 * Who carries out an algorithm: only what passed its self-tests, only what the caller listed, only
 * what the policy allows, and never anything weaker in silence.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PolicyBody } from '#schemas/policy.ts';
import { openFileToken } from '#shared/runtime/token/file-token.ts';
import type { PolicyDocuments } from '#shared/core/policy.ts';
import { catalogue } from '#shared/crypto/algorithm-catalogue.ts';
import type { KnownAlgorithm } from '#shared/crypto/algorithm-catalogue.ts';
import {
  ProviderRegistry,
  cryptoOf,
  softwareProvider,
  usualAlgorithms,
} from '#shared/crypto/algorithms.ts';
import type { ProviderName, ProviderRequest } from '#shared/crypto/algorithms.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { tokenProvider } from '#shared/crypto/token-provider.ts';
import type { TokenKeys } from '#shared/crypto/token-provider.ts';
import { policyOf, registryOf } from '../core/mesh.ts';

const native = createNativeProvider();
const noble = createNobleProvider();
const documents: PolicyDocuments = { policy: policyOf(), registry: registryOf() };
const kem: ProviderRequest = {
  algorithm: 'ML-KEM-1024',
  operation: 'use',
  layer: 4,
  preference: ['native', 'noble'],
  fallback: 'refused',
};
const signing: ProviderRequest = { ...kem, algorithm: 'ML-DSA-87', layer: 1 };

/** A software provider, of some algorithms only where a list follows it. */
type Registered = readonly [crypto: CryptoProvider, algorithms?: readonly KnownAlgorithm[]];

async function registryWith(...registrations: readonly Registered[]): Promise<ProviderRegistry> {
  const providers = new ProviderRegistry();
  for (const [crypto, algorithms] of registrations) {
    const registered = await providers.register(softwareProvider(crypto), algorithms);
    expect(registered.status).toBe('registered');
  }
  return providers;
}

function amended(change: (policies: PolicyBody['policies']) => void): PolicyDocuments {
  const policy = structuredClone(documents.policy);
  change(policy.policies);
  return { ...documents, policy };
}

const fallbackByName = amended(({ exceptions }) => {
  exceptions.push({ algorithm: 'ML-KEM-768', purpose: 'devices of the old kind', layers: [4] });
});

describe('self-tests at registration', () => {
  test.each([native, noble])('$name passes those of every usual algorithm', async (crypto) => {
    const providers = new ProviderRegistry();
    const registered = await providers.register(softwareProvider(crypto));
    expect(registered).toEqual({ status: 'registered', algorithms: usualAlgorithms });
  });

  test(
    'SLH-DSA is tested and offered where asked for by name only',
    { timeout: 60_000 },
    async () => {
      const providers = await registryWith([native, ['SLH-DSA-SHAKE-256s']]);
      expect(providers.offering('SLH-DSA-SHAKE-256s', 'use')).toEqual(['native']);
      expect(providers.offering('ML-DSA-87', 'use')).toEqual([]);
      expect([...usualAlgorithms, 'SLH-DSA-SHAKE-256s'].toSorted()).toEqual(
        Object.keys(catalogue).toSorted(),
      );
    },
  );

  const wrong = (bytes: Uint8Array) => bytes.with(0, (bytes[0] ?? 0) ^ 1);
  const faults: readonly (readonly [KnownAlgorithm, Partial<CryptoProvider>])[] = [
    ['ML-DSA-87', { sign: (key, input) => wrong(native.sign(key, input)) }],
    ['ML-DSA-87', { verify: () => true }],
    [
      'ML-DSA-87',
      { verify: (key, input) => native.verify(key, { ...input, context: utf8('any') }) },
    ],
    [
      'ML-DSA-87',
      { importSigningSeed: () => native.importSigningSeed(new Uint8Array(32).fill(1)) },
    ],
    [
      'ML-KEM-1024',
      { decapsulate: (key, ciphertext) => wrong(native.decapsulate(key, ciphertext)) },
    ],
    ['ML-KEM-768', { importKemSeed: (seed) => native.importKemSeed(seed) }],
    ['X25519MLKEM1024', { x25519: () => new Uint8Array(32) }],
    ['X25519MLKEM1024', { sha3_384: (message) => native.sha3_384(message.subarray(1)) }],
    ['AES-256-GCM', { aeadOpen: ({ ciphertext }) => ciphertext.subarray(0, -16) }],
    [
      'ChaCha20-Poly1305',
      { aeadSeal: (input) => native.aeadSeal({ ...input, aad: new Uint8Array(0) }) },
    ],
    ['SHA3-256', { sha3_256: (message) => native.sha256(message) }],
    ['SHA3-384', { sha3_384: (message) => native.sha3_512(message).subarray(0, 48) }],
    ['SHA3-512', { sha3_512: () => new Uint8Array(64) }],
    ['SHA-256', { sha256: (message) => native.blake3(message) }],
    ['BLAKE3', { blake3: (message) => native.sha256(message) }],
    ['HMAC-SHA3-384', { hmacSha3_384: (_key, message) => native.sha3_384(message) }],
    [
      'BLAKE3',
      {
        blake3: () => {
          throw new Error('no WebAssembly here');
        },
      },
    ],
  ];
  test.each(faults)('a provider with a broken %s is refused whole', async (algorithm, broken) => {
    const providers = await registryWith([native]);
    const faulty = softwareProvider({ ...native, ...broken });
    const registered = await providers.register(faulty);
    expect(registered).toMatchObject({ status: 'refused', code: 'SELF_TEST_FAILED' });
    expect(registered.status === 'refused' && registered.failed).toContain(algorithm);
    // What stood under the name before is gone as well: it is the same library.
    expect(providers.offering('SHA3-512', 'use')).toEqual([]);
  });
});

describe('choice by capability', () => {
  test('the first of the list that offers it, with those passed over named', async () => {
    const providers = await registryWith([native, ['ML-DSA-87']], [noble]);
    expect(providers.providerFor(kem, documents)).toMatchObject({
      status: 'chosen',
      algorithm: 'ML-KEM-1024',
      provider: { name: 'noble' },
      passedOver: ['native'],
    });
    const choice = providers.providerFor(signing, documents);
    expect(choice).toMatchObject({ provider: { name: 'native' }, passedOver: [] });
    expect(choice.status === 'chosen' && cryptoOf(choice)).toBe(native);
  });

  test('nobody beside the list is asked, and what nobody there offers is ORCH-8003', async () => {
    const providers = await registryWith([native, ['ML-DSA-87']], [noble]);
    const choice = providers.providerFor({ ...kem, preference: ['native'] }, documents);
    expect(choice).toMatchObject({ status: 'refused', code: 'ORCH-8003' });
    const unknown = providers.providerFor({ ...kem, algorithm: 'Falcon-1024' }, documents);
    expect(unknown).toMatchObject({ status: 'refused', code: 'ORCH-8003' });
    // Known to the code, but not to the mesh.
    const registry = structuredClone(documents.registry);
    registry.algorithms.kem = [];
    const foreign = providers.providerFor(
      { ...kem, preference: ['noble'] },
      { ...documents, registry },
    );
    expect(foreign).toMatchObject({ status: 'refused', code: 'ORCH-8003' });
  });

  test('one question has one answer, whatever the order of registration', async () => {
    const [forth, back] = await Promise.all([
      registryWith([native], [noble]),
      registryWith([noble], [native]),
    ]);
    const orders: [ProviderName, ...ProviderName[]][] = [
      ['native', 'noble'],
      ['noble', 'native'],
      ['token', 'noble'],
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...usualAlgorithms),
        fc.constantFrom(...orders),
        fc.integer({ min: 1, max: 8 }),
        (algorithm, preference, layer) => {
          const request = { ...kem, algorithm, preference, layer };
          const summary = (providers: ProviderRegistry) => {
            const choice = providers.providerFor(request, documents);
            return choice.status === 'chosen'
              ? [choice.provider.name, choice.algorithm, choice.passedOver]
              : choice;
          };
          expect(summary(forth)).toEqual(summary(back));
          expect(summary(forth)).toEqual(summary(forth));
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('choice by policy', () => {
  test('what the policy forbids is ORCH-8002, whoever offers it', async () => {
    const providers = await registryWith([native], [noble]);
    const prohibited = amended((policies) => policies.prohibited_algorithms.push('ML-KEM-1024'));
    expect(providers.providerFor(kem, prohibited)).toMatchObject({ code: 'ORCH-8002' });
    const weak = { ...kem, algorithm: 'ML-KEM-768' };
    expect(providers.providerFor(weak, documents)).toMatchObject({ code: 'ORCH-8002' });
    // An exception holds on the layers that it names.
    expect(providers.providerFor(weak, fallbackByName)).toMatchObject({ algorithm: 'ML-KEM-768' });
    const elsewhere = providers.providerFor({ ...weak, layer: 5 }, fallbackByName);
    expect(elsewhere).toMatchObject({ code: 'ORCH-8002' });
  });

  test('no fallback stands in for what the policy forbids', async () => {
    const providers = await registryWith([native]);
    const both = amended(({ prohibited_algorithms, exceptions }) => {
      prohibited_algorithms.push('ML-KEM-1024');
      exceptions.push({ algorithm: 'ML-KEM-768', purpose: 'old devices', layers: [4] });
    });
    const request = { ...kem, fallback: 'where-policy-allows' } as const;
    expect(providers.providerFor(request, both)).toMatchObject({ code: 'ORCH-8002' });
  });
});

describe('fallback from ML-KEM-1024 to ML-KEM-768', () => {
  const asking = { ...kem, fallback: 'where-policy-allows' } as const;

  test('stands in by name of the policy only, and says so', async () => {
    const providers = await registryWith([native, ['ML-KEM-768']]);
    expect(providers.providerFor(asking, fallbackByName)).toMatchObject({
      status: 'chosen',
      algorithm: 'ML-KEM-768',
      fallbackFor: 'ML-KEM-1024',
      provider: { name: 'native' },
    });
    const denied = providers.providerFor(asking, documents);
    expect(denied).toMatchObject({ status: 'refused', code: 'ORCH-8002' });
  });

  test('does not where the caller takes none, or somebody offers what was asked', async () => {
    const weak = await registryWith([native, ['ML-KEM-768']]);
    expect(weak.providerFor(kem, fallbackByName)).toMatchObject({ code: 'ORCH-8003' });
    const strong = await registryWith([native, ['ML-KEM-768']], [noble]);
    const choice = strong.providerFor(asking, fallbackByName);
    expect(choice).toMatchObject({ algorithm: 'ML-KEM-1024', provider: { name: 'noble' } });
    expect(choice).not.toHaveProperty('fallbackFor');
  });

  test('does not where the registry does not call it one', async () => {
    const providers = await registryWith([native, ['ML-KEM-768']]);
    const registry = structuredClone(documents.registry);
    for (const entry of registry.algorithms.kem) delete entry.fallback_for;
    const choice = providers.providerFor(asking, { ...fallbackByName, registry });
    expect(choice).toMatchObject({ code: 'ORCH-8003' });
  });
});

describe('a token', () => {
  /** A token as far as signing goes, with a key in memory. */
  function softToken(change: Partial<TokenKeys> = {}): TokenKeys {
    const key = native.importSigningSeed(new Uint8Array(32).fill(9));
    return {
      publicKey: async () => await Promise.resolve(key.publicKey.raw),
      sign: async (_keyName, message, context) =>
        await Promise.resolve(native.sign(key, { message, context })),
      ...change,
    };
  }
  const options = { testKeyName: 'self-test', judge: native };

  test('of the signer signs by name of the key, and only signs', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gyre-algorithms-'));
    const token = await openFileToken({ label: 'test', directory, pin: () => Buffer.from('1234') });
    try {
      await token.generateKey('self-test');
      const providers = await registryWith([native]);
      const provider = tokenProvider(token, options);
      expect(await providers.register(provider)).toMatchObject({ algorithms: ['ML-DSA-87'] });
      const preference = ['token', 'native'] as const;
      const choice = providers.providerFor({ ...signing, preference }, documents);
      expect(choice).toMatchObject({ provider: { name: 'token' }, passedOver: [] });
      const check = { ...signing, preference, operation: 'check' } as const;
      expect(providers.providerFor(check, documents)).toMatchObject({
        provider: { name: 'native' },
        passedOver: ['token'],
      });
      expect(providers.offering('ML-DSA-87', 'use')).toEqual(['token', 'native']);
      expect(choice.status === 'chosen' && (() => cryptoOf(choice))).toThrow('invariant');

      const input = { message: utf8('m'), context: utf8('c') };
      const signature = await provider.sign('self-test', input);
      const key = native.importVerifyKey(await provider.publicKey('self-test'));
      expect(native.verify(key, { ...input, signature })).toBe(true);
    } finally {
      await token.close();
      await rm(directory, { recursive: true });
    }
  });

  const key = native.importSigningSeed(new Uint8Array(32).fill(9));
  const broken: readonly (readonly [string, Partial<TokenKeys>])[] = [
    [
      'drops the context',
      {
        sign: async (_keyName, message) =>
          await Promise.resolve(native.sign(key, { message, context: new Uint8Array(0) })),
      },
    ],
    ['signs rubbish', { sign: async () => await Promise.resolve(new Uint8Array(4627)) }],
    ['has another key', { publicKey: async () => await Promise.resolve(new Uint8Array(2592)) }],
    ['answers with SPKI', { publicKey: async () => await Promise.resolve(new Uint8Array(2614)) }],
  ];
  test.each(broken)('that %s is refused', async (_name, change) => {
    const providers = new ProviderRegistry();
    const registered = await providers.register(tokenProvider(softToken(change), options));
    expect(registered).toMatchObject({ status: 'refused', failed: ['ML-DSA-87'] });
    const preference = ['token'] as const;
    const choice = providers.providerFor({ ...signing, preference }, documents);
    expect(choice).toMatchObject({ code: 'ORCH-8003' });
  });

  test('whose faults are its own throws them on', async () => {
    const providers = new ProviderRegistry();
    const gone = softToken({ sign: async () => await Promise.reject(new Error('unplugged')) });
    await expect(providers.register(tokenProvider(gone, options))).rejects.toThrow('unplugged');
  });
});
