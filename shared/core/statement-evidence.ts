/**
 * What the signer checks by itself before it states anything: the statement must follow from the
 * policy, the registry and the signed events that are handed in, whoever asks for it (invariants 2,
 * 10, 14). A stolen orchestrator gets no signature that policy and approvers did not allow.
 * Signatures of the events and of the plan were checked by the caller.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type {
  AuditCheckpointBody,
  RecoveryAuthorizationBody,
  RotationAuthorizationBody,
  RotationCommitBody,
  RotationPlanBody,
} from '#schemas/plan.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import type { EnrolmentBody, AgentKind } from '#schemas/trust.ts';
import { factorShortfall, recoveryApprovalsRequired } from './approvals.ts';
import { instantMs } from './instant.ts';
import { commitShortfall } from './commit-evidence.ts';
import { isHealingRequest } from './healing.ts';
import { planShortfall } from './plan-evidence.ts';
import type { DocumentDigests, LayerAgent } from './planner.ts';
import {
  approvalShortfall,
  operatorOf,
  planApprovals,
  type VerifiedEvent,
} from './verified-event.ts';

export interface StatementCheck {
  readonly statement:
    | RotationPlanBody
    | RotationAuthorizationBody
    | RotationCommitBody
    | RecoveryAuthorizationBody
    | AuditCheckpointBody
    | EnrolmentBody;
  readonly asker: { readonly agentId: string; readonly kind: AgentKind };
  readonly mesh: string;
  readonly evidence: readonly VerifiedEvent[];
  /** The plan that the statement is about, stated by the signer before. */
  readonly plan?: RotationPlanBody;
  readonly planDigest?: string;
  readonly policy: PolicyBody;
  readonly registry: RegistryBody;
  readonly digests: DocumentDigests;
  /** All enrolled layer agents that are not revoked. */
  readonly agents: readonly LayerAgent[];
  /** By the signer's own trust documents. */
  readonly isRevoked: (agentId: string) => boolean;
  readonly nowMs: number;
  /** Size of the checkpoint that was signed last for this auditor; its consistency is the caller's. */
  readonly lastTreeSize?: number;
}

export interface StatementRefusal {
  readonly code: OrchCode;
  readonly reason: string;
}

export type StatementVerdict = 'ok' | StatementRefusal;

type Found = StatementRefusal | undefined;

export function checkStatement(check: StatementCheck): StatementVerdict {
  const { statement, mesh } = check;
  if (statement.mesh !== mesh) return refuse('ORCH-8015', 'the statement is of another mesh');
  return refusalOf(check) ?? 'ok';
}

function refusalOf(check: StatementCheck): Found {
  const { statement, asker } = check;
  switch (statement.kind) {
    case 'rotation_plan':
      return onlyFor(asker, 'orchestrator') ?? planShortfall(statement, check);
    case 'rotation_authorization':
      return onlyFor(asker, 'orchestrator') ?? authorizationRefusal(statement, check);
    case 'rotation_commit':
      return onlyFor(asker, 'orchestrator') ?? commitRefusal(statement, check);
    case 'recovery_authorization':
      return onlyFor(asker, 'orchestrator') ?? recoveryRefusal(statement, check);
    case 'audit_checkpoint':
      return onlyFor(asker, 'auditor') ?? checkpointRefusal(statement, check);
    case 'enrolment':
      return refuse('ORCH-8015', 'enrolments are not stated on request');
  }
}

function authorizationRefusal(body: RotationAuthorizationBody, check: StatementCheck): Found {
  const bound = boundPlan(body, check);
  if ('code' in bound) return bound;
  const { plan, planDigest } = bound;
  const { policy, evidence, nowMs } = check;
  if (body.expires_at !== plan.expires_at || nowMs >= instantMs(plan.expires_at)) {
    return refuse('ORCH-8004', `the plan expires at ${plan.expires_at}`);
  }
  const inForce = check.digests.policy;
  if (body.policy_digest !== inForce || plan.basis.policy_digest !== inForce) {
    return refuse('ORCH-8004', 'the policy changed since the plan was made');
  }
  const members = plan.affected_keys.flatMap((key) => key.members);
  const gone = members.find(({ agent_id }) => check.isRevoked(agent_id));
  if (gone !== undefined) return refuse('ORCH-8007', `${gone.agent_id} is revoked`);
  const shortfall = approvalShortfall(evidence, bound, policy);
  if (shortfall !== undefined) return refuse('ORCH-8015', shortfall);
  const approvals = new Map(
    planApprovals(evidence, bound, policy).map(({ operator, event }) => [operator, event]),
  );
  const areProven = body.approvals.every(
    ({ operator, event }) => approvals.get(operator) === event,
  );
  if (!areProven || body.approvals.length !== approvals.size) {
    return refuse('ORCH-8015', 'the approvals named are not those that were given');
  }
  // A healing action asks for the execution too: approved as the policy wants, it does not wait.
  const isHealing = evidence.some(
    (event) => event.hash === plan.request && isHealingRequest(event),
  );
  const isRequested =
    isHealing ||
    evidence.some(
      (event) =>
        event.type === 'execution-requested' &&
        event.senderKind === 'operator' &&
        event.body.planDigest === planDigest &&
        !event.body.dryRun &&
        hasFactors(event, bound.plan, policy),
    );
  return isRequested
    ? undefined
    : refuse('ORCH-8015', 'nobody who may has asked for the execution');
}

