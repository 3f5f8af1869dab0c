/**
 * Invariant 9: a key is destroyed only after commit (or completed rollback), window, and confirmation
 * that nothing depends on it. Each destroyed key is one of three: the old key of a committed rotation
 * after its overlap, with the releases of all members; the new key of one that went back; or one that
 * was never active. Times are true time, less the largest error that a clock had.
 */

import type { Change, KeyRow, Observation } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import { openStepOf } from './open-steps.ts';
import { mayBeMissing, type PlannedSlot, type Saga, type SagaBook } from './sagas.ts';

interface Destroyed {
  readonly agentId: string;
  readonly before: KeyRow;
}

export class Destruction extends BaseChecker {
  readonly invariant = 9;
  readonly name = 'keys are destroyed only when nothing depends on them';
  readonly kinds = ['key', 'peer', 'use'] as const;
  readonly #book: SagaBook;
  /** `<agent> <slot> <version>` → true time of its last use. */
  readonly #usedMs = new Map<string, number>();
  readonly #everActive = new Set<string>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'use') {
      const { agentId, slot, version, timeMs } = change;
      this.#usedMs.set(`${agentId} ${slot} ${version}`, timeMs);
      return nothing;
    }
    if (change.kind === 'peer') return this.#dropped(observation, change);
    if (change.kind !== 'key' || change.after === undefined) return nothing;
    const { agentId, before, after } = change;
    if (after.state === 'primary') this.#everActive.add(after.keyId);
    if (after.state !== 'destroyed' || before === undefined) return nothing;
    this.looked += 1;
    return this.#destroyed(observation, { agentId, before });
  }

  #destroyed(observation: Observation, { agentId, before }: Destroyed): readonly Violation[] {
    const { slot, keyId, version } = before;
    const found: Violation[] = [];
    if (before.state === 'primary') {
      const what = `version ${version} of ${slot} was destroyed while it was primary`;
      found.push(this.violation(observation, { agentId, what, about: [keyId] }));
    }
    found.push(...this.#inUse(observation, { agentId, before }));
    const maker = this.#makerOf(observation, { agentId, before });
    if (maker !== undefined && maker.commits.length === 0) {
      return [...found, ...this.#discarded(observation, { agentId, before }, maker)];
    }
    const agent = observation.agents.get(agentId);
    const step = agent && openStepOf(agent, slot, ['retire']);
    const saga = step && this.#book.saga(step.task.sagaId);
    const planned = saga?.slots.get(slot);
    if (saga === undefined || planned?.keyId !== keyId) {
      const what = `version ${version} of ${slot} was destroyed, and no rotation retires it`;
      return [...found, this.violation(observation, { agentId, what, about: [keyId] })];
    }
    return [...found, ...this.#retired(observation, agentId, { saga, planned })];
  }

  /** A key that a committed rotation replaced. */
  #retired(
    observation: Observation,
    agentId: string,
    { saga, planned }: { saga: Saga; planned: PlannedSlot },
  ): readonly Violation[] {
    const { slot, keyId, members } = planned;
    const about = [saga.sagaId, keyId];
    const [decided] = saga.commits;
    if (decided === undefined || saga.plan === undefined) {
      const what = `the old key of ${slot} was destroyed without a commit decision`;
      return [this.violation(observation, { agentId, what, about })];
    }
    const found: Violation[] = [];
    // The statement is asked for, and dated, before its entry is there.
    const beganMs = Math.min(decided.timeMs, Date.parse(decided.commit.body.issued_at));
    const dueMs = beganMs + saga.plan.timing.overlap_ms - 2 * observation.clockErrorMsMax;
    if (observation.nowMs < dueMs - leewayMs) {
      const what = `the old key of ${slot} was destroyed ${dueMs - observation.nowMs} ms early`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    const released = this.#book.reports(saga.sagaId, slot, 'release');
    for (const member of members) {
      const report = released.get(member);
      if (report?.keyId === keyId && report.inUse === 0) continue;
      if (mayBeMissing(saga, slot, member)) continue;
      const what = `the old key of ${slot} was destroyed before ${member} let it go`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    return found;
  }

  /** The new key of a rotation without a commit decision. */
  #discarded(
    observation: Observation,
    { agentId, before }: Destroyed,
    saga: Saga,
  ): readonly Violation[] {
    const { slot, keyId } = before;
    const about = [saga.sagaId, keyId];
    const overlapMs = saga.plan?.timing.overlap_ms ?? 0;
    const agent = observation.agents.get(agentId);
    const step = agent && openStepOf(agent, slot, ['discard', 'rollback']);
    if (step !== undefined && step.task.sagaId !== saga.sagaId) {
      const what = `the new key of ${slot} was destroyed for another rotation`;
      return [this.violation(observation, { agentId, what, about: [...about, step.task.sagaId] })];
    }
    if (!this.#everActive.has(keyId)) return nothing;
    // Active without the saga's knowledge: nobody was told of it, and it goes back and away at once.
    const isKnown = this.#book.reports(saga.sagaId, slot, 'activate').has(agentId);
    if (step === undefined) {
      const what = `the withdrawn key of ${slot} was destroyed without a discard`;
      return [this.violation(observation, { agentId, what, about })];
    }
    if (!isKnown) return nothing;
    const backMs = saga.rolledBackAtMs;
    const dueMs = (backMs ?? Infinity) + overlapMs - 2 * observation.clockErrorMsMax;
    if (observation.nowMs >= dueMs - leewayMs) return nothing;
    const when = backMs === undefined ? 'before the rollback was over' : 'before its overlap';
    const what = `the withdrawn key of ${slot} was destroyed ${when}`;
    return [this.violation(observation, { agentId, what, about })];
  }

  /** A verifier drops a public half: that of a retired key, or of a rotation that went back. */
  #dropped(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'peer' }>,
  ): readonly Violation[] {
    if (after !== undefined || before === undefined) return nothing;
    const { slot, keyId } = before;
    this.looked += 1;
    for (const saga of this.#book.sagas.values()) {
      const isOld = saga.slots.get(slot)?.keyId === keyId && saga.commits.length > 0;
      const candidate = observation.agents.get(agentId)?.candidates.get(`${slot} ${saga.sagaId}`);
      const isDiscarded = candidate?.keyId === keyId && saga.commits.length === 0;
      if (isOld || isDiscarded) return nothing;
    }
    const what = `the public half of a key of ${slot} was dropped, and no rotation retires it`;
    return [this.violation(observation, { agentId, what, about: [keyId] })];
  }

  #inUse(observation: Observation, { agentId, before }: Destroyed): readonly Violation[] {
    const { slot, version, keyId } = before;
    const usedMs = this.#usedMs.get(`${agentId} ${slot} ${version}`);
    if (usedMs === undefined) return nothing;
    this.looked += 1;
    const agoMs = observation.nowMs - usedMs;
    if (agoMs >= observation.usageWindowMs - leewayMs) return nothing;
    const what = `version ${version} of ${slot} was destroyed ${agoMs} ms after its last use`;
    return [this.violation(observation, { agentId, what, about: [keyId] })];
  }

  /** The rotation that made the key. */
  #makerOf(observation: Observation, { agentId, before }: Destroyed): Saga | undefined {
    const { slot, version, keyId } = before;
    const fits = [...(observation.agents.get(agentId)?.candidates.values() ?? [])].filter(
      (candidate) => candidate.slot === slot && candidate.version === version,
    );
    // The id is noted with the outcome of the preparation: a crash before that leaves it open.
    const made =
      fits.find((candidate) => candidate.keyId === keyId) ??
      fits.find((candidate) => candidate.keyId === undefined);
    return made === undefined ? undefined : this.#book.saga(made.sagaId);
  }
}

/** Times are of different clocks, read at different moments of one turn. */
const leewayMs = 50;
