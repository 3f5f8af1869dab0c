/**
 * Invariant 4: at most one primary per key slot and version; an old one is accepted only as long as its
 * window and its data say. A number belongs to one key for ever, at its owner and at everyone who
 * accepted it; a destroyed key does not come back; when a rotation is retired, its old key is gone.
 */

import type { AgentView, Change, Observation, PeerRow } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import { mayBeMissing, type Saga, type SagaBook } from './sagas.ts';

/** A discard is asked for again while the key was used lately, and while its owner is away. */
const discardMsMax = 30_000;

export class OnePrimary extends BaseChecker {
  readonly invariant = 4;
  readonly name = 'one primary per slot, one key per version';
  readonly kinds = ['key', 'peer'] as const;
  readonly #book: SagaBook;

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'peer' && change.after !== undefined) {
      return this.#accepted(observation, change.agentId, change.after);
    }
    if (change.kind !== 'key') return nothing;
    const { agentId, before, after } = change;
    this.looked += 1;
    if (after === undefined) {
      const what = `version ${before?.version} of ${before?.slot} is no longer in the key store`;
      return [this.violation(observation, { agentId, what, about: [before?.keyId ?? ''] })];
    }
    const { slot, version, keyId } = after;
    const found: Violation[] = [];
    if (before !== undefined && before.keyId !== keyId) {
      const what = `version ${version} of ${slot} is another key than before`;
      found.push(this.violation(observation, { agentId, what, about: [before.keyId, keyId] }));
    }
    if (before?.state === 'destroyed' && after.state !== 'destroyed') {
      const what = `version ${version} of ${slot} was destroyed and is ${after.state}`;
      found.push(this.violation(observation, { agentId, what, about: [keyId] }));
    }
    const rows = [...(observation.agents.get(agentId)?.keys.get(slot)?.values() ?? [])];
    const primaries = rows.filter(({ state }) => state === 'primary');
    if (primaries.length > 1) {
      const about = primaries.map((row) => row.keyId);
      const what = `${slot} has ${primaries.length} primary keys`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    return found;
  }

  override atRest(observation: Observation): readonly Violation[] {
    return [...this.#book.sagas.values()].flatMap((saga) => {
      if (saga.phase === 'rolled_back') return this.#wentBack(observation, saga);
      return saga.phase === 'retired' ? this.#retired(observation, saga) : [];
    });
  }

  /** Long after a rotation went back its new keys are gone: they were kept for what was made under them. */
  #wentBack(observation: Observation, saga: Saga): readonly Violation[] {
    const overlapMs = saga.plan?.timing.overlap_ms ?? Infinity;
    const sinceMs = observation.nowMs - (saga.rolledBackAtMs ?? Infinity);
    if (sinceMs < 2 * overlapMs + discardMsMax) return nothing;
    return [...saga.slots.values()].flatMap(({ slot, owner }) => {
      const agent = observation.agents.get(owner);
      const keyId = agent?.candidates.get(`${slot} ${saga.sagaId}`)?.keyId;
      if (agent?.isAlive !== true || keyId === undefined || saga.revoked.has(owner)) return [];
      this.looked += 1;
      if (!isHeld(agent, { slot, keyId, isOwner: true })) return [];
      const what = `the new key of ${slot} is still taken, ${sinceMs} ms after its rotation went back`;
      return [this.violation(observation, { agentId: owner, what, about: [saga.sagaId, keyId] })];
    });
  }

  #accepted(observation: Observation, agentId: string, peer: PeerRow): readonly Violation[] {
    const { slot, version, keyId } = peer;
    const owners = [...observation.agents.values()].filter(({ keys }) => keys.has(slot));
    if (owners.length === 0) return nothing;
    this.looked += 1;
    const isMade = owners.some(({ keys }) => keys.get(slot)?.get(version)?.keyId === keyId);
    if (isMade) return nothing;
    const what = `accepted version ${version} of ${slot} that no owner made`;
    return [this.violation(observation, { agentId, what, about: [keyId] })];
  }

  #retired(observation: Observation, saga: Saga): readonly Violation[] {
    const found: Violation[] = [];
    for (const { slot, owner, members, keyId } of saga.slots.values()) {
      for (const member of members) {
        const agent = observation.agents.get(member);
        // Nobody tells an agent anything that is out of the mesh.
        if (agent === undefined || saga.revoked.has(member)) continue;
        if (mayBeMissing(saga, slot, member)) continue;
        this.looked += 1;
        if (!isHeld(agent, { slot, keyId, isOwner: member === owner })) continue;
        const what = `the old key of ${slot} is still taken after the rotation is retired`;
        found.push(
          this.violation(observation, { agentId: member, what, about: [saga.sagaId, keyId] }),
        );
      }
    }
    return found;
  }
}

function isHeld(
  agent: AgentView,
  { slot, keyId, isOwner }: { slot: string; keyId: string; isOwner: boolean },
): boolean {
  if (!isOwner) return agent.peers.has(`${slot} ${keyId}`);
  const rows = [...(agent.keys.get(slot)?.values() ?? [])];
  return rows.some((row) => row.keyId === keyId && row.state !== 'destroyed');
}
