/**
 * Invariant 10: nothing runs without the approvals that the policy asks for, bound to the exact digest.
 * At the first effect of a rotation, and where a recovery thaws slots, the operators' own events are
 * read from the audit: how many, by whom, over which digest, against the policy that the plan names.
 */

import type { EventBody } from '#schemas/events.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { Change, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import { digestOfPlan, type Saga, type SagaBook } from './sagas.ts';

type Said = 'plan-approved' | 'recovery-approved' | 'recovery-requested';
const saidTypes: readonly Said[] = ['plan-approved', 'recovery-approved', 'recovery-requested'];

interface Word {
  readonly operator: string;
  readonly type: Said;
  readonly planDigest: string;
  readonly lockout: number | undefined;
  readonly hash: string;
}

export class Approvals extends BaseChecker {
  readonly invariant = 10;
  readonly name = 'approved as the policy asks, over this very plan';
  readonly kinds = ['leaf', 'step'] as const;
  readonly #book: SagaBook;
  readonly #words = new Map<string, Word[]>();
  readonly #revoked = new Set<string>();
  readonly #checked = new Set<string>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'leaf' && change.leaf.verdict === 'accepted') {
      const message = observation.messageOf(change.leaf.hash);
      if (message !== undefined) this.#note(observation, message);
      return this.#recovered(observation);
    }
    if (change.kind !== 'step' || change.after === undefined) return nothing;
    const { operation, sagaId } = change.after.task;
    const isEffect = operation === 'prepare' || operation === 'activate';
    if (!isEffect || this.#checked.has(`${sagaId} ${operation}`)) return nothing;
    this.#checked.add(`${sagaId} ${operation}`);
    const saga = this.#book.saga(sagaId);
    if (saga?.plan === undefined) {
      const what = `${operation} of a rotation without a plan in the audit`;
      const { agentId } = change;
      return [this.violation(observation, { agentId, what, about: [sagaId] })];
    }
    this.looked += 1;
    return this.#executed(observation, change.agentId, saga);
  }

  #note(observation: Observation, message: ObservedMessage): void {
    const { type, sender, hash } = message;
    if (type === 'document-offered') this.#noteRevocation(message);
    const said = saidTypes.find((name) => name === type);
    if (said === undefined || !isOperator(observation, sender) || this.#revoked.has(sender)) return;
    const body = bodyOf(message, said) as EventBody<'recovery-approved'> | undefined;
    if (body === undefined) return;
    const { planId, planDigest } = body;
    const words = this.#words.get(planId) ?? [];
    this.#words.set(planId, words);
    words.push({ operator: sender, type: said, planDigest, lockout: body.lockout, hash });
  }

  #noteRevocation(message: ObservedMessage): void {
    const document = bodyOf(message, 'document-offered')?.document;
    if (document === undefined) return;
    const { body } = JSON.parse(new TextDecoder().decode(document)) as {
      readonly body: { readonly kind: string; readonly agent_id: string };
    };
    if (body.kind === 'revocation') this.#revoked.add(body.agent_id);
  }

  #executed(observation: Observation, agentId: string, saga: Saga): readonly Violation[] {
    const { plan, sagaId } = saga;
    if (plan === undefined) return nothing;
    const digest = digestOfPlan(observation, saga);
    const about = [sagaId, digest];
    const policy = observation.policyOf(plan.basis.policy_digest);
    if (policy === undefined) {
      const what = 'a rotation by a policy that never was in force';
      return [this.violation(observation, { agentId, what, about })];
    }
    const found: Violation[] = [];
    const needed = Math.max(
      plan.approvals_required,
      policy.policies.rotation.approvals[plan.rotation_type],
    );
    const approvers = this.#operators(observation, sagaId, {
      type: 'plan-approved',
      isMeant: (word) => word.planDigest === digest && word.operator !== plan.requested_by,
      policy: plan.affected_layers.includes(1) ? policy : undefined,
    });
    if (approvers.size < needed) {
      const what = `it runs with ${approvers.size} of ${needed} approvals of this plan`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    const request = observation.messageOf(plan.request);
    const mayAsk =
      request?.type === 'rotation-requested' ||
      (request?.type === 'healing-action-requested' && plan.rotation_type === 'emergency');
    if (request?.sender !== plan.requested_by || !mayAsk) {
      const what = `${plan.requested_by} did not ask for it`;
      found.push(this.violation(observation, { agentId, what, about: [...about, plan.request] }));
    }
    const isAuthorized = saga.authorizations.some(({ body }) => body.plan_digest === digest);
    if (!isAuthorized) {
      const what = 'the signer authorized another plan, or none';
      found.push(this.violation(observation, { agentId, what, about }));
    }
    return found;
  }

  /** The latest entry ends a lockout. */
  #recovered(observation: Observation): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'rotation') return nothing;
    const { sagaId, event } = latest.entry;
    const saga = this.#book.saga(sagaId);
    if (event.type !== 'recovery-authorized' || saga?.plan === undefined) return nothing;
    this.looked += 1;
    const { plan } = saga;
    const digest = digestOfPlan(observation, saga);
    const { lockout, plan_digest: stated } = event.authorization.body;
    const policy = observation.policyOf(plan.basis.policy_digest);
    const needed = Math.max(1, policy?.policies.rotation.approvals.recovery ?? 1);
    const requesters = this.#operators(observation, sagaId, {
      type: 'recovery-requested',
      isMeant: (word) => word.planDigest === digest,
    });
    const approvers = this.#operators(observation, sagaId, {
      type: 'recovery-approved',
      isMeant: (word) => word.planDigest === digest && word.lockout === lockout,
    });
    // Whoever asked does not count; of several who asked, one was taken.
    const [only, ...others] = requesters;
    if (only !== undefined && others.length === 0) approvers.delete(only);
    const isEnough = approvers.size >= needed && requesters.size > 0 && stated === digest;
    if (isEnough) return nothing;
    const what = `a recovery with ${approvers.size} of ${needed} approvals of lockout ${lockout}`;
    return [this.violation(observation, { what, about: [sagaId, latest.hash] })];
  }

  #operators(
    observation: Observation,
    sagaId: string,
    wanted: { type: Said; isMeant: (word: Word) => boolean; policy?: PolicyBody | undefined },
  ): Set<string> {
    const asksFactors = wanted.policy?.policies.layer_specific.layer_1.mfa_required === true;
    const words = (this.#words.get(sagaId) ?? []).filter(
      (word) => word.type === wanted.type && wanted.isMeant(word),
    );
    const operators = words.map(({ operator }) => operator);
    return new Set(
      operators.filter((operator) => {
        const capabilities = observation.agents.get(operator)?.capabilities ?? [];
        return !asksFactors || capabilities.includes('mfa');
      }),
    );
  }
}

function isOperator(observation: Observation, agentId: string): boolean {
  return observation.agents.get(agentId)?.kind === 'operator';
}
