/**
 * How fast each algorithm is on this machine: the registry's `performance` figures are measured when
 * a mesh is made and never typed in. Medians of a few runs; SLH-DSA-SHAKE-256s signs once, in the
 * thread pool, because one signature takes longer than everything else here together; that figure is
 * kept for the machine for a while.
 */
import type { KnownAlgorithm } from '#shared/crypto/algorithm-catalogue.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
  hybridSizes,
} from '#shared/crypto/hybrid-kem.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { kemSizes, sizes } from '#shared/crypto/provider.ts';
import type { AeadAlgorithm, CryptoProvider, KemAlgorithm } from '#shared/crypto/provider.ts';
import { medianMs } from './performance.ts';
import type { Measurements, Performance } from './performance.ts';
import { slhDsaPerformance } from './slh-dsa-measurement.ts';

const message = new Uint8Array(512);
const context = new Uint8Array(0);

/** Takes about 1.5 seconds, most of it in the thread pool, and a tenth of that the next time. */
export async function measureAlgorithms(): Promise<Measurements> {
  const provider = createNativeProvider();
  const measured: Record<KnownAlgorithm, Performance> = {
    'ML-KEM-1024': measureKem(provider, 'ML-KEM-1024'),
    'ML-KEM-768': measureKem(provider, 'ML-KEM-768'),
    'ML-DSA-87': measureSignature(provider),
    X25519MLKEM1024: measureHybrid(provider),
    'AES-256-GCM': measureAead(provider, 'AES-256-GCM'),
    'ChaCha20-Poly1305': measureAead(provider, 'ChaCha20-Poly1305'),
    'SHA3-256': measureHash((input) => provider.sha3_256(input)),
    'SHA3-384': measureHash((input) => provider.sha3_384(input)),
    'SHA3-512': measureHash((input) => provider.sha3_512(input)),
    'SHA-256': measureHash((input) => provider.sha256(input)),
    BLAKE3: measureHash((input) => provider.blake3(input)),
    'HMAC-SHA3-384': { mac_ms: medianMs(() => provider.hmacSha3_384(message, message)) },
    'SLH-DSA-SHAKE-256s': await slhDsaPerformance(provider),
  };
  return measured;
}

function measureKem(provider: CryptoProvider, algorithm: KemAlgorithm): Performance {
  const seedBytes = kemSizes[algorithm].seed;
  const keygen = () => provider.importKemSeed(provider.randomBytes(seedBytes), algorithm);
  const secret = keygen();
  const { ciphertext } = provider.encapsulate(secret.publicKey);
  const performance = {
    keygen_ms: medianMs(keygen),
    encaps_ms: medianMs(() => provider.encapsulate(secret.publicKey)),
    decaps_ms: medianMs(() => provider.decapsulate(secret, ciphertext)),
  };
  secret.wipe();
  return performance;
}

function measureHybrid(provider: CryptoProvider): Performance {
  const secret = provider.randomBytes(hybridSizes.secret);
  const publicKey = hybridPublicKey(provider, secret);
  const { ciphertext } = hybridEncapsulate(provider, publicKey);
  return {
    keygen_ms: medianMs(() => hybridPublicKey(provider, provider.randomBytes(hybridSizes.secret))),
    encaps_ms: medianMs(() => hybridEncapsulate(provider, publicKey)),
    decaps_ms: medianMs(() => hybridDecapsulate(provider, secret, ciphertext)),
  };
}

function measureSignature(provider: CryptoProvider): Performance {
  const keygen = () => provider.importSigningSeed(provider.randomBytes(sizes.mlDsa87.seed));
  const key = keygen();
  const signature = provider.sign(key, { message, context });
  const performance = {
    keygen_ms: medianMs(keygen),
    sign_ms: medianMs(() => provider.sign(key, { message, context })),
    verify_ms: medianMs(() => provider.verify(key.publicKey, { message, context, signature })),
  };
  key.wipe();
  return performance;
}

function measureAead(provider: CryptoProvider, algorithm: AeadAlgorithm): Performance {
  const key = provider.randomBytes(sizes.aead.key);
  const nonce = provider.randomBytes(sizes.aead.nonce);
  const parameters = { algorithm, key, nonce, aad: context };
  const ciphertext = provider.aeadSeal({ ...parameters, plaintext: message });
  return {
    seal_ms: medianMs(() =>
      provider.aeadSeal({ ...parameters, nonce: provider.randomBytes(12), plaintext: message }),
    ),
    open_ms: medianMs(() => provider.aeadOpen({ ...parameters, ciphertext })),
  };
}

function measureHash(digest: (input: Uint8Array) => Uint8Array): Performance {
  return { digest_ms: medianMs(() => digest(message)) };
}
