/**
 * Invariant 13: when faults stop, every saga reaches its end in bounded time, and two sagas never hold
 * one slot. How long a world is given to heal is its own; at rest nothing may be under way: no phase in
 * between, no slot held by a saga that is over, no intent without outcome, no key that is only prepared.
 */

import type { RotationPhase } from '#schemas/saga.ts';
import type { AgentView, Change, Observation } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import type { Saga, SagaBook } from './sagas.ts';

const ends: readonly (RotationPhase | undefined)[] = [
  'retired',
  'rolled_back',
  'locked_out',
  'refused',
];

export class EverySagaEnds extends BaseChecker {
  readonly invariant = 13;
  readonly name = 'every saga ends, and no slot has two';
  readonly kinds = ['leaf', 'reservation'] as const;
  readonly #book: SagaBook;
  /** `<agent> <slot>` → how far in the ledger's order it has passed on there. */
  readonly #passedAt = new Map<string, number>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'leaf') return this.#reserved(observation);
    return change.kind === 'reservation' ? this.#passed(observation, change) : nothing;
  }

  override atRest(observation: Observation): readonly Violation[] {
    return [
      ...[...this.#book.sagas.values()].flatMap((saga) => this.#ended(observation, saga)),
      ...[...observation.agents.values()].flatMap((agent) => this.#idle(observation, agent)),
    ];
  }

  /** An accepted reservation of what another saga holds. */
  #reserved(observation: Observation): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'slots' || latest.entry.event.type !== 'slots-reserved') {
      return nothing;
    }
    this.looked += 1;
    const { sagaId, slots } = latest.entry.event;
    return slots.flatMap((slot) => {
      const holder = this.#book.heldBefore.get(slot)?.sagaId;
      if (holder === undefined || holder === sagaId) return [];
      const what = `${slot} is reserved by two rotations`;
      return [this.violation(observation, { what, about: [holder, sagaId, latest.hash] })];
    });
  }

  /**
   * At an agent a slot passes to the saga that the ledger names. One that was away hears late of sagas that
   * have let go meanwhile: of each in the order of the ledger, never back.
   */
  #passed(
    observation: Observation,
    { agentId, slot, before, after }: Extract<Change, { kind: 'reservation' }>,
  ): readonly Violation[] {
    if (after === undefined) return nothing;
    this.looked += 1;
    const name = `${agentId} ${slot}`;
    const latest = this.#passedAt.get(name) ?? 0;
    const place = this.#book.reservedAt.get(`${slot} ${after}`) ?? 0;
    this.#passedAt.set(name, Math.max(latest, place));
    const holder = this.#book.held.get(slot)?.sagaId;
    if (holder === after) return nothing;
    // Nobody has taken it since, or this agent hears of it for the first time.
    const isInOrder = holder === undefined ? place >= latest : place > latest;
    const isLate = before === undefined && place > 0 && isInOrder;
    if (isLate) return nothing;
    const what = `${slot} passes to a rotation that does not hold it`;
    return [this.violation(observation, { agentId, what, about: [holder ?? 'nobody', after] })];
  }

  #ended(observation: Observation, saga: Saga): readonly Violation[] {
    const { sagaId, phase, isExecuted, slots } = saga;
    if (!isExecuted) return nothing;
    this.looked += 1;
    const found: Violation[] = [];
    const about = [sagaId];
    if (!ends.includes(phase)) {
      const what = `an executed rotation is still ${phase ?? 'without a receipt'}`;
      found.push(this.violation(observation, { what, about }));
    }
    if (phase === 'retired' && saga.commits.length === 0) {
      const what = 'a rotation is retired without a commit decision';
      found.push(this.violation(observation, { what, about }));
    }
    if (phase === 'locked_out') return found;
    for (const slot of slots.keys()) {
      if (this.#book.held.get(slot)?.sagaId !== sagaId) continue;
      const what = `${slot} is still held by a rotation that is ${phase ?? 'lost'}`;
      found.push(this.violation(observation, { what, about }));
    }
    return found;
  }

  #idle(observation: Observation, agent: AgentView): readonly Violation[] {
    const { agentId, openSteps, reservations, keys, isAlive } = agent;
    // Who does not run cannot end anything.
    if (!isAlive) return nothing;
    this.looked += 1;
    const found = [...openSteps.values()].map(({ stepKey, task }) =>
      this.violation(observation, {
        agentId,
        what: `${stepKey} is begun and not ended`,
        about: [task.sagaId],
      }),
    );
    // Who was revoked is told nothing any more; what it began itself it still ends.
    if (this.#book.revoked.has(agentId)) return found;
    for (const [slot, sagaId] of reservations) {
      const phase = this.#book.saga(sagaId)?.phase;
      if (phase === 'locked_out' || !ends.includes(phase) || this.#mayMiss(agent, slot)) continue;
      const what = `${slot} is reserved for a rotation that is ${phase ?? 'lost'}`;
      found.push(this.violation(observation, { agentId, what, about: [sagaId] }));
    }
    for (const [slot, versions] of keys) {
      for (const { version, state, keyId } of versions.values()) {
        if (state !== 'prepared' || this.#isOfLockedOut(agent, slot, version)) continue;
        const what = `version ${version} of ${slot} is prepared and never used`;
        found.push(this.violation(observation, { agentId, what, about: [keyId] }));
      }
    }
    return found;
  }

  /** A verifier that was fenced out hears no more of the rotation. */
  #mayMiss({ agentId }: AgentView, slot: string): boolean {
    for (const { plan, slots } of this.#book.sagas.values()) {
      const planned = slots.get(slot);
      if (planned === undefined || planned.owner === agentId) continue;
      if (plan?.silent_member === 'fence' && planned.members.includes(agentId)) return true;
    }
    return false;
  }

  #isOfLockedOut(agent: AgentView, slot: string, version: number): boolean {
    for (const candidate of agent.candidates.values()) {
      if (candidate.slot !== slot || candidate.version !== version) continue;
      if (this.#book.saga(candidate.sagaId)?.phase === 'locked_out') return true;
    }
    return false;
  }
}
