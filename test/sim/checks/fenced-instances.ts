/**
 * Invariant 7: a superseded instance's work is refused, because the index of its saga fences it out. At
 * each agent the index of a saga never goes down, no key changes under an intent that a later one of
 * the same saga overtook, and the ledger takes no reservation from before a release.
 */

import type { AgentView, Change, Observation, StepRow } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import { causesOf, openStepOf, turnOf } from './open-steps.ts';
import type { SagaBook } from './sagas.ts';

export class FencedInstances extends BaseChecker {
  readonly invariant = 7;
  readonly name = 'work of superseded instances is refused';
  readonly kinds = ['memory', 'step', 'key', 'leaf'] as const;
  readonly #book: SagaBook;
  /** `<agent> <saga>` → highest index that the agent ever had. */
  readonly #highest = new Map<string, number>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    switch (change.kind) {
      case 'memory':
        return this.#remembered(observation, change);
      case 'step':
        return this.#stepped(observation, change);
      case 'key':
        return this.#turned(observation, change);
      case 'leaf':
        return this.#reserved(observation);
      default:
        return nothing;
    }
  }

  #remembered(
    observation: Observation,
    { agentId, sagaId, after }: Extract<Change, { kind: 'memory' }>,
  ): readonly Violation[] {
    this.looked += 1;
    const name = `${agentId} ${sagaId}`;
    const highest = this.#highest.get(name) ?? -1;
    this.#highest.set(name, Math.max(highest, after));
    if (after >= highest) return nothing;
    const what = `the index of a saga went from ${highest} to ${after}`;
    return [this.violation(observation, { agentId, what, about: [sagaId] })];
  }

  #stepped(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'step' }>,
  ): readonly Violation[] {
    if (after === undefined) return nothing;
    this.looked += 1;
    const { sagaId, sagaIndex } = after.task;
    const name = `${agentId} ${sagaId}`;
    const highest = this.#highest.get(name) ?? -1;
    this.#highest.set(name, Math.max(highest, sagaIndex));
    // An overtaken intent may end, but not as done.
    if (sagaIndex >= highest || (before !== undefined && after.status !== 'done')) return nothing;
    return this.#overtaken(observation, { agentId, step: after, highest });
  }

  #turned(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'key' }>,
  ): readonly Violation[] {
    const agent: AgentView | undefined = observation.agents.get(agentId);
    if (after === undefined || agent === undefined) return nothing;
    const turn = turnOf(before, after);
    if (turn === 'first' || turn === 'other') return nothing;
    const step = openStepOf(agent, after.slot, causesOf[turn]);
    if (step === undefined) return nothing;
    this.looked += 1;
    const highest = this.#highest.get(`${agentId} ${step.task.sagaId}`) ?? -1;
    return step.task.sagaIndex >= highest
      ? nothing
      : this.#overtaken(observation, { agentId, step, highest });
  }

  #overtaken(
    observation: Observation,
    { agentId, step, highest }: { agentId: string; step: StepRow; highest: number },
  ): readonly Violation[] {
    const { operation, sagaIndex, sagaId, commandId } = step.task;
    const what = `${operation} of entry ${sagaIndex} was done after entry ${highest}`;
    return [this.violation(observation, { agentId, what, about: [sagaId, commandId] })];
  }

  #reserved(observation: Observation): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'slots' || latest.entry.event.type !== 'slots-reserved') {
      return nothing;
    }
    this.looked += 1;
    const { sagaId, sagaIndex } = latest.entry.event;
    const { releasedBefore } = this.#book;
    if (releasedBefore === undefined || sagaIndex > releasedBefore) return nothing;
    const what = `slots are reserved for entry ${sagaIndex}, and were released for ${releasedBefore}`;
    return [this.violation(observation, { what, about: [sagaId, latest.hash] })];
  }
}
