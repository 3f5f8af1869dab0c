/**
 * What gyre implements, under the registry's names: kind, standard, sizes and strength. This is the
 * code's own knowledge; a mesh's signed registry says which of it the mesh knows, and its policy
 * which of that may be used.
 *
 * Each primitive states its own strength, never that of the whole. `securityLevel` is the NIST
 * category, 0 where there is none. `classicalBits` and `quantumBits` are floors for the property that
 * the algorithm is used for: the search for a key as strong as the category demands (AES-128, -192,
 * -256), halved by Grover's algorithm, or the search for a collision, for which quantum computers
 * bring nothing that pays. So ML-KEM-1024 says 256 and 128, and a 32-byte hash 128 and 128.
 */
import type { AlgorithmKind } from '#shared/core/policy.ts';
import { hybridSizes } from './hybrid-kem.ts';
import { sizes } from './provider.ts';

export interface CatalogueEntry {
  readonly kind: AlgorithmKind;
  readonly standard: string;
  readonly securityLevel: number;
  readonly classicalBits: number;
  readonly quantumBits: number;
  /** Bytes, under the registry's names. */
  readonly sizes: Readonly<Record<string, number>>;
}

/** AES-256's strength, by which category 5 is defined. */
const category5 = { securityLevel: 5, classicalBits: 256, quantumBits: 128 } as const;
/** AES-192's. */
const category3 = { securityLevel: 3, classicalBits: 192, quantumBits: 96 } as const;
const aead = { secret_key: sizes.aead.key, nonce: sizes.aead.nonce, tag: sizes.aead.tag } as const;

export const catalogue = {
  'ML-KEM-1024': {
    kind: 'kem',
    standard: 'FIPS-203',
    ...category5,
    sizes: { public_key: 1568, secret_key: 3168, ciphertext: 1568, shared_secret: 32 },
  },
  'ML-KEM-768': {
    kind: 'kem',
    standard: 'FIPS-203',
    ...category3,
    sizes: { public_key: 1184, secret_key: 2400, ciphertext: 1088, shared_secret: 32 },
  },
  'ML-DSA-87': {
    kind: 'signature',
    standard: 'FIPS-204',
    ...category5,
    sizes: { public_key: 2592, secret_key: 4896, signature: 4627 },
  },
  'SLH-DSA-SHAKE-256s': {
    kind: 'signature',
    standard: 'FIPS-205',
    ...category5,
    sizes: { public_key: 64, secret_key: 128, signature: 29_792 },
  },
  // As strong as ML-KEM-1024, and where that fails as X25519: about 128 bits, none of it quantum.
  X25519MLKEM1024: {
    kind: 'hybrid',
    standard: 'gyre-v1',
    ...category5,
    sizes: {
      public_key: hybridSizes.publicKey,
      secret_key: 3168 + sizes.x25519.secretKey,
      ciphertext: hybridSizes.ciphertext,
      shared_secret: hybridSizes.sharedSecret,
    },
  },
  'AES-256-GCM': { kind: 'symmetric', standard: 'SP-800-38D', ...category5, sizes: aead },
  'ChaCha20-Poly1305': { kind: 'symmetric', standard: 'RFC-8439', ...category5, sizes: aead },
  'SHA3-256': hash('FIPS-202', { securityLevel: 2, digest: 32 }),
  'SHA3-384': hash('FIPS-202', { securityLevel: 4, digest: 48 }),
  'SHA3-512': hash('FIPS-202', { securityLevel: 5, digest: 64 }),
  'SHA-256': hash('FIPS-180-4', { securityLevel: 2, digest: 32 }),
  BLAKE3: hash('BLAKE3-1', { securityLevel: 2, digest: 32 }),
  'HMAC-SHA3-384': {
    kind: 'mac',
    standard: 'FIPS-198-1',
    securityLevel: 5,
    classicalBits: 384,
    quantumBits: 192,
    sizes: { secret_key: 48, tag: 48 },
  },
} as const satisfies Record<string, CatalogueEntry>;

export type KnownAlgorithm = keyof typeof catalogue;

export function isKnownAlgorithm(name: string): name is KnownAlgorithm {
  return Object.hasOwn(catalogue, name);
}

/** What the catalogue says of `name`, or undefined. */
export function catalogued(name: string): CatalogueEntry | undefined {
  return isKnownAlgorithm(name) ? catalogue[name] : undefined;
}

function hash(
  standard: string,
  { securityLevel, digest }: { readonly securityLevel: number; readonly digest: number },
) {
  const bits = digest * 4;
  return {
    kind: 'hash',
    standard,
    securityLevel,
    classicalBits: bits,
    quantumBits: bits,
    sizes: { digest },
  } as const;
}
