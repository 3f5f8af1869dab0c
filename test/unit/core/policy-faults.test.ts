import { describe, expect, it } from 'vitest';
import { isSchedule, nextOccurrence, occursWithin } from '#schemas/schedule.ts';
import { meshSuite, policyFaults } from '#shared/core/policy-faults.ts';
import { nowMs, policyOf, registryOf } from './mesh.ts';

type Policies = ReturnType<typeof policyOf>['policies'];

function faults(change: (policies: Policies) => void = () => undefined) {
  const policy = policyOf();
  change(policy.policies);
  return policyFaults(policy, registryOf()).map(({ code, field }) => `${code} ${field}`);
}

describe('a policy as a document', () => {
  it('can be lived under when it is the one that a mesh is provisioned with', () => {
    expect(faults()).toEqual([]);
  });

  it.each(meshSuite)('may not forbid the mesh its $algorithm', ({ algorithm, kind }) => {
    const forbid = (policies: Policies): void => {
      policies.allowed_algorithms[kind] = policies.allowed_algorithms[kind].filter(
        (name) => name !== algorithm,
      );
      policies.exceptions = policies.exceptions.filter((one) => one.algorithm !== algorithm);
    };
    expect(faults(forbid)).toEqual([`ORCH-8002 allowed_algorithms.${kind}`]);
    const policy = policyOf();
    forbid(policy.policies);
    expect(policyFaults(policy, registryOf())[0]?.reason).toContain(algorithm);
  });

  it('names nothing that is prohibited, unknown, too weak or without post-quantum strength', () => {
    const list = 'allowed_algorithms.signature';
    const allow =
      (name: string, more: (policies: Policies) => void = () => undefined) =>
      (policies: Policies): void => {
        policies.allowed_algorithms.signature.push(name);
        more(policies);
      };
    expect(faults(allow('FN-DSA'))).toEqual([`ORCH-8003 ${list}`]);
    expect(faults(allow('RSA-2048'))).toEqual([`ORCH-8002 ${list}`]);
    expect(faults(allow('ML-DSA-65'))).toEqual([`ORCH-8002 ${list}`]);
    expect(faults(allow('ML-DSA-65', (rules) => (rules.minimum_security_level = 3)))).toEqual([]);
    const except = (rules: Policies): void => {
      rules.exceptions.push({ algorithm: 'ML-DSA-65', purpose: 'old reader', layers: [5] });
    };
    expect(faults(allow('ML-DSA-65', except))).toEqual([]);
  });

  it('prohibits a hybrid by what it is made of', () => {
    const hybrid = 'ORCH-8002 allowed_algorithms.hybrid';
    for (const part of ['X25519', 'ML-KEM-1024', 'SHA3-384']) {
      expect(faults((rules) => rules.prohibited_algorithms.push(part))).toContain(hybrid);
    }
  });

  it('asks for nothing that is not carried out', () => {
    const field = 'ORCH-8002 key_lifecycle.max_key_age_days.dek';
    expect(faults((rules) => (rules.key_lifecycle.max_key_age_days.dek = 1))).toEqual([field]);
    expect(faults((rules) => (rules.rotation.soak_samples_min = 1))).toEqual([
      'ORCH-8002 rotation.soak_samples_min',
    ]);
    expect(faults((rules) => rules.rotation.rollback_triggers.push('load > 1%'))).toEqual([
      'ORCH-8002 rotation.rollback_triggers',
    ]);
    expect(faults((rules) => (rules.layer_specific.layer_3.min_tls_version = '1.2'))).toEqual([
      'ORCH-8002 layer_specific.layer_3.min_tls_version',
    ]);
  });
});

describe('the schedule', () => {
  const sundayTwo = Date.UTC(2027, 0, 17, 2);

  it('is a cron expression of five fields in UTC that comes round', () => {
    expect(nextOccurrence('0 2 * * 0', nowMs)).toBe(sundayTwo);
    for (const good of ['* * * * *', '*/5 1-3 1,15 * *', '0 2 * * SUN', '0 0 29 2 *']) {
      expect(isSchedule(good, nowMs), good).toBe(true);
    }
    const bad = ['', 'soon', '@weekly', '* * * *', '* * * * * *', '60 * * * *', '0 0 31 2 *'];
    for (const one of [...bad, '0 2  * * 0', '* * * * *\n', '0 : 0 0 0', '12:00 * * * *']) {
      expect(isSchedule(one, nowMs), one).toBe(false);
    }
  });

  it('comes round within a window that includes its start and excludes its end', () => {
    const occurs = (startMs: number, endMs: number): boolean =>
      occursWithin('0 2 * * 0', { startMs, endMs });
    expect(occurs(sundayTwo, sundayTwo + 1)).toBe(true);
    expect(occurs(sundayTwo + 1, sundayTwo + 60_000)).toBe(false);
    expect(occurs(sundayTwo - 1, sundayTwo)).toBe(false);
    expect(occurs(sundayTwo - 60_000, sundayTwo + 1)).toBe(true);
  });
});
