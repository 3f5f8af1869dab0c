/**
 * Invariant 3: at least one valid key per slot at every moment. A slot that had a key has a primary one
 * after every commit of its key store, and a verifier never drops the public half of the key that the
 * owner makes things with, unless nobody takes them any more because the owner was revoked.
 */

import type { Change, Observation } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import type { SagaBook } from './sagas.ts';

export class AlwaysAKey extends BaseChecker {
  readonly invariant = 3;
  readonly name = 'a valid key per slot at every moment';
  readonly kinds = ['key', 'peer'] as const;
  readonly #book: SagaBook;

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'key' && change.after !== undefined) {
      return this.#hasPrimary(observation, change.agentId, change.after.slot);
    }
    if (change.kind === 'peer' && change.after === undefined && change.before !== undefined) {
      const { slot, keyId } = change.before;
      return this.#dropped(observation, { agentId: change.agentId, slot, keyId });
    }
    return nothing;
  }

  override atRest(observation: Observation): readonly Violation[] {
    return [...observation.agents.values()].flatMap(({ agentId, keys }) =>
      [...keys.keys()].flatMap((slot) => this.#hasPrimary(observation, agentId, slot)),
    );
  }

  #hasPrimary(observation: Observation, agentId: string, slot: string): readonly Violation[] {
    const versions = observation.agents.get(agentId)?.keys.get(slot);
    this.looked += 1;
    for (const { state } of versions?.values() ?? []) if (state === 'primary') return nothing;
    const states = [...(versions?.values() ?? [])].map(
      ({ version, state }) => `${version} ${state}`,
    );
    const what = `${slot} has no primary key (${states.join(', ')})`;
    return [this.violation(observation, { agentId, what })];
  }

  #dropped(
    observation: Observation,
    { agentId, slot, keyId }: { agentId: string; slot: string; keyId: string },
  ): readonly Violation[] {
    this.looked += 1;
    for (const owner of observation.agents.values()) {
      if (this.#book.revoked.has(owner.agentId)) continue;
      for (const row of owner.keys.get(slot)?.values() ?? []) {
        if (row.keyId !== keyId || row.state !== 'primary') continue;
        const what = `${agentId} dropped the key of ${slot} that ${owner.agentId} is using`;
        return [this.violation(observation, { agentId, what, about: [keyId] })];
      }
    }
    return nothing;
  }
}
