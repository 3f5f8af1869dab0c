/**
 * How fast each algorithm is on this machine: the registry's `performance` figures are measured when
 * a mesh is made and never typed in. Medians of a few runs; SLH-DSA-SHAKE-256s signs once, in the
 * thread pool, because one signature takes longer than everything else here together; that figure is
 * kept for the machine for a while.
 */
import { generateKeyPairSync } from 'node:crypto';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { slhDsaPerformance } from './slh-dsa-measurement.ts';

/** Milliseconds by operation: `keygen_ms`, `sign_ms` … */
export type Performance = Readonly<Record<string, number>>;
/** By the registry's names of the algorithms. */
export type Measurements = Readonly<Record<string, Performance>>;

const runs = 9;
const message = new Uint8Array(512);
const context = new Uint8Array(0);

/** Takes about 1.5 seconds, most of it in the thread pool, and a tenth of that the next time. */
export async function measureAlgorithms(): Promise<Measurements> {
  const provider = createNativeProvider();
  const quick = {
    'ML-KEM-1024': measureKem(provider),
    'ML-KEM-768': { keygen_ms: median(() => generateKeyPairSync('ml-kem-768')) },
    'ML-DSA-87': measureSignature(provider),
    X25519MLKEM1024: { keygen_ms: median(() => hybridKeygen()) },
    ...measureSymmetric(provider),
  };
  return { ...quick, 'SLH-DSA-SHAKE-256s': await slhDsaPerformance() };
}

function measureKem(provider: CryptoProvider): Performance {
  const secret = provider.importKemSeed(provider.randomBytes(64));
  const { ciphertext } = provider.encapsulate(secret.publicKey);
  return {
    keygen_ms: median(() => generateKeyPairSync('ml-kem-1024')),
    encaps_ms: median(() => provider.encapsulate(secret.publicKey)),
    decaps_ms: median(() => provider.decapsulate(secret, ciphertext)),
  };
}

function measureSignature(provider: CryptoProvider): Performance {
  const key = provider.importSigningSeed(provider.randomBytes(32));
  const signature = provider.sign(key, { message, context });
  return {
    keygen_ms: median(() => generateKeyPairSync('ml-dsa-87')),
    sign_ms: median(() => provider.sign(key, { message, context })),
    verify_ms: median(() => provider.verify(key.publicKey, { message, context, signature })),
  };
}

function measureSymmetric(provider: CryptoProvider): Measurements {
  const key = provider.randomBytes(32);
  const seal = (algorithm: 'AES-256-GCM' | 'ChaCha20-Poly1305'): Performance => ({
    seal_ms: median(() =>
      provider.aeadSeal({
        algorithm,
        key,
        nonce: provider.randomBytes(12),
        aad: context,
        plaintext: message,
      }),
    ),
  });
  const hash = (digest: (input: Uint8Array) => Uint8Array): Performance => ({
    digest_ms: median(() => digest(message)),
  });
  return {
    'AES-256-GCM': seal('AES-256-GCM'),
    'ChaCha20-Poly1305': seal('ChaCha20-Poly1305'),
    'SHA3-256': hash((input) => provider.sha3_256(input)),
    'SHA3-384': hash((input) => provider.sha3_384(input)),
    'SHA3-512': hash((input) => provider.sha3_512(input)),
    'SHA-256': hash((input) => provider.sha256(input)),
    BLAKE3: hash((input) => provider.blake3(input)),
    'HMAC-SHA3-384': { mac_ms: median(() => provider.hmacSha3_384(key, message)) },
  };
}

function hybridKeygen(): void {
  generateKeyPairSync('ml-kem-1024');
  generateKeyPairSync('x25519');
}

function median(run: () => unknown): number {
  run();
  const times = Array.from({ length: runs }, () => {
    const startedMs = performance.now();
    run();
    return performance.now() - startedMs;
  }).toSorted((left, right) => left - right);
  return rounded(times[(runs - 1) / 2] ?? 0);
}

function rounded(ms: number): number {
  return Math.round(ms * 10_000) / 10_000;
}
