/**
 * Invariant 14: a lockout is sticky, visible and left only by an approved recovery. A frozen slot stays
 * frozen, and its keys as they are, until an entry with the signer's recovery authorization lies in the
 * audit; the saga keeps its slots meanwhile. Who offered a bad document stays locked out for its time,
 * over restarts.
 */

import type { Change, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import { openStepOf, turnOf } from './open-steps.ts';
import type { Hold, Saga, SagaBook } from './sagas.ts';

export class StickyLockouts extends BaseChecker {
  readonly invariant = 14;
  readonly name = 'a lockout is left only by an approved recovery';
  readonly kinds = ['frozen', 'key', 'leaf', 'lockout', 'message', 'step'] as const;
  readonly #book: SagaBook;
  /** `<agent> <slot>` → the entry of a lockout that froze it. */
  readonly #frozenBy = new Map<string, Hold>();
  /** `<agent> <slot>`, frozen at some time. */
  readonly #everFrozen = new Set<string>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    switch (change.kind) {
      case 'frozen':
        return this.#froze(observation, change);
      case 'key':
        return this.#turned(observation, change);
      case 'leaf':
        return this.#released(observation);
      case 'lockout':
        return this.#lockedOut(observation, change);
      case 'message':
        return this.#saysFrozen(observation, change.message);
      case 'step':
        this.#freezesAgain(change);
        return nothing;
      default:
        return nothing;
    }
  }

  override atRest(observation: Observation): readonly Violation[] {
    return [...this.#book.sagas.values()]
      .filter(({ phase }) => phase === 'locked_out')
      .flatMap((saga) => this.#stays(observation, saga));
  }

  #froze(
    observation: Observation,
    { agentId, slot, isFrozen }: Extract<Change, { kind: 'frozen' }>,
  ): readonly Violation[] {
    this.looked += 1;
    const agent = observation.agents.get(agentId);
    const name = `${agentId} ${slot}`;
    if (isFrozen) {
      this.#everFrozen.add(name);
      const step = agent && openStepOf(agent, slot, ['freeze']);
      const saga = step && this.#book.saga(step.task.sagaId);
      if (step !== undefined && saga !== undefined) {
        this.#frozenBy.set(name, { sagaId: saga.sagaId, sagaIndex: step.task.sagaIndex });
      }
      if (saga?.phases.get(step?.task.sagaIndex ?? -1) === 'locked_out') return nothing;
      if (saga?.phase === 'locked_out') return nothing;
      const what = `${slot} was frozen without a lockout`;
      return [this.violation(observation, { agentId, what, about: [saga?.sagaId ?? ''] })];
    }
    const frozenBy = this.#frozenBy.get(name);
    this.#frozenBy.delete(name);
    if (this.#isRecovered(frozenBy)) return nothing;
    const what = `${slot} was thawed without an approved recovery`;
    return [this.violation(observation, { agentId, what, about: [frozenBy?.sagaId ?? ''] })];
  }

  /** A later lockout of the same rotation freezes what is frozen already: only its own recovery thaws it. */
  #freezesAgain({ agentId, after }: Extract<Change, { kind: 'step' }>): void {
    if (after?.task.operation !== 'freeze') return;
    const { sagaId, sagaIndex, slots } = after.task;
    for (const { slot } of slots) {
      const name = `${agentId} ${slot}`;
      const former = this.#frozenBy.get(name);
      const isLater = former?.sagaId === sagaId && former.sagaIndex < sagaIndex;
      if (isLater) this.#frozenBy.set(name, { sagaId, sagaIndex });
    }
  }

  /** Who reports that it froze a slot did so before. */
  #saysFrozen(observation: Observation, message: ObservedMessage): readonly Violation[] {
    if (message.type !== 'step-reported') return nothing;
    const report = bodyOf(message, 'step-reported');
    if (report?.operation !== 'freeze' || report.status !== 'done') return nothing;
    const agentId = message.sender;
    this.looked += 1;
    return report.slots.flatMap(({ slot }) => {
      // A recorded log shows no stores.
      const isObserved = observation.agents.get(agentId)?.keys.has(slot) === true;
      if (!isObserved || this.#everFrozen.has(`${agentId} ${slot}`)) return [];
      const what = `${slot} is reported as frozen, and never was`;
      return [this.violation(observation, { agentId, what, about: [report.sagaId] })];
    });
  }

  /** While it is frozen nothing becomes primary and nothing is made; a recovery leads back. */
  #turned(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'key' }>,
  ): readonly Violation[] {
    if (after === undefined) return nothing;
    const frozenBy = this.#frozenBy.get(`${agentId} ${after.slot}`);
    if (frozenBy === undefined) return nothing;
    const turn = turnOf(before, after);
    if (turn === 'destroyed' || turn === 'withdrawn' || turn === 'superseded') return nothing;
    this.looked += 1;
    if (this.#isRecovered(frozenBy)) return nothing;
    const what = `version ${after.version} of ${after.slot} was ${turn} while it is frozen`;
    return [this.violation(observation, { agentId, what, about: [frozenBy.sagaId, after.keyId] })];
  }

  /** A rotation that is locked out gives nothing back. */
  #released(observation: Observation): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest === undefined) return nothing;
    if (latest.entry.saga === 'rotation') return this.#left(observation);
    const { event } = latest.entry;
    const saga = this.#book.saga(event.sagaId);
    if (event.type !== 'slots-released' || saga?.phase !== 'locked_out') return nothing;
    this.looked += 1;
    // An earlier entry may have asked for it.
    const isFenced = [...this.#book.held.values()].some((hold) => hold.sagaId === event.sagaId);
    if (isFenced || saga.slots.size === 0) return nothing;
    const what = 'a rotation that is locked out released its slots';
    return [this.violation(observation, { what, about: [event.sagaId, latest.hash] })];
  }

  /** From `locked_out` on only requests, approvals, answers and the recovery itself are entries. */
  #left(observation: Observation): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'rotation') return nothing;
    const { sagaId, index, event } = latest.entry;
    const saga = this.#book.saga(sagaId);
    const phase = saga?.phases.get(index - 1);
    const isOut = phase !== undefined && phase !== 'locked_out';
    if (isOut && saga?.phases.get(index - 2) === 'locked_out') {
      this.looked += 1;
      const way = saga.entries[index - 1]?.event.type ?? 'nothing';
      if (way === 'recovery-authorized') return nothing;
      const what = `a lockout was left for ${phase} by ${way}`;
      return [this.violation(observation, { what, about: [sagaId, latest.hash] })];
    }
    if (phase !== 'locked_out') return nothing;
    this.looked += 1;
    if (staying.includes(event.type)) return nothing;
    const what = `${event.type} was accepted in a lockout`;
    return [this.violation(observation, { what, about: [sagaId, latest.hash] })];
  }

  #lockedOut(
    observation: Observation,
    { agentId, sender, before, after }: Extract<Change, { kind: 'lockout' }>,
  ): readonly Violation[] {
    if (before === undefined) return nothing;
    this.looked += 1;
    const isOver = observation.nowMs + observation.clockErrorMsMax >= before;
    if (isOver || (after !== undefined && after >= before)) return nothing;
    const what = `the lockout of ${sender} ended ${before - observation.nowMs} ms early`;
    return [this.violation(observation, { agentId, what })];
  }

  #stays(observation: Observation, saga: Saga): readonly Violation[] {
    const found: Violation[] = [];
    for (const { slot, owner } of saga.slots.values()) {
      this.looked += 1;
      const about = [saga.sagaId];
      if (this.#book.held.get(slot)?.sagaId !== saga.sagaId) {
        const what = `${slot} is free, and its rotation is locked out`;
        found.push(this.violation(observation, { what, about }));
      }
      const hasFrozen = this.#book.reports(saga.sagaId, slot, 'freeze').has(owner);
      if (!hasFrozen || observation.agents.get(owner)?.frozen.has(slot) === true) continue;
      const what = `${slot} is not frozen, and its rotation is locked out`;
      found.push(this.violation(observation, { agentId: owner, what, about }));
    }
    return found;
  }

  /**
   * A recovery stands in the audit behind the entry by which it was frozen. An agent that was away hears
   * late of a recovery after which its rotation was locked out once more; that freezes it again.
   */
  #isRecovered(frozenBy: Hold | undefined): boolean {
    if (frozenBy === undefined) return false;
    const recoveries = this.#book.saga(frozenBy.sagaId)?.recoveries ?? [];
    return recoveries.some(({ index }) => index > frozenBy.sagaIndex);
  }
}

const staying: readonly string[] = [
  'recovery-requested',
  'recovery-approved',
  'recovery-authorized',
  'statement-refused',
  'reports-received',
  'timer-fired',
  'slots-released',
];
