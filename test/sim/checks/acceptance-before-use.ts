/**
 * Invariant 1: nothing is signed or encrypted with a key before all members of its slot have durably
 * accepted it. Looked at where a prepared key becomes primary in a key store, and at every use: each
 * verifier that the plan names then has this very key in its own database (a public half whose digest
 * is the key's id), or is one that the plan lets stay away and that was asked often enough.
 */

import type { RotationPhase } from '#schemas/saga.ts';
import type { Change, KeyRow, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import { turnOf } from './open-steps.ts';
import { mayBeMissing, type PlannedSlot, type Saga, type SagaBook } from './sagas.ts';

/**
 * A withdrawn public half was accepted, and verifies until it is dropped, which is after the overlap. So
 * all members of a slot go back at once, and nobody waits for the owner: a command to activate that was
 * under way may make the key primary once more, until the owner's own rollback, and nothing that is made
 * under it meanwhile is orphaned. Outside of a rollback there is no such excuse.
 */
const goingBack: ReadonlySet<string | undefined> = new Set<RotationPhase>([
  'rolling_back',
  'rolled_back',
  'locked_out',
]);
/** A message on its way. */
const leewayMs = 1_000;

export class AcceptanceBeforeUse extends BaseChecker {
  readonly invariant = 1;
  readonly name = 'accepted by all members before it is used';
  readonly kinds = ['key', 'use', 'message'] as const;
  readonly #book: SagaBook;
  /** `<channel> <epoch>` → true time of its announcement. */
  readonly #announcedMs = new Map<string, number>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'use') return this.#used(observation, change);
    if (change.kind === 'message') return this.#epochBegan(observation, change.message);
    if (change.kind !== 'key' || change.after === undefined) return nothing;
    const { agentId, before, after } = change;
    const turn = turnOf(before, after);
    if (turn !== 'activated' && turn !== 'other') return nothing;
    this.looked += 1;
    if (turn === 'other') {
      const from = before?.state ?? 'nothing';
      const what = `version ${after.version} of ${after.slot} went from ${from} to ${after.state}`;
      return [this.violation(observation, { agentId, what, about: [after.keyId] })];
    }
    return this.#activated(observation, agentId, after);
  }

  /** An epoch waits for its members, as long as the policy says. */
  #epochBegan(observation: Observation, message: ObservedMessage): readonly Violation[] {
    if (message.type !== 'epoch-entry') return nothing;
    const entry = bodyOf(message, 'epoch-entry');
    if (entry === undefined || message.header === undefined) return nothing;
    const { channel, epoch, event } = entry;
    const name = `${channel} ${epoch}`;
    if (event.type === 'epoch-announced') this.#announcedMs.set(name, message.timeMs);
    if (event.type !== 'epoch-activated' || event.absent.length === 0) return nothing;
    const digest = Buffer.from(message.header.policyDigest).toString('hex');
    const waitMs = observation.policyOf(digest)?.policies.channels.epoch_accept_ms ?? 0;
    const sinceMs = message.timeMs - (this.#announcedMs.get(name) ?? message.timeMs - waitMs);
    this.looked += 1;
    if (sinceMs + 2 * observation.clockErrorMsMax + leewayMs >= waitMs) return nothing;
    const absent = event.absent.join(', ');
    const what = `epoch ${epoch} of ${channel} is used after ${sinceMs} ms, without ${absent}`;
    const { sender: agentId, hash } = message;
    return [this.violation(observation, { agentId, what, about: [hash] })];
  }

  /** What makes something is the primary key, and no other. */
  #used(
    observation: Observation,
    { agentId, slot, version, purpose }: Extract<Change, { kind: 'use' }>,
  ): readonly Violation[] {
    if (purpose !== 'make') return nothing;
    this.looked += 1;
    const row = observation.agents.get(agentId)?.keys.get(slot)?.get(version);
    // The use of a key that has just gone back was begun before.
    const isUsable = row !== undefined && row.state !== 'prepared' && row.state !== 'destroyed';
    if (isUsable) return nothing;
    const what = `${slot} was used in version ${version}, which is ${row?.state ?? 'not there'}`;
    return [this.violation(observation, { agentId, what })];
  }

  #activated(observation: Observation, agentId: string, key: KeyRow): readonly Violation[] {
    const agent = observation.agents.get(agentId);
    const candidate = [...(agent?.candidates.values() ?? [])].find(
      ({ slot, keyId }) => slot === key.slot && keyId === key.keyId,
    );
    const saga = candidate === undefined ? undefined : this.#book.saga(candidate.sagaId);
    const planned = saga?.slots.get(key.slot);
    if (saga === undefined || planned === undefined) {
      const what = `version ${key.version} of ${key.slot} became primary without a plan`;
      return [this.violation(observation, { agentId, what, about: [key.keyId] })];
    }
    return planned.members
      .filter((member) => member !== agentId)
      .flatMap((member) => this.#memberMisses(observation, { saga, planned, key }, member));
  }

  #memberMisses(
    observation: Observation,
    { saga, planned, key }: { saga: Saga; planned: PlannedSlot; key: KeyRow },
    member: string,
  ): readonly Violation[] {
    const { slot } = planned;
    const peer = observation.agents.get(member)?.peers.get(`${slot} ${key.keyId}`);
    const about = [saga.sagaId, key.keyId];
    if (peer?.state === 'withdrawn' && !goingBack.has(saga.phase)) {
      const what = `${slot}: the public half was withdrawn in a rotation that is ${saga.phase ?? 'new'}`;
      return [this.violation(observation, { agentId: member, what, about })];
    }
    if (peer?.state === 'accepted' || peer?.state === 'withdrawn') {
      if (observation.digest(peer.publicKey) === key.keyId) return nothing;
      const what = `${slot}: the accepted public half is not the key's`;
      return [this.violation(observation, { agentId: member, what, about })];
    }
    if (mayBeMissing(saga, slot, member)) return nothing;
    const what = `version ${key.version} of ${slot} became primary, and ${member} has not accepted it`;
    return [this.violation(observation, { agentId: planned.owner, what, about })];
  }
}
