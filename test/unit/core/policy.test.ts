import { describe, expect, it } from 'vitest';
import { slotDefinitions } from '#schemas/layers.ts';
import { algorithmAllowed, policyAllows, type AlgorithmUse } from '#shared/core/policy.ts';
import { entry, policyOf, registryOf } from './mesh.ts';

type Policies = ReturnType<typeof policyOf>['policies'];

function judge(use: AlgorithmUse, change: (policies: Policies) => void = () => undefined) {
  const policy = policyOf();
  change(policy.policies);
  const verdict = policyAllows(use, { policy, registry: registryOf() });
  return verdict.ok ? 'ok' : verdict.code;
}

describe('the policy', () => {
  it('allows every slot its algorithm', () => {
    for (const { algorithm, keyKind, layer } of slotDefinitions) {
      expect(judge({ algorithm, keyKind, layer })).toBe('ok');
    }
  });

  const signature = { algorithm: 'ML-DSA-87', keyKind: 'signature', layer: 1 } as const;
  const exchange = { algorithm: 'X25519MLKEM1024', keyKind: 'hybrid-kem', layer: 3 } as const;

  it('denies what it does not know', () => {
    expect(judge({ ...signature, algorithm: 'ML-DSA-870' })).toBe('ORCH-8003');
    expect(judge({ ...signature, keyKind: 'kem' })).toBe('ORCH-8003');
    expect(judge({ ...signature, algorithm: 'ML-DSA-65', layer: 5 })).toBe('ORCH-8002');
    expect(judge(signature, (rules) => (rules.allowed_algorithms.signature = []))).toBe(
      'ORCH-8002',
    );
  });

  it('lets an exception through on its layers only, never what is prohibited', () => {
    const except = (rules: Policies): void => {
      rules.exceptions.push({ algorithm: 'ML-DSA-65', purpose: 'old reader', layers: [5] });
    };
    expect(judge({ ...signature, algorithm: 'ML-DSA-65', layer: 5 }, except)).toBe('ok');
    expect(judge({ ...signature, algorithm: 'ML-DSA-65', layer: 6 }, except)).toBe('ORCH-8002');
    expect(
      judge({ ...signature, algorithm: 'ML-DSA-65', layer: 5 }, (rules) => {
        except(rules);
        rules.prohibited_algorithms.push('ML-DSA-65');
      }),
    ).toBe('ORCH-8002');
  });

  it('finds a prohibition in what a hybrid is made of, also where it is excepted', () => {
    for (const part of ['X25519', 'ML-KEM-1024', 'SHA3-384']) {
      const verdict = judge(exchange, (rules) => {
        rules.prohibited_algorithms.push(part);
        rules.exceptions.push({ algorithm: 'X25519MLKEM1024', purpose: 'why', layers: [3] });
      });
      expect(verdict).toBe('ORCH-8002');
    }
  });

  it('asks a hybrid for a known combiner, a classical and a post-quantum component', () => {
    const made = (components: string[], combiner?: string): string => {
      const registry = registryOf();
      const more = { components, ...(combiner === undefined ? {} : { combiner }) };
      registry.algorithms.hybrid = [entry('X25519MLKEM1024', 5, more)];
      const verdict = policyAllows(exchange, { policy: policyOf(), registry });
      return verdict.ok ? 'ok' : verdict.code;
    };
    expect(made(['X25519', 'ML-KEM-1024'], 'SHA3-384')).toBe('ok');
    expect(made(['X25519', 'ML-KEM-1024'])).toBe('ORCH-8002');
    expect(made(['X25519', 'ECDH-P384'], 'SHA3-384')).toBe('ORCH-8002');
    expect(made(['ML-KEM-768', 'ML-KEM-1024'], 'SHA3-384')).toBe('ORCH-8002');
    expect(made([], 'SHA3-384')).toBe('ORCH-8002');
  });

  it('leaves hashes to the lists: their categories speak of collisions', () => {
    const documents = { policy: policyOf(), registry: registryOf() };
    const hash = (algorithm: string) =>
      algorithmAllowed({ algorithm, kind: 'hash', layer: 8 }, documents).ok;
    expect(['SHA3-256', 'SHA3-384', 'SHA3-512', 'SHA-256', 'BLAKE3'].map(hash)).not.toContain(
      false,
    );
    documents.registry.algorithms.hash.push(entry('MD5', 0));
    documents.policy.policies.allowed_algorithms.hash.push('MD5');
    expect(hash('MD5')).toBe(false);
  });

  it('holds to the rules of hybrid mode and of layers', () => {
    expect(judge(exchange, (rules) => (rules.hybrid_mode.enabled = false))).toBe('ORCH-8002');
    expect(judge(exchange, (rules) => (rules.hybrid_mode.combiner = 'XOR'))).toBe('ORCH-8002');
    expect(judge(exchange, (rules) => rules.prohibited_algorithms.push('X25519'))).toBe(
      'ORCH-8002',
    );
    expect(judge({ algorithm: 'ML-KEM-1024', keyKind: 'kem', layer: 3 })).toBe('ORCH-8002');
    const weak = { algorithm: 'AES-128-GCM', keyKind: 'aead', layer: 4 } as const;
    expect(
      judge(weak, (rules) => {
        rules.minimum_security_level = 1;
        rules.allowed_algorithms.symmetric.push('AES-128-GCM');
      }),
    ).toBe('ORCH-8002');
  });
});
