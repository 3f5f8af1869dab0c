/**
 * Invariant 2: one commit decision per saga; at rest all of the plan's slots are on the new version or
 * all on the old. Decisions are counted in the audit, keys are looked at where they lie. A slot that a
 * later rotation turned is on the new version of an earlier one. A slot whose owner was revoked is not
 * the mesh's any more: nobody takes what its keys make, and nobody tells its owner to turn it.
 */

import type { RotationPhase } from '#schemas/saga.ts';
import type { Change, KeyRow, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import { turnOf } from './open-steps.ts';
import { mayBeMissing, type Saga, type SagaBook } from './sagas.ts';

/** Phases from which a commit decision can follow. */
const beforeCommit: readonly RotationPhase[] = ['committing'];

export class OneDecision extends BaseChecker {
  readonly invariant = 2;
  readonly name = 'one decision, and slots of a plan together';
  readonly kinds = ['leaf', 'key', 'message'] as const;
  readonly #book: SagaBook;

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'leaf') return this.#decided(observation);
    if (change.kind === 'message') return this.#wentBack(observation, change.message);
    if (change.kind === 'key' && change.after !== undefined) {
      return this.#turned(observation, change.agentId, change.before, change.after);
    }
    return nothing;
  }

  override atRest(observation: Observation): readonly Violation[] {
    return [...this.#book.sagas.values()]
      .filter(({ isExecuted, phase }) => isExecuted && phase !== 'locked_out')
      .flatMap((saga) => this.#together(observation, saga));
  }

  #decided(observation: Observation): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'rotation') return nothing;
    const { sagaId, index, event } = latest.entry;
    if (event.type !== 'commit-decided') return nothing;
    this.looked += 1;
    const saga = this.#book.saga(sagaId);
    const about = [sagaId, latest.hash];
    const found: Violation[] = [];
    if ((saga?.commits.length ?? 0) > 1) {
      found.push(this.violation(observation, { what: 'a second commit decision', about }));
    }
    const phase = saga?.phases.get(index - 1);
    if (phase !== undefined && !beforeCommit.includes(phase)) {
      const what = `a commit decision of a rotation that is ${phase}`;
      found.push(this.violation(observation, { what, about }));
    }
    const named = new Set(event.commit.body.keys.map(({ slot }) => slot));
    for (const slot of saga?.slots.keys() ?? []) {
      if (named.has(slot)) continue;
      const what = `the commit decision does not name ${slot}`;
      found.push(this.violation(observation, { what, about }));
    }
    for (const { slot, members } of saga?.slots.values() ?? []) {
      const key = event.commit.body.keys.find((each) => each.slot === slot);
      const used = this.#book.reports(sagaId, slot, 'verify');
      for (const member of members) {
        if (used.get(member)?.keyId === key?.key_id) continue;
        if (saga === undefined || mayBeMissing(saga, slot, member)) continue;
        const what = `the commit decision, and ${member} has not used the new key of ${slot}`;
        found.push(this.violation(observation, { what, about }));
      }
    }
    return found;
  }

  /** Where an auditor says that a rotation has gone back, none of its new keys is in use any more. */
  #wentBack(observation: Observation, message: ObservedMessage): readonly Violation[] {
    if (message.type !== 'receipts-issued') return nothing;
    const gone = (bodyOf(message, 'receipts-issued')?.entries ?? []).flatMap((each) =>
      each.verdict === 'accepted' && each.phase === 'rolled_back' ? (each.sagaId ?? []) : [],
    );
    return gone.flatMap((sagaId) =>
      [...(this.#book.saga(sagaId)?.slots.values() ?? [])].flatMap(({ slot, owner }) => {
        if (this.#book.revoked.has(owner)) return [];
        const agent = observation.agents.get(owner);
        const made = agent?.candidates.get(`${slot} ${sagaId}`)?.keyId;
        this.looked += 1;
        if (made === undefined || primaryOf(agent?.keys.get(slot))?.keyId !== made) return [];
        const what = `the rotation has gone back, and ${slot} is still on its new key`;
        return [this.violation(observation, { agentId: owner, what, about: [sagaId, made] })];
      }),
    );
  }

  /** After the commit nothing goes back; before it, what was decided for rollback does not go on. */
  #turned(
    observation: Observation,
    agentId: string,
    before: KeyRow | undefined,
    after: KeyRow,
  ): readonly Violation[] {
    if (turnOf(before, after) !== 'restored') return nothing;
    this.looked += 1;
    for (const saga of this.#book.sagas.values()) {
      const planned = saga.slots.get(after.slot);
      if (saga.commits.length === 0 || planned?.keyId !== after.keyId) continue;
      const what = `${after.slot} went back to version ${after.version} after the commit decision`;
      return [this.violation(observation, { agentId, what, about: [saga.sagaId, after.keyId] })];
    }
    return nothing;
  }

  #together(observation: Observation, saga: Saga): readonly Violation[] {
    const [decided] = saga.commits;
    const committed = new Map(decided?.commit.body.keys.map((key) => [key.slot, key]));
    const found: Violation[] = [];
    for (const { slot, owner, version } of saga.slots.values()) {
      const agent = observation.agents.get(owner);
      const primary = primaryOf(agent?.keys.get(slot));
      if (agent === undefined || primary === undefined || saga.revoked.has(owner)) continue;
      this.looked += 1;
      const candidate = agent.candidates.get(`${slot} ${saga.sagaId}`);
      const key = committed.get(slot);
      const isBehind = primary.version < (key?.version ?? version);
      const isOther = primary.version === key?.version && primary.keyId !== key.key_id;
      const isAhead = key === undefined && candidate?.version === primary.version;
      if (!isBehind && !isOther && !isAhead) continue;
      const decision = key === undefined ? 'did not commit' : `committed ${key.version}`;
      const what = `${slot} is on version ${primary.version}, and its rotation ${decision}`;
      const about = [saga.sagaId, primary.keyId];
      found.push(this.violation(observation, { agentId: owner, what, about }));
    }
    return found;
  }
}

function primaryOf(versions: ReadonlyMap<number, KeyRow> | undefined): KeyRow | undefined {
  return [...(versions?.values() ?? [])].find(({ state }) => state === 'primary');
}
