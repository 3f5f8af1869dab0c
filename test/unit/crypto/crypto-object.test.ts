/**
 * Versioned cryptographic objects: every claim is checked against the algorithm, the provider is
 * chosen by the object's algorithm under the policy, and a successor takes over where it is allowed.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { cryptoObjectCheck, cryptoObjectTypes } from '#schemas/crypto-object.ts';
import type { CryptoObject, CryptoObjectType } from '#schemas/crypto-object.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { catalogue } from '#shared/crypto/algorithm-catalogue.ts';
import type { KnownAlgorithm } from '#shared/crypto/algorithm-catalogue.ts';
import { ProviderRegistry, softwareProvider, usualAlgorithms } from '#shared/crypto/algorithms.ts';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import {
  createCryptoObject,
  parseCryptoObject,
  verifyCryptoObject,
} from '#shared/crypto/crypto-object.ts';
import type { ObjectContent, VerifyRequest } from '#shared/crypto/crypto-object.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { nowMs, policyOf, registryOf } from '../core/mesh.ts';

const native = createNativeProvider();
const input = { message: utf8('a record'), context: utf8('gyre/v1/record') };
const signer = native.importSigningSeed(new Uint8Array(32).fill(4));
const slhKey = native.generateSlhDsaKey();
const slhSigner = native.importSlhDsaSecret(slhKey.secretKey);
const providers = new ProviderRegistry();
let slhSignature = new Uint8Array(0);

beforeAll(async () => {
  await providers.register(softwareProvider(native), [...usualAlgorithms, 'SLH-DSA-SHAKE-256s']);
  await providers.register(softwareProvider(createNobleProvider()), ['ML-DSA-87']);
  slhSignature = Uint8Array.from(await native.signSlhDsaAsync(slhSigner, input));
});

const content = (
  type: CryptoObjectType,
  algorithm: KnownAlgorithm,
  bytes: number,
): ObjectContent => ({
  type,
  algorithm,
  value: new Uint8Array(bytes).fill(7),
  keyIdHex: 'ab'.repeat(32),
  createdAtMs: nowMs,
  isBackwardCompatible: true,
});

function signed(change: Partial<ObjectContent> = {}): CryptoObject {
  return createCryptoObject({
    ...content('signature', 'ML-DSA-87', 4627),
    value: native.sign(signer, input),
    keyIdHex: signer.publicKey.keyIdHex,
    successor: 'SLH-DSA-SHAKE-256s',
    ...change,
  });
}

function request(change: Partial<VerifyRequest> = {}): VerifyRequest {
  return {
    input,
    keys: (keyIdHex) =>
      [signer.publicKey, slhSigner.publicKey].find((key) => key.keyIdHex === keyIdHex),
    providers,
    preference: ['native', 'noble'],
    documents: { policy: policyOf(), registry: registryOf() },
    layer: 8,
    ...change,
  };
}

function under(change: (policies: PolicyBody['policies']) => void): VerifyRequest {
  const policy = structuredClone(policyOf());
  change(policy.policies);
  return request({ documents: { policy, registry: registryOf() } });
}

describe('what is made is read again', () => {
  const examples: readonly (readonly [CryptoObjectType, KnownAlgorithm, number])[] = [
    ['signature', 'ML-DSA-87', 4627],
    ['signature', 'SLH-DSA-SHAKE-256s', 29_792],
    ['ciphertext', 'ML-KEM-1024', 1568],
    ['ciphertext', 'ML-KEM-768', 1088],
    ['ciphertext', 'X25519MLKEM1024', 1600],
    ['ciphertext', 'AES-256-GCM', 28],
    ['ciphertext', 'ChaCha20-Poly1305', 65_536],
    ['public_key', 'ML-DSA-87', 2592],
    ['public_key', 'SLH-DSA-SHAKE-256s', 64],
    ['public_key', 'ML-KEM-1024', 1568],
    ['public_key', 'X25519MLKEM1024', 1600],
    ['wrapped_key', 'AES-256-GCM', 12 + 32 + 16],
    ['wrapped_key', 'ChaCha20-Poly1305', 12 + 4896 + 16],
  ];
  test.each(examples)('%s of %s', (type, algorithm, bytes) => {
    const made = content(type, algorithm, bytes);
    const object = createCryptoObject(made);
    expect(object).toMatchObject({ object_type: type, version: '2.0', algorithm_version: '1.0' });
    expect(object).toHaveProperty(type);
    const received: unknown = JSON.parse(JSON.stringify(object));
    expect(parseCryptoObject(received)).toEqual({ status: 'ok', ...made });
    // One byte more or less fits no algorithm of fixed size.
    const isFixed = catalogue[algorithm].kind !== 'symmetric';
    for (const wrong of [bytes - 1, bytes + 1]) {
      const short = { ...made, value: new Uint8Array(wrong) };
      if (isFixed) expect(() => createCryptoObject(short)).toThrow('invariant');
    }
  });

  test('and nothing is made that no algorithm makes', () => {
    const never: readonly (readonly [CryptoObjectType, KnownAlgorithm])[] = [
      ['signature', 'ML-KEM-1024'],
      ['ciphertext', 'ML-DSA-87'],
      ['public_key', 'AES-256-GCM'],
      ['wrapped_key', 'ML-KEM-1024'],
      ['signature', 'SHA3-256'],
      ['ciphertext', 'HMAC-SHA3-384'],
    ];
    for (const [type, algorithm] of never) {
      expect(() => createCryptoObject(content(type, algorithm, 60))).toThrow('invariant');
    }
    for (const bytes of [27, 65_537]) {
      expect(() => createCryptoObject(content('ciphertext', 'AES-256-GCM', bytes))).toThrow(
        'invariant',
      );
    }
    for (const bytes of [28 + 15, 28 + 4897]) {
      expect(() => createCryptoObject(content('wrapped_key', 'AES-256-GCM', bytes))).toThrow(
        'invariant',
      );
    }
  });
});

describe('what comes from outside', () => {
  const object = (): CryptoObject => createCryptoObject(content('public_key', 'ML-DSA-87', 2592));
  const metadata = (change: object) => ({ metadata: { ...object().metadata, ...change } });
  const parameters = (change: object) => {
    const { algorithm_parameters } = object().metadata;
    return metadata({ algorithm_parameters: { ...algorithm_parameters, ...change } });
  };
  const changes: readonly (readonly [string, object])[] = [
    ['OBJECT_VERSION_UNKNOWN', { version: '2.1' }],
    ['OBJECT_VERSION_UNKNOWN', { version: '1.0' }],
    ['OBJECT_MALFORMED', { version: 'two' }],
    ['ALGORITHM_UNKNOWN', { algorithm: 'RSA-2048' }],
    ['ALGORITHM_UNKNOWN', { algorithm: 'toString' }],
    ['ALGORITHM_VERSION_UNKNOWN', { algorithm_version: '1.1' }],
    ['PARAMETERS_MISMATCH', parameters({ security_level: 3 })],
    ['PARAMETERS_MISMATCH', parameters({ parameter_set: 'ML-DSA-65' })],
    // The size of one algorithm under the name of another.
    ['PARAMETERS_MISMATCH', { algorithm: 'ML-KEM-1024' }],
    ['SIZE_MISMATCH', { public_key: 'AAAA' }],
    ['OBJECT_MALFORMED', { public_key: '' }],
    ['OBJECT_MALFORMED', { public_key: 'AAAA=' }],
    ['OBJECT_MALFORMED', { public_key: 'AB' }],
    ['OBJECT_MALFORMED', { public_key: 'A'.repeat(100_000) }],
    ['OBJECT_MALFORMED', { object_type: 'signature' }],
    ['OBJECT_MALFORMED', { object_type: 'secret_key' }],
    ['OBJECT_MALFORMED', { extra: 1 }],
    ['OBJECT_MALFORMED', { backward_compatible: 'yes' }],
    ['OBJECT_MALFORMED', metadata({ key_id: 'short' })],
    ['OBJECT_MALFORMED', metadata({ created_at: '2026-13-41T25:61:61.000Z' })],
  ];
  test.each(changes)('is refused as %s: %o', (code, change) => {
    expect(parseCryptoObject(object())).toMatchObject({ status: 'ok' });
    expect(parseCryptoObject({ ...object(), ...change })).toMatchObject({
      status: 'refused',
      code,
    });
  });

  test('is refused as TYPE_MISMATCH where the algorithm makes nothing of the type', () => {
    const { ciphertext: _value, ...rest } = {
      ciphertext: '',
      ...createCryptoObject(content('ciphertext', 'ML-KEM-1024', 1568)),
    };
    const wrapped = { ...rest, object_type: 'wrapped_key', wrapped_key: 'A'.repeat(2091) };
    expect(parseCryptoObject(wrapped)).toMatchObject({ code: 'TYPE_MISMATCH' });
  });

  test('never makes the reader throw', () => {
    fc.assert(
      fc.property(fc.anything(), fc.constantFrom(...cryptoObjectTypes), (value, type) => {
        const verdicts = [
          parseCryptoObject(value),
          parseCryptoObject({ ...object(), object_type: type, [type]: value }),
          parseCryptoObject({ ...object(), metadata: value }),
        ];
        for (const verdict of verdicts) expect(verdict.status).toBe('refused');
      }),
      { numRuns: 200 },
    );
    expect(cryptoObjectCheck.check(object())).toBe(true);
  });
});

describe('verification', () => {
  test('by the provider that the algorithm, the policy and the list lead to', () => {
    expect(verifyCryptoObject(signed(), request())).toEqual({
      status: 'ok',
      algorithm: 'ML-DSA-87',
      provider: 'native',
      successor: 'SLH-DSA-SHAKE-256s',
    });
    const portable = request({ preference: ['noble'] });
    expect(verifyCryptoObject(signed(), portable)).toMatchObject({ provider: 'noble' });
    const nobody = request({ preference: ['token'] });
    expect(verifyCryptoObject(signed(), nobody)).toMatchObject({ code: 'ORCH-8003' });
  });

  test('fails on another message, another context, another signature', () => {
    const invalid = { status: 'refused', code: 'SIGNATURE_INVALID' };
    for (const change of [{ message: utf8('another') }, { context: utf8('gyre/v1/other') }]) {
      const other = request({ input: { ...input, ...change } });
      expect(verifyCryptoObject(signed(), other)).toMatchObject(invalid);
    }
    const forged = signed({ value: new Uint8Array(4627) });
    expect(verifyCryptoObject(forged, request())).toMatchObject(invalid);
  });

  test('needs the key, of the right algorithm and id', () => {
    const unknown = signed({ keyIdHex: 'cd'.repeat(32) });
    expect(verifyCryptoObject(unknown, request())).toMatchObject({ code: 'KEY_UNKNOWN' });
    const mismatch = { status: 'refused', code: 'KEY_MISMATCH' };
    const { raw, algorithm } = signer.publicKey;
    const wrong = [
      { algorithm: 'SLH-DSA-SHAKE-256s', raw },
      { algorithm, raw: raw.subarray(1) },
      { algorithm, raw: raw.with(0, (raw[0] ?? 0) ^ 1) },
    ];
    for (const key of wrong) {
      expect(verifyCryptoObject(signed(), request({ keys: () => key }))).toMatchObject(mismatch);
    }
    // A key id that matches bytes that are no key.
    const stub = new Uint8Array(5);
    const forged = signed({ keyIdHex: toHex(native.sha3_256(stub)) });
    const keys = () => ({ algorithm, raw: stub });
    expect(verifyCryptoObject(forged, request({ keys }))).toMatchObject({
      code: 'SIGNATURE_INVALID',
    });
  });

  test('takes signatures only, and reads what it verifies', () => {
    const key = createCryptoObject(content('public_key', 'ML-DSA-87', 2592));
    expect(verifyCryptoObject(key, request())).toMatchObject({ code: 'TYPE_MISMATCH' });
    expect(verifyCryptoObject(null, request())).toMatchObject({ code: 'OBJECT_MALFORMED' });
  });
});

describe('an algorithm on its way out', () => {
  const prohibited = () => under((policies) => policies.prohibited_algorithms.push('ML-DSA-87'));
  const successor = (): CryptoObject =>
    signed({
      algorithm: 'SLH-DSA-SHAKE-256s',
      value: slhSignature,
      keyIdHex: slhSigner.publicKey.keyIdHex,
      isBackwardCompatible: false,
    });

  test('under a prohibited algorithm nothing verifies, and the refusal names the successor', () => {
    const verdict = verifyCryptoObject(signed(), prohibited());
    expect(verdict).toMatchObject({ status: 'refused', code: 'ORCH-8002' });
    expect(verdict.status === 'refused' && verdict.reason).toContain('SLH-DSA-SHAKE-256s');
  });

  test('its successor verifies under both policies, by its own algorithm', () => {
    for (const one of [request(), prohibited()]) {
      expect(verifyCryptoObject(successor(), one)).toMatchObject({
        status: 'ok',
        algorithm: 'SLH-DSA-SHAKE-256s',
      });
    }
    // The exception of the installed policy is for the mesh itself: not for layer 1.
    const elsewhere = request({ layer: 1 });
    expect(verifyCryptoObject(successor(), elsewhere)).toMatchObject({ code: 'ORCH-8002' });
  });

  test('a signature does not pass under the name of the other', () => {
    const renamed = { ...signed(), algorithm: 'SLH-DSA-SHAKE-256s' };
    const verdict = verifyCryptoObject(renamed, request());
    expect(verdict).toMatchObject({ status: 'refused', code: 'PARAMETERS_MISMATCH' });
  });
});
