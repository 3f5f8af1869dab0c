/**
 * One channel's epoch log as an orchestrator knows it: the state folded from what the bus delivered.
 * Entries need no receipt: what vouches for an epoch is the signer's announcement, and before the first
 * epoch nobody could issue one. What does not follow from the state is passed over by everyone alike.
 */

import type { EpochEntry } from '#schemas/epoch.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import {
  initialEpochs,
  stepEpoch,
  type EpochEvent,
  type EpochRejection,
  type EpochState,
} from '#shared/core/epoch.ts';
import { activeEpoch } from '#shared/core/epoch.ts';

/** What the folding of an event needs beside the event. */
export interface EntryFacts {
  readonly entry: EpochEntry;
  /** SHA3-256 of the announcement, where the entry is one. */
  readonly announcementDigest: string | undefined;
  readonly author: string;
  readonly atMs: number;
  /** Of the message that the entry came in. */
  readonly sequence: number;
  /** Signers of the mesh: without them no epoch comes into use. */
  readonly keepers: readonly string[];
}

type Acceptance = Omit<Extract<EpochEvent, { type: 'epoch-accepted' }>, 'type'>;

export class EpochLog {
  readonly channel: string;
  /** By agent, its newest that came before the announcement: the two are followed side by side. */
  readonly #early = new Map<string, Acceptance>();
  state: EpochState;
  /** Sequence of the last message on the subject, whatever it holds. */
  lastSequence = 0;
  /** Who announced the epoch that was announced last. */
  author: string | undefined;
  /** Stream sequence of the announcement that is neither in use nor abandoned. */
  pendingSequence: number | undefined;
  /** Messages seen under the epoch in use. */
  messages = 0;

  constructor(channel: string) {
    this.channel = channel;
    this.state = initialEpochs(channel);
  }

  /** An authentic entry; undefined where it took effect. */
  apply(facts: EntryFacts, policy: PolicyBody): EpochRejection | undefined {
    const event = eventOf(facts);
    const before = activeEpoch(this.state)?.epoch;
    const rejected = this.#step(event, policy);
    if (rejected !== undefined) return rejected;
    if (event.type === 'epoch-announced') {
      this.author = facts.author;
      this.pendingSequence = facts.sequence;
      this.#takeEarly(policy);
    } else if (event.type !== 'epoch-closed') this.pendingSequence = undefined;
    if (activeEpoch(this.state)?.epoch !== before) this.messages = 0;
    return undefined;
  }

  /** One of an epoch that is not announced yet counts once it is. */
  accepted(acceptance: Acceptance, policy: PolicyBody): EpochRejection | undefined {
    if (acceptance.epoch > this.state.highest) this.#early.set(acceptance.agentId, acceptance);
    return this.#step({ type: 'epoch-accepted', ...acceptance }, policy);
  }

  /** An announcement of this number stands in the log without effect: none is made below it. */
  numberUsed(epoch: number): void {
    this.state = { ...this.state, highest: Math.max(epoch, this.state.highest) };
  }

  /** A message of the channel went by. */
  count(epoch: number): void {
    if (activeEpoch(this.state)?.epoch === epoch) this.messages += 1;
  }

  #takeEarly(policy: PolicyBody): void {
    for (const [agentId, acceptance] of this.#early) {
      if (acceptance.epoch > this.state.highest) continue;
      this.#early.delete(agentId);
      this.#step({ type: 'epoch-accepted', ...acceptance }, policy);
    }
  }

  #step(event: EpochEvent, { policies }: PolicyBody): EpochRejection | undefined {
    const { rotation, channels } = policies;
    const rules = { graceMs: channels.epoch_grace_ms, skewMs: rotation.clock_skew_ms };
    const step = stepEpoch(this.state, event, rules);
    if ('rejected' in step) return step.rejected;
    this.state = step.state;
    return undefined;
  }
}

function eventOf({ entry, announcementDigest, atMs, sequence, keepers }: EntryFacts): EpochEvent {
  const { epoch, event } = entry;
  switch (event.type) {
    case 'epoch-announced': {
      const { cause, members, entitled_digest: entitledDigest } = event.announcement.body;
      return {
        type: 'epoch-announced',
        epoch,
        cause,
        announcementDigest: announcementDigest ?? '',
        entitledDigest,
        members: members.map((member) => member.agent_id),
        atMs,
        sequence,
      };
    }
    case 'epoch-activated': {
      const { accepted, absent } = event;
      return { type: event.type, epoch, accepted, absent, keepers, atMs };
    }
    case 'epoch-closed':
    case 'epoch-abandoned':
      return { type: event.type, epoch, atMs };
  }
}
