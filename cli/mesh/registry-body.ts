/**
 * The first registry of a mesh: the specification's algorithms and the few more that the mesh itself
 * rests on, with the sizes of the standards (FIPS 203, 204, 205) and the speeds of this machine.
 * `security_level` is the NIST category of each primitive on its own: a 32-byte hash counts by its
 * collision resistance, so SHA3-256, SHA-256 and BLAKE3 are category 2.
 */
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import type { Measurements } from './measurements.ts';

export interface Validity {
  readonly issuedAt: string;
  readonly expiresAt: string;
}

export function registryBody(
  mesh: string,
  { issuedAt, expiresAt }: Validity,
  measurements: Measurements,
): RegistryBody {
  const measured = (entries: readonly AlgorithmEntry[]): AlgorithmEntry[] =>
    entries.map((entry) => {
      const performance = measurements[entry.name];
      return performance === undefined ? entry : { ...entry, performance: { ...performance } };
    });
  return {
    kind: 'registry',
    mesh,
    version: 1,
    issued_at: issuedAt,
    expires_at: expiresAt,
    algorithms: {
      kem: measured(kem),
      signature: measured(signature),
      hybrid: measured(hybrid),
      symmetric: measured(symmetric),
      hash: measured(hash),
      mac: measured(mac),
    },
  };
}

const kem: readonly AlgorithmEntry[] = [
  {
    name: 'ML-KEM-1024',
    standard: 'FIPS-203',
    status: 'active',
    security_level: 5,
    layers: [3, 4, 8],
    key_sizes: { public_key: 1568, secret_key: 3168, ciphertext: 1568, shared_secret: 32 },
  },
  {
    name: 'ML-KEM-768',
    standard: 'FIPS-203',
    status: 'supported',
    security_level: 3,
    layers: [],
    fallback_for: 'ML-KEM-1024',
    key_sizes: { public_key: 1184, secret_key: 2400, ciphertext: 1088, shared_secret: 32 },
  },
];

const signature: readonly AlgorithmEntry[] = [
  {
    name: 'ML-DSA-87',
    standard: 'FIPS-204',
    status: 'active',
    security_level: 5,
    layers: [1, 2, 3, 5, 6, 7, 8],
    key_sizes: { public_key: 2592, secret_key: 4896, signature: 4627 },
  },
  {
    name: 'SLH-DSA-SHAKE-256s',
    standard: 'FIPS-205',
    status: 'supported',
    security_level: 5,
    layers: [],
    use_case: 'long_term_signatures',
    key_sizes: { public_key: 64, secret_key: 128, signature: 29_792 },
  },
];

const hybrid: readonly AlgorithmEntry[] = [
  {
    name: 'X25519MLKEM1024',
    standard: 'gyre-v1',
    status: 'active',
    security_level: 5,
    layers: [3],
    components: ['X25519', 'ML-KEM-1024'],
    combiner: 'SHA3-384',
    key_sizes: { public_key: 1600, secret_key: 3200, ciphertext: 1600, shared_secret: 32 },
  },
];

const symmetric: readonly AlgorithmEntry[] = [
  {
    name: 'AES-256-GCM',
    standard: 'SP-800-38D',
    status: 'active',
    security_level: 5,
    layers: [3, 4, 5, 8],
    key_sizes: { secret_key: 32, nonce: 12, tag: 16 },
  },
  {
    name: 'ChaCha20-Poly1305',
    standard: 'RFC-8439',
    status: 'active',
    security_level: 5,
    layers: [8],
    key_sizes: { secret_key: 32, nonce: 12, tag: 16 },
  },
];

const hash: readonly AlgorithmEntry[] = [
  digest('SHA3-256', 'FIPS-202', { security_level: 2, digest: 32 }),
  digest('SHA3-384', 'FIPS-202', { security_level: 4, digest: 48 }),
  digest('SHA3-512', 'FIPS-202', { security_level: 5, digest: 64 }),
  digest('SHA-256', 'FIPS-180-4', { security_level: 2, digest: 32 }),
  digest('BLAKE3', 'BLAKE3-1', { security_level: 2, digest: 32 }),
];

const mac: readonly AlgorithmEntry[] = [
  {
    name: 'HMAC-SHA3-384',
    standard: 'FIPS-198-1',
    status: 'active',
    security_level: 5,
    layers: [2, 6],
    key_sizes: { secret_key: 48, tag: 48 },
  },
];

function digest(
  name: string,
  standard: string,
  sizes: { security_level: number; digest: number },
): AlgorithmEntry {
  const { security_level } = sizes;
  const key_sizes = { digest: sizes.digest };
  return { name, standard, status: 'active', security_level, layers: [8], key_sizes };
}