function commitRefusal(body: RotationCommitBody, check: StatementCheck): Found {
  const bound = boundPlan(body, check);
  if ('code' in bound) return bound;
  const shortfall = commitShortfall(body, { ...bound, ...check });
  if (shortfall !== undefined) return refuse('ORCH-8005', shortfall);
  return isDatedTruly(body, check)
    ? undefined
    : refuse('ORCH-8004', 'the decision is dated before its reports, or in the future');
}

/** The overlap of the old keys runs from this date: an earlier one would retire them early. */
function isDatedTruly(
  body: RotationCommitBody,
  { evidence, policy, nowMs }: StatementCheck,
): boolean {
  const skewMs = policy.policies.rotation.clock_skew_ms;
  const issuedMs = instantMs(body.issued_at);
  const reported = evidence.filter(({ hash }) => body.reports.includes(hash));
  return issuedMs <= nowMs + skewMs && reported.every(({ timeMs }) => issuedMs >= timeMs - skewMs);
}

function recoveryRefusal(body: RecoveryAuthorizationBody, check: StatementCheck): Found {
  const bound = boundPlan(body, check);
  if ('code' in bound) return bound;
  const { plan, planDigest } = bound;
  const requesters = check.evidence.flatMap((event) =>
    event.type === 'recovery-requested' &&
    event.senderKind === 'operator' &&
    event.body.planDigest === planDigest &&
    hasFactors(event, plan, check.policy)
      ? [event.senderId]
      : [],
  );
  if (requesters.length !== 1) {
    return refuse('ORCH-8015', 'a recovery rests on exactly one request by an operator');
  }
  const approvals = new Map<string, string>();
  for (const event of check.evidence) {
    if (event.type !== 'recovery-approved' || event.senderKind !== 'operator') continue;
    if (!hasFactors(event, plan, check.policy)) continue;
    const { lockout, planDigest: digest } = event.body;
    const counts = digest === planDigest && lockout === body.lockout;
    if (counts && !requesters.includes(event.senderId)) approvals.set(event.senderId, event.hash);
  }
  const named = new Set(body.approvals.map(({ operator }) => operator));
  const areProven = body.approvals.every(
    ({ operator, event }) => approvals.get(operator) === event,
  );
  const needed = recoveryApprovalsRequired(check.policy);
  return areProven && named.size === body.approvals.length && named.size >= needed
    ? undefined
    : refuse('ORCH-8015', `a recovery needs ${needed} approvals for this lockout`);
}

function hasFactors(event: VerifiedEvent, plan: RotationPlanBody, policy: PolicyBody): boolean {
  return factorShortfall(operatorOf(event), plan.affected_layers, policy) === undefined;
}

function checkpointRefusal(body: AuditCheckpointBody, check: StatementCheck): Found {
  if (body.auditor !== check.asker.agentId) {
    return refuse('ORCH-8015', 'an auditor states its own log only');
  }
  return body.tree_size < (check.lastTreeSize ?? 0)
    ? refuse('ORCH-8015', 'the log is shorter than it was')
    : undefined;
}

/** The plan of a statement, which must be the one that it names. */
function boundPlan(
  body: { readonly plan_digest: string; readonly rotation_plan_id: string },
  { plan, planDigest }: StatementCheck,
): { plan: RotationPlanBody; planDigest: string } | StatementRefusal {
  const isBound =
    plan !== undefined &&
    planDigest === body.plan_digest &&
    plan.rotation_plan_id === body.rotation_plan_id;
  return isBound
    ? { plan, planDigest: body.plan_digest }
    : refuse('ORCH-8004', 'the statement is not of this plan');
}

function onlyFor({ kind }: StatementCheck['asker'], wanted: AgentKind): Found {
  return kind === wanted ? undefined : refuse('ORCH-8015', `not for a ${kind} to ask`);
}

function refuse(code: OrchCode, reason: string): StatementRefusal {
  return { code, reason };
}
