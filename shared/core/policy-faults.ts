/**
 * What speaks against a policy as a document, before anyone lives under it: it must not contradict
 * itself, name what the registry does not know, ask for what nothing here carries out, or forbid the
 * mesh its own protocol. Whoever signs, offers or adopts a policy uses this one definition.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import { isSchedule } from '#schemas/schedule.ts';
import { instantMs } from './instant.ts';
import {
  algorithmAllowed,
  entryOf,
  meshLayer,
  partsOf,
  strengthFault,
  type AlgorithmClaim,
  type AlgorithmKind,
} from './policy.ts';
import { parseTrigger } from './triggers.ts';

export interface PolicyFault {
  /** ORCH-8003 where the registry lacks an algorithm, ORCH-8002 otherwise. */
  readonly code: OrchCode;
  /** Path under `policies`, `key_lifecycle.rotation_schedule`. */
  readonly field: string;
  readonly reason: string;
}

type Rules = PolicyBody['policies'];

/** What the mesh's own protocol is made of (`docs/protocol.md`): no policy may forbid it. */
export const meshSuite: readonly Omit<AlgorithmClaim, 'layer'>[] = [
  { algorithm: 'ML-DSA-87', kind: 'signature' },
  { algorithm: 'SLH-DSA-SHAKE-256s', kind: 'signature' },
  { algorithm: 'X25519MLKEM1024', kind: 'hybrid' },
  { algorithm: 'ChaCha20-Poly1305', kind: 'symmetric' },
  { algorithm: 'AES-256-GCM', kind: 'symmetric' },
  { algorithm: 'BLAKE3', kind: 'hash' },
  { algorithm: 'SHA-256', kind: 'hash' },
  { algorithm: 'SHA3-256', kind: 'hash' },
  { algorithm: 'SHA3-384', kind: 'hash' },
  { algorithm: 'SHA3-512', kind: 'hash' },
];

/** Empty for a policy that can be lived under with this registry. */
export function policyFaults(policy: PolicyBody, registry: RegistryBody): PolicyFault[] {
  return [
    ...listFaults(policy, registry),
    ...suiteFaults(policy, registry),
    ...exceptionFaults(policy.policies),
    ...lifecycleFaults(policy),
    ...rotationFaults(policy.policies),
    ...transportFaults(policy.policies),
  ];
}

/** What is allowed is known, is strong enough or excepted by name, and is not prohibited as well. */
function listFaults(policy: PolicyBody, registry: RegistryBody): PolicyFault[] {
  const { allowed_algorithms: allowed, exceptions, prohibited_algorithms } = policy.policies;
  const excepted = new Set(exceptions.map(({ algorithm }) => algorithm));
  return (Object.keys(allowed) as AlgorithmKind[]).flatMap((kind) => {
    const field = `allowed_algorithms.${kind}`;
    return allowed[kind].flatMap((algorithm): PolicyFault[] => {
      const entry = entryOf(registry, kind, algorithm);
      if (entry === undefined) {
        return [fault(field, `the registry has no ${kind} algorithm ${algorithm}`, 'ORCH-8003')];
      }
      const prohibited = partsOf(entry).find((name) => prohibited_algorithms.includes(name));
      if (prohibited !== undefined) {
        return [fault(field, `${algorithm} is allowed, and ${prohibited} is prohibited`)];
      }
      const weakness = excepted.has(algorithm) ? undefined : strengthFault(entry, kind, policy);
      return weakness === undefined ? [] : [fault(field, weakness)];
    });
  });
}

function suiteFaults(policy: PolicyBody, registry: RegistryBody): PolicyFault[] {
  return meshSuite.flatMap(({ algorithm, kind }) => {
    const verdict = algorithmAllowed({ algorithm, kind, layer: meshLayer }, { policy, registry });
    if (verdict.ok) return [];
    const reason = `the mesh itself needs ${algorithm}: ${verdict.reason}`;
    return [fault(`allowed_algorithms.${kind}`, reason, verdict.code)];
  });
}

function exceptionFaults({ exceptions }: Rules): PolicyFault[] {
  return exceptions
    .filter(({ purpose }) => purpose.trim() === '')
    .map(({ algorithm }) => fault('exceptions.purpose', `${algorithm} is excepted for no purpose`));
}

function lifecycleFaults({ policies, issued_at: issuedAt }: PolicyBody): PolicyFault[] {
  const { rotation_schedule: schedule, max_key_age_days: ages } = policies.key_lifecycle;
  const faults: PolicyFault[] = [];
  if (!isSchedule(schedule, instantMs(issuedAt))) {
    const reason = 'not a cron expression of five fields that ever comes round';
    faults.push(fault('key_lifecycle.rotation_schedule', reason));
  }
  if (ages.dek !== 0) {
    const reason = 'a data key is used for one object and never again: its age is 0';
    faults.push(fault('key_lifecycle.max_key_age_days.dek', reason));
  }
  return faults;
}

function rotationFaults({ rotation }: Rules): PolicyFault[] {
  const faults = rotation.rollback_triggers.flatMap((expression) => {
    const parsed = parseTrigger(expression);
    return parsed.ok
      ? []
      : [fault('rotation.rollback_triggers', `${parsed.code}: ${expression.slice(0, 64)}`)];
  });
  if (rotation.soak_samples_min > 0 && rotation.soak_ms === 0) {
    faults.push(fault('rotation.soak_samples_min', 'nobody counts samples without a soak'));
  }
  return faults;
}

/** Groups with a post-quantum part exist from TLS 1.3 on. */
function transportFaults({ layer_specific: { layer_3 } }: Rules): PolicyFault[] {
  return layer_3.hybrid_key_exchange_required && layer_3.min_tls_version !== '1.3'
    ? [fault('layer_specific.layer_3.min_tls_version', 'hybrid key exchange needs TLS 1.3')]
    : [];
}

function fault(field: string, reason: string, code: OrchCode = 'ORCH-8002'): PolicyFault {
  return { code, field, reason };
}
