import { describe, expect, it } from 'vitest';
import { slotDefinitions } from '#schemas/layers.ts';
import { policyAllows, type AlgorithmUse } from '#shared/core/policy.ts';
import { policyOf, registryOf } from './mesh.ts';

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
