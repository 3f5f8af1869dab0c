/**
 * The first registry of a mesh: the specification's algorithms and the few more that the mesh itself
 * rests on, with the sizes and strengths of the standards (shared/crypto/algorithm-catalogue.ts) and the
 * speeds of this machine. Strength is that of each primitive on its own: a 32-byte hash counts by its
 * collision resistance, so SHA3-256, SHA-256 and BLAKE3 are category 2.
 */
import type { AlgorithmEntry, RegistryBody } from '#schemas/registry.ts';
import { catalogue } from '#shared/crypto/algorithm-catalogue.ts';
import type { KnownAlgorithm } from '#shared/crypto/algorithm-catalogue.ts';
import type { Measurements } from './performance.ts';

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
    entries.map((one) => {
      const performance = measurements[one.name];
      return performance === undefined ? one : { ...one, performance: { ...performance } };
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

type Rest = Omit<
  AlgorithmEntry,
  'name' | 'standard' | 'security_level' | 'classical_bits' | 'quantum_bits' | 'key_sizes'
>;

const kem: readonly AlgorithmEntry[] = [
  entry('ML-KEM-1024', { status: 'active', layers: [3, 4, 8] }),
  entry('ML-KEM-768', { status: 'supported', layers: [], fallback_for: 'ML-KEM-1024' }),
];

const signature: readonly AlgorithmEntry[] = [
  entry('ML-DSA-87', { status: 'active', layers: [1, 2, 3, 5, 6, 7, 8] }),
  entry('SLH-DSA-SHAKE-256s', {
    status: 'supported',
    layers: [],
    use_case: 'long_term_signatures',
  }),
];

const hybrid: readonly AlgorithmEntry[] = [
  entry('X25519MLKEM1024', {
    status: 'active',
    layers: [3, 4, 8],
    components: ['X25519', 'ML-KEM-1024'],
    combiner: 'SHA3-384',
  }),
];

const symmetric: readonly AlgorithmEntry[] = [
  entry('AES-256-GCM', { status: 'active', layers: [3, 4, 5, 8] }),
  entry('ChaCha20-Poly1305', { status: 'active', layers: [8] }),
];

const hash: readonly AlgorithmEntry[] = (
  ['SHA3-256', 'SHA3-384', 'SHA3-512', 'SHA-256', 'BLAKE3'] as const
).map((name) => entry(name, { status: 'active', layers: [8] }));

const mac: readonly AlgorithmEntry[] = [
  entry('HMAC-SHA3-384', { status: 'active', layers: [2, 6] }),
];

/** What the catalogue knows of `name`, and the mesh's own part. */
function entry(name: KnownAlgorithm, rest: Rest): AlgorithmEntry {
  const { standard, securityLevel, classicalBits, quantumBits, sizes } = catalogue[name];
  return {
    name,
    standard,
    ...rest,
    security_level: securityLevel,
    classical_bits: classicalBits,
    quantum_bits: quantumBits,
    key_sizes: { ...sizes },
  };
}
