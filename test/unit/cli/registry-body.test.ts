/**
 * The registry that a mesh is made with: the specification's algorithms with the sizes that the
 * providers really produce, the strength of each primitive on its own, and a measured figure for all.
 */
import { describe, expect, test } from 'vitest';
import { RegistryBody } from '#schemas/registry.ts';
import type { AlgorithmEntry } from '#schemas/registry.ts';
import { compile } from '#schemas/primitives.ts';
import { measureAlgorithms } from '#cli/mesh/measurements.ts';
import { medianMs, timedMs } from '#cli/mesh/performance.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import { catalogue } from '#shared/crypto/algorithm-catalogue.ts';
import { hybridEncapsulate, hybridPublicKey } from '#shared/crypto/hybrid-kem.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';

const validity = { issuedAt: '2026-01-01T00:00:00.000Z', expiresAt: '2026-04-01T00:00:00.000Z' };
const measured = await measureAlgorithms();
const body = registryBody('test', validity, measured);
const entries = new Map(
  Object.values(body.algorithms)
    .flat()
    .map((entry) => [entry.name, entry] as const),
);

function entryOf(name: string): AlgorithmEntry {
  const entry = entries.get(name);
  if (entry === undefined) throw new Error(`the registry has no ${name}`);
  return entry;
}

test('is a registry, of everything that the code knows and nothing else', () => {
  expect(compile(RegistryBody).errors(body)).toEqual([]);
  expect([...entries.keys()].toSorted()).toEqual(Object.keys(catalogue).toSorted());
  for (const [kind, list] of Object.entries(body.algorithms)) {
    for (const { name } of list) expect(catalogue).toHaveProperty([name, 'kind'], kind);
  }
});

test('says of each what the specification says, with the real sizes', () => {
  expect(entryOf('ML-KEM-1024')).toMatchObject({ status: 'active', layers: [3, 4, 8] });
  expect(entryOf('ML-KEM-768')).toMatchObject({
    status: 'supported',
    layers: [],
    fallback_for: 'ML-KEM-1024',
  });
  expect(entryOf('ML-DSA-87').layers).toEqual(expect.arrayContaining([1, 2, 5, 6, 7, 8]));
  expect(entryOf('SLH-DSA-SHAKE-256s').use_case).toBe('long_term_signatures');
  expect(entryOf('X25519MLKEM1024')).toMatchObject({
    components: ['X25519', 'ML-KEM-1024'],
    combiner: 'SHA3-384',
  });
});

describe('sizes are those of what the provider makes', () => {
  const crypto = createNativeProvider();
  const input = { message: new Uint8Array(1), context: new Uint8Array(0) };

  test('signatures', () => {
    const key = crypto.importSigningSeed(crypto.randomBytes(32));
    expect(entryOf('ML-DSA-87').key_sizes).toEqual({
      public_key: key.publicKey.raw.length,
      secret_key: 4896,
      signature: crypto.sign(key, input).length,
    });
    const { secretKey, publicKey } = crypto.generateSlhDsaKey();
    expect(entryOf('SLH-DSA-SHAKE-256s').key_sizes).toEqual({
      public_key: publicKey.length,
      secret_key: secretKey.length,
      signature: 29_792,
    });
  });

  test('key exchange', () => {
    for (const name of ['ML-KEM-1024', 'ML-KEM-768'] as const) {
      const { publicKey } = crypto.importKemSeed(crypto.randomBytes(64), name);
      const { ciphertext, sharedSecret } = crypto.encapsulate(publicKey);
      expect(entryOf(name).key_sizes).toMatchObject({
        public_key: publicKey.raw.length,
        ciphertext: ciphertext.length,
        shared_secret: sharedSecret.length,
      });
    }
    const publicKey = hybridPublicKey(crypto, crypto.randomBytes(96));
    const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, publicKey);
    expect(entryOf('X25519MLKEM1024').key_sizes).toMatchObject({
      public_key: publicKey.length,
      ciphertext: ciphertext.length,
      shared_secret: sharedSecret.length,
    });
  });

  test('symmetric algorithms, hashes and the MAC', () => {
    for (const algorithm of ['AES-256-GCM', 'ChaCha20-Poly1305'] as const) {
      const { secret_key = 0, nonce = 0, tag = 0 } = entryOf(algorithm).key_sizes ?? {};
      const plaintext = new Uint8Array(5);
      const parameters = { algorithm, key: new Uint8Array(secret_key), aad: plaintext };
      const sealed = crypto.aeadSeal({ ...parameters, nonce: new Uint8Array(nonce), plaintext });
      expect(sealed).toHaveLength(plaintext.length + tag);
    }
    const digests: readonly (readonly [string, Uint8Array])[] = [
      ['SHA3-256', crypto.sha3_256(input.message)],
      ['SHA3-384', crypto.sha3_384(input.message)],
      ['SHA3-512', crypto.sha3_512(input.message)],
      ['SHA-256', crypto.sha256(input.message)],
      ['BLAKE3', crypto.blake3(input.message)],
    ];
    for (const [name, digest] of digests) {
      expect(entryOf(name).key_sizes).toEqual({ digest: digest.length });
    }
    const tag = crypto.hmacSha3_384(new Uint8Array(48), input.message).length;
    expect(entryOf('HMAC-SHA3-384').key_sizes).toEqual({ secret_key: 48, tag });
  });
});

test('each primitive states its own strength, and none claims 256 bits against quantum key search', () => {
  for (const name of ['ML-KEM-1024', 'ML-DSA-87', 'SLH-DSA-SHAKE-256s', 'X25519MLKEM1024']) {
    const stated = { security_level: 5, classical_bits: 256, quantum_bits: 128 };
    expect(entryOf(name)).toMatchObject(stated);
  }
  const weaker = { security_level: 3, classical_bits: 192, quantum_bits: 96 };
  expect(entryOf('ML-KEM-768')).toMatchObject(weaker);
  for (const name of ['SHA3-256', 'SHA-256', 'BLAKE3']) {
    const collisions = { security_level: 2, classical_bits: 128, quantum_bits: 128 };
    expect(entryOf(name)).toMatchObject(collisions);
  }
});

test('every algorithm carries figures measured here, all of its operations', () => {
  const operations: Readonly<Record<string, readonly string[]>> = {
    kem: ['keygen_ms', 'encaps_ms', 'decaps_ms'],
    hybrid: ['keygen_ms', 'encaps_ms', 'decaps_ms'],
    signature: ['keygen_ms', 'sign_ms', 'verify_ms'],
    symmetric: ['seal_ms', 'open_ms'],
    hash: ['digest_ms'],
    mac: ['mac_ms'],
  };
  for (const [kind, list] of Object.entries(body.algorithms)) {
    for (const { performance = {} } of list) {
      expect(Object.keys(performance)).toEqual(operations[kind]);
      for (const ms of Object.values(performance)) expect(ms).toBeGreaterThan(0);
    }
  }
  // Nothing is typed in: what was not measured has no figure.
  const unmeasured = registryBody('test', validity, {});
  for (const entry of Object.values(unmeasured.algorithms).flat()) {
    expect(entry).not.toHaveProperty('performance');
  }
});

test('measuring is bounded: a hundred runs to warm up at the most, and nine that count', async () => {
  let runs = 0;
  medianMs(() => {
    runs += 1;
  });
  // One at the least to warm up: a slow machine stops there.
  expect(runs).toBeGreaterThanOrEqual(10);
  expect(runs).toBeLessThanOrEqual(109);
  const { result, ms } = await timedMs(async () => await Promise.resolve(7));
  expect([result, ms >= 0]).toEqual([7, true]);
});
