/**
 * Whether a commit statement is proven: for every slot of the plan the owner prepared, every member
 * accepted, the owner activated and everyone used the very same new key, each shown by a report of the
 * right agent (invariants 1, 2). Verifiers may be missing only where plan and policy let silent ones be
 * fenced out, or where they are revoked by what the one who asks knows; an owner never.
 */

import type { RotationCommitBody } from '#schemas/plan.ts';
import type { StepOperation } from '#schemas/saga.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { sameMembers } from './equality.ts';
import {
  isSameKey,
  mayBeFenced,
  memberReports,
  membersOf,
  ownerOf,
  preparedKey,
  type PlanIdentity,
  type VerifiedEvent,
} from './verified-event.ts';

export interface CommitCheck extends PlanIdentity {
  readonly evidence: readonly VerifiedEvent[];
  readonly policy: PolicyBody;
  /** By the trust documents of whoever checks. */
  readonly isRevoked: (agentId: string) => boolean;
}

/** What is missing, or undefined. */
export function commitShortfall(body: RotationCommitBody, check: CommitCheck): string | undefined {
  const { plan } = check;
  const handed = new Set(check.evidence.map(({ hash }) => hash));
  const unseen = body.reports.find((report) => !handed.has(report));
  if (unseen !== undefined) return 'a report is named that was not handed in';
  const named = new Set(body.reports);
  const evidence = check.evidence.filter(({ hash }) => named.has(hash));
  const slots = plan.affected_keys.map(({ slot }) => slot);
  const committed = body.keys.map(({ slot }) => slot);
  if (!sameMembers(slots, committed))
    return 'the keys named are not those of all slots of the plan';
  for (const slot of slots) {
    const shortfall = slotShortfall(body, { ...check, evidence }, slot);
    if (shortfall !== undefined) return `${slot}: ${shortfall}`;
  }
  return undefined;
}

function slotShortfall(
  body: RotationCommitBody,
  check: CommitCheck,
  slot: string,
): string | undefined {
  const { evidence, plan } = check;
  const prepared = preparedKey(evidence, check, slot);
  if (prepared === undefined) return 'no single report of its preparation';
  const key = body.keys.find((one) => one.slot === slot);
  if (key?.key_id !== prepared.keyId || key.version !== prepared.version) {
    return 'the key named is not the one that was prepared';
  }
  const owner = ownerOf(plan, slot);
  const agentsOf = (operation: StepOperation): string[] =>
    memberReports(evidence, check, { slot, operation })
      .filter(({ outcome }) => isSameKey(outcome, prepared))
      .map(({ agentId }) => agentId);
  if (owner !== undefined && check.isRevoked(owner)) return `its owner ${owner} is revoked`;
  if (owner === undefined || !agentsOf('activate').includes(owner)) return 'not activated';
  const accepted = [owner, ...agentsOf('accept')];
  const verified = agentsOf('verify');
  if (!verified.includes(owner)) return `not verified by ${owner}`;
  for (const member of membersOf(plan, slot).filter(({ role }) => role === 'verifier')) {
    const took = accepted.includes(member.agent_id);
    const used = verified.includes(member.agent_id);
    if ((took && used) || mayBeFenced(plan, check.policy, member)) continue;
    if (check.isRevoked(member.agent_id)) continue;
    return `not ${took ? 'verified' : 'accepted'} by ${member.agent_id}`;
  }
  return undefined;
}
