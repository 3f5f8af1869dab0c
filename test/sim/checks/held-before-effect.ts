/**
 * Invariant 5: no effect before its entry is held by the bus and an auditor; chains have no gap and no
 * fork. An intent rests on an entry that lies on an auditor's disk at that moment; a key changes only
 * under an intent for it; senders' counters name one event each; an auditor's log only grows, and the
 * bus had each leaf before it.
 */

import type { AgentView, Change, Leaf, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import { causesOf, openStepOf, turnOf } from './open-steps.ts';
import type { SagaBook } from './sagas.ts';

interface Link {
  readonly hash: string;
  readonly counter: number;
}

/** An event whose predecessor was not there when it came. */
interface Gap {
  readonly hash: string;
  readonly sender: string;
  readonly missing: string;
}

const noPrevious = '0'.repeat(64);

export class HeldBeforeEffect extends BaseChecker {
  readonly invariant = 5;
  readonly name = 'held twice before any effect, chains whole';
  readonly kinds = ['step', 'key', 'message', 'leaf', 'cut', 'injected'] as const;
  readonly #book: SagaBook;
  /** Chain → counter → event. */
  readonly #counters = new Map<string, Map<number, string>>();
  /** Chain and predecessor → event. */
  readonly #followers = new Map<string, Link>();
  readonly #links = new Map<string, Link>();
  readonly #gaps: Gap[] = [];
  /** Auditor → index → leaf that was durable once. */
  readonly #leaves = new Map<string, Leaf[]>();
  readonly #byAuditor = new Map<string, Set<string>>();
  readonly #injected = new Set<string>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    switch (change.kind) {
      case 'step':
        return this.#intended(observation, change);
      case 'key':
        return this.#changed(observation, change);
      case 'message':
        return this.#linked(observation, change.message);
      case 'leaf':
        return this.#kept(observation, change.agentId, change.leaf);
      case 'cut':
        return this.#cut(observation, change.agentId, change.leaves);
      case 'injected':
        this.#injected.add(change.hash);
        return nothing;
      default:
        return nothing;
    }
  }

  /** Layer agents and the signer send again until an auditor has it: at rest nothing is missing. */
  override atRest(observation: Observation): readonly Violation[] {
    return this.#gaps.flatMap(({ hash, sender: agentId, missing }) => {
      const agent = observation.agents.get(agentId);
      const keepsCopy = agent?.kind === 'layer' || agent?.kind === 'signer';
      if (!keepsCopy || !agent.isAlive || this.#links.has(missing)) return [];
      this.looked += 1;
      const what = 'an event follows one that nobody ever saw';
      return [this.violation(observation, { agentId, what, about: [missing, hash] })];
    });
  }

  #intended(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'step' }>,
  ): readonly Violation[] {
    if (before !== undefined || after === undefined) return nothing;
    const { sagaId, sagaIndex, commandId } = after.task;
    this.looked += 1;
    if (this.#book.holds(sagaId, sagaIndex)) return nothing;
    const what = `step ${commandId} is about to happen, and no auditor holds entry ${sagaIndex}`;
    return [this.violation(observation, { agentId, what, about: [sagaId] })];
  }

  #changed(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'key' }>,
  ): readonly Violation[] {
    const agent: AgentView | undefined = observation.agents.get(agentId);
    if (after === undefined || agent === undefined) return nothing;
    const turn = turnOf(before, after);
    if (turn === 'first' || turn === 'other') return nothing;
    this.looked += 1;
    if (openStepOf(agent, after.slot, causesOf[turn]) !== undefined) return nothing;
    const what = `version ${after.version} of ${after.slot} was ${turn} without an intent`;
    return [this.violation(observation, { agentId, what, about: [after.keyId] })];
  }

  #linked(observation: Observation, message: ObservedMessage): readonly Violation[] {
    const { header, hash } = message;
    if (header === undefined || this.#links.has(hash) || this.#injected.has(hash)) return nothing;
    if (!message.authentic) return nothing;
    this.looked += 1;
    const { sender, incarnation, audience, lane, counter } = header;
    const agentId = sender;
    const chain = `${sender} ${hexOf(incarnation)} ${audience} ${lane}`;
    const counters = this.#counters.get(chain) ?? new Map<number, string>();
    this.#counters.set(chain, counters);
    const found: Violation[] = [];
    const other = counters.get(counter);
    if (other !== undefined) {
      const what = `counter ${counter} of one chain was given to two events`;
      found.push(this.violation(observation, { agentId, what, about: [other, hash] }));
    }
    counters.set(counter, hash);
    const link = { hash, counter };
    this.#links.set(hash, link);
    const previous = hexOf(header.previous);
    const place = `${chain} ${previous}`;
    const follower = this.#followers.get(place);
    if (follower !== undefined) {
      const what = 'two events follow the same one in their chain';
      found.push(this.violation(observation, { agentId, what, about: [follower.hash, hash] }));
    }
    this.#followers.set(place, link);
    const before = previous === noPrevious ? undefined : this.#links.get(previous);
    if (before === undefined && previous !== noPrevious && lane === 'control') {
      this.#gaps.push({ hash, sender, missing: previous });
    }
    if (before !== undefined && before.counter >= counter) {
      const what = `counter ${counter} follows ${before.counter}`;
      found.push(this.violation(observation, { agentId, what, about: [previous, hash] }));
    }
    return found;
  }

  #kept(observation: Observation, agentId: string, leaf: Leaf): readonly Violation[] {
    this.looked += 1;
    const leaves = this.#leaves.get(agentId) ?? [];
    this.#leaves.set(agentId, leaves);
    const known = this.#byAuditor.get(agentId) ?? new Set<string>();
    this.#byAuditor.set(agentId, known);
    const { leafIndex, hash, verdict } = leaf;
    const about = [hash];
    const found: Violation[] = [];
    const before = leaves[leafIndex];
    if (before !== undefined && (before.hash !== hash || before.verdict !== verdict)) {
      const what = `leaf ${leafIndex} is another one than before`;
      found.push(this.violation(observation, { agentId, what, about: [before.hash, hash] }));
    } else if (before === undefined && known.has(hash)) {
      const what = `leaf ${leafIndex} is in the log already`;
      found.push(this.violation(observation, { agentId, what, about }));
    } else if (before === undefined && leafIndex !== leaves.length) {
      const what = `leaf ${leafIndex} follows ${leaves.length - 1}`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    if (observation.messageOf(hash) === undefined) {
      const what = `leaf ${leafIndex} was never on the bus`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    leaves[leafIndex] = leaf;
    known.add(hash);
    return [...found, ...this.#forked(observation, agentId)];
  }

  /** Two accepted entries at one place of a saga. */
  #forked(observation: Observation, agentId: string): readonly Violation[] {
    const latest = this.#book.latest;
    if (latest?.entry.saga !== 'rotation') return nothing;
    const { sagaId, index, previous } = latest.entry;
    const saga = this.#book.saga(sagaId);
    const first = saga?.entries[index];
    const about = [sagaId, latest.hash];
    if (first !== undefined && first.hash !== latest.hash) {
      const what = `two entries are accepted at index ${index}`;
      return [this.violation(observation, { agentId, what, about: [...about, first.hash] })];
    }
    const named = index === 0 ? noPrevious : saga?.entries[index - 1]?.hash;
    if (named === previous) return nothing;
    const what = `entry ${index} does not follow the one before it`;
    return [this.violation(observation, { agentId, what, about })];
  }

  #cut(observation: Observation, agentId: string, leaves: number): readonly Violation[] {
    const durable = this.#leaves.get(agentId)?.length ?? 0;
    this.looked += 1;
    if (leaves >= durable) return nothing;
    const what = `the log had ${durable} leaves on the disk and has ${leaves}`;
    return [this.violation(observation, { agentId, what })];
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}
