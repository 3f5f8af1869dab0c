/** One row of the table: a field of the policy, who enforces it, and what follows when it changes. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import { policyFaults } from '#shared/core/policy-faults.ts';
import { algorithmAllowed, type AlgorithmClaim } from '#shared/core/policy.ts';
import { planRotation, type PlanningInput } from '#shared/core/planner.ts';
import { planningInput, registryOf } from '../mesh.ts';

export type Policies = PolicyBody['policies'];
export type Change = (policies: Policies, body: PolicyBody) => void;

export interface PolicyRow {
  /** Path of the leaf in `PolicyBody`; `[]` stands for the items of a list of objects. */
  readonly field: string;
  readonly enforcedBy: string;
  /** What the provisioned policy is changed to before, where it would not let the case pass. */
  readonly before?: Change;
  /** The mutation of this field, and of nothing else. */
  readonly change: Change;
  /** The real enforcing function on one case: `ok` or the code of its refusal. */
  readonly run: (policy: PolicyBody) => string | Promise<string>;
  readonly code: string;
}

export function allows(claim: AlgorithmClaim, more: (registry: RegistryBody) => void = () => {}) {
  return (policy: PolicyBody): string => {
    const registry = registryOf();
    more(registry);
    const verdict = algorithmAllowed(claim, { policy, registry });
    return verdict.ok ? 'ok' : verdict.code;
  };
}

export function plans(more: Partial<PlanningInput> = {}) {
  return (policy: PolicyBody): string => {
    const planned = planRotation(planningInput({ ...more, policy }));
    return 'refused' in planned ? planned.refused : 'ok';
  };
}

export function reviewed(policy: PolicyBody): string {
  return policyFaults(policy, registryOf())[0]?.code ?? 'ok';
}
