/**
 * What a layer agent checks by itself before it does anything: every document is signed by its role,
 * every piece of evidence by its sender, and together they entitle the command (`checkStep`). A
 * stolen orchestrator can stop things here; it cannot make anything happen that policy and approvers
 * did not allow (invariants 7, 10, 12).
 */

import type { StepCommanded } from '#schemas/steps.ts';
import type { OrchCode } from '#schemas/errors.ts';
import type { RotationAuthorization, RotationPlan } from '#schemas/plan.ts';
import { checkStep, type VerifiedEvent } from '#shared/core/step-evidence.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { SagaMemory } from './step-store.ts';

export type Intake =
  | {
      readonly status: 'admitted';
      readonly saga: SagaMemory;
      readonly evidence: readonly VerifiedEvent[];
    }
  | { readonly status: 'refused'; readonly code: OrchCode; readonly reason: string };

export interface IntakeInput {
  readonly command: StepCommanded;
  /** What this agent kept of the saga, if it has heard of it. */
  readonly memory: SagaMemory | undefined;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly agentId: string;
  readonly layer: number;
  readonly nowMs: number;
  /** A slot of the command is frozen here. */
  readonly frozen: boolean;
}

export function admitStep(input: IntakeInput): Intake {
  const { command, memory, trust, agentId, layer, nowMs, frozen } = input;
  const unsigned = unsignedDocument(command, trust);
  if (unsigned !== undefined) return refused('ORCH-8015', `the ${unsigned} is not signed`);
  const plan = memory?.plan ?? command.plan;
  if (plan === undefined) return refused('ORCH-8004', 'the plan is not known to this agent');
  const bound = planMisfit(input, plan);
  if (bound !== undefined) return refused('ORCH-8004', bound);
  const policy = trust.policyFor(plan.body.basis.policy_digest);
  if (policy === undefined)
    return refused('ORCH-8004', 'the policy of the plan was never in force');
  const authorization = command.authorization ?? memory?.authorization;
  const [receipt, ...evidence] = verifiedEvents(command, trust);
  if (receipt === undefined || evidence.includes(undefined)) {
    return refused('ORCH-8015', 'a piece of evidence is not authentic');
  }
  const verified = evidence.filter((event) => event !== undefined);
  const verdict = checkStep({
    command,
    plan: plan.body,
    planDigest: command.planDigest,
    ...(authorization === undefined ? {} : { authorization: authorization.body }),
    evidence: verified,
    receipt,
    agentId,
    layer,
    nowMs,
    policy,
    isRevoked: (id) => trust.isRevoked(id),
    frozen,
    ...(memory === undefined ? {} : { lastSagaIndex: memory.lastIndex }),
  });
  if (verdict !== 'ok') return refused(verdict.code, verdict.reason);
  return {
    status: 'admitted',
    evidence: verified,
    saga: sagaMemory(input, plan, authorization),
  };
}

function sagaMemory(
  { command, memory }: IntakeInput,
  plan: RotationPlan,
  authorization: RotationAuthorization | undefined,
): SagaMemory {
  const lastIndex = Math.max(command.sagaIndex, memory?.lastIndex ?? 0);
  const saga = { plan, planDigest: command.planDigest, lastIndex };
  return authorization === undefined ? saga : { ...saga, authorization };
}

/** The first document of the command that its role did not sign. */
function unsignedDocument(command: StepCommanded, trust: TrustView): string | undefined {
  const { plan, authorization, commit, recovery } = command;
  const documents = [plan, authorization, commit, recovery].filter((each) => each !== undefined);
  return documents.find((each) => trust.verifyStatement(each, 'orchestration') !== 'ok')?.body.kind;
}

/** Why the plan is not the one that the command and this agent's memory mean. */
function planMisfit(
  { command, memory, trust, crypto }: IntakeInput,
  plan: RotationPlan,
): string | undefined {
  if (documentDigest(crypto, plan.body) !== command.planDigest)
    return 'the plan has another digest';
  if (memory !== undefined && memory.planDigest !== command.planDigest) {
    return 'this rotation began with another plan';
  }
  if (plan.body.mesh !== trust.mesh) return 'the plan is of another mesh';
  return undefined;
}

/** The receipt first, then the evidence; undefined for what is not authentic. */
function verifiedEvents(command: StepCommanded, trust: TrustView): (VerifiedEvent | undefined)[] {
  return [command.receipt, ...command.evidence].map((disclosure) => {
    const opening = trust.verifyEvidence(disclosure);
    return opening.status === 'ok' ? opening.event : undefined;
  });
}

function refused(code: OrchCode, reason: string): Intake {
  return { status: 'refused', code, reason };
}
