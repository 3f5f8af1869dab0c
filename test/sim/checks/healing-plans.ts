/**
 * Of invariant 10: a plan that rests on a healing action has layer 7's own word and no other, one action has
 * one plan, two of them never run at a time, and no layer is turned by two within the time in which an
 * emergency has to be over. Who asked, for what, and when a plan was made is read from what was said;
 * what an orchestrator or an auditor thinks of it is not asked.
 */

import { healingLayer } from '#schemas/healing.ts';
import type { Change, Observation } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import type { Saga, SagaBook } from './sagas.ts';

interface HealingPlan {
  readonly saga: Saga;
  readonly sender: string;
  readonly actionId: string;
  readonly layers: readonly number[];
  readonly createdAtMs: number;
  readonly pauseMs: number;
}

const minuteMs = 60_000;

export class HealingPlans extends BaseChecker {
  readonly invariant = 10;
  readonly name = 'one healing action, one plan';
  readonly kinds = ['leaf'] as const;
  readonly #book: SagaBook;

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  /** An accepted reservation: the rotation begins. */
  override afterEvent(observation: Observation, _change: Change): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'slots' || latest.entry.event.type !== 'slots-reserved') {
      return nothing;
    }
    const saga = this.#book.saga(latest.entry.event.sagaId);
    const plan = saga === undefined ? undefined : this.#planOf(observation, saga);
    if (plan === undefined) return nothing;
    this.looked += 1;
    return this.#plans(observation)
      .filter(({ saga: other }) => other !== plan.saga && isRunning(other))
      .map((other) => this.#two(observation, 'run at a time', plan, other));
  }

  override atRest(observation: Observation): readonly Violation[] {
    const plans = this.#plans(observation);
    return plans.flatMap((plan, at) => {
      this.looked += 1;
      const found = plans.slice(0, at).flatMap((other) => this.#pair(observation, plan, other));
      if (observation.agents.get(plan.sender)?.layer === healingLayer) return found;
      const what = `a healing was begun for ${plan.sender}`;
      return [...found, this.violation(observation, { what, about: [plan.saga.sagaId] })];
    });
  }

  #pair(observation: Observation, plan: HealingPlan, other: HealingPlan): Violation[] {
    const found: Violation[] = [];
    if (plan.actionId === other.actionId) {
      found.push(this.#two(observation, `rest on ${plan.actionId}`, plan, other));
    }
    // A plan that was refused turned nothing.
    const isTurned = plan.saga.isExecuted && other.saga.isExecuted;
    const apartMs = Math.abs(plan.createdAtMs - other.createdAtMs);
    const shared = plan.layers.filter((layer) => other.layers.includes(layer));
    if (isTurned && shared.length > 0 && apartMs < Math.min(plan.pauseMs, other.pauseMs)) {
      const what = `turn layer ${shared.join(', ')} within ${apartMs} ms`;
      found.push(this.#two(observation, what, plan, other));
    }
    return found;
  }

  #two(observation: Observation, what: string, one: HealingPlan, other: HealingPlan): Violation {
    const about = [one.saga.sagaId, other.saga.sagaId];
    return this.violation(observation, { what: `two healings ${what}`, about });
  }

  #plans(observation: Observation): HealingPlan[] {
    return [...this.#book.sagas.values()].flatMap((saga) => this.#planOf(observation, saga) ?? []);
  }

  #planOf(observation: Observation, saga: Saga): HealingPlan | undefined {
    const { plan } = saga;
    const request = plan === undefined ? undefined : observation.messageOf(plan.request);
    const body = bodyOf(request, 'healing-action-requested');
    if (plan === undefined || request === undefined || body === undefined) return undefined;
    const lifecycle = observation.policyOf(plan.basis.policy_digest)?.policies.key_lifecycle;
    return {
      saga,
      sender: request.sender,
      actionId: body.claim.actionId,
      layers: plan.affected_layers,
      createdAtMs: Date.parse(plan.created_at),
      pauseMs: (lifecycle?.emergency_rotation_sla_minutes ?? 0) * minuteMs,
    };
  }
}

/** It holds its slots, and neither is its decision taken nor is it on its way back to the end. */
function isRunning({ isExecuted, commits, rolledBackAtMs, phase }: Saga): boolean {
  return (
    isExecuted && commits.length === 0 && rolledBackAtMs === undefined && phase !== 'locked_out'
  );
}
