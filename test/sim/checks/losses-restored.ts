/**
 * Invariant 15: what the bus lost after acknowledging is detected and put back. At rest every authentic
 * control event that the bus had acknowledged is a leaf (but for what it lost before anybody else had
 * seen it, of senders who keep no copy), and everything that a rotation without an end still needs is on
 * the bus, by itself or as what an auditor put back.
 */

import type { RotationPhase } from '#schemas/saga.ts';
import type { Change, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import type { Saga, SagaBook } from './sagas.ts';

/** Rotations that are over need nothing more. */
const over: readonly (RotationPhase | undefined)[] = ['refused', 'retired', 'rolled_back'];
/** Prekeys are replaced by new ones, not put back; a layer agent that offers documents is not as it should be. */
const unkept: readonly string[] = ['prekeys-published', 'document-offered'];
const listedMax = 8;

export class LossesRestored extends BaseChecker {
  readonly invariant = 15;
  readonly name = 'nothing acknowledged is lost';
  readonly kinds = ['leaf', 'message', 'injected'] as const;
  readonly #book: SagaBook;
  /** Hash → accepted by some auditor. */
  readonly #leaves = new Map<string, boolean>();
  /** Hash → places where it, or what put it back, is or was. */
  readonly #places = new Map<string, number[]>();
  readonly #injected = new Set<string>();

  constructor(book: SagaBook) {
    super();
    this.#book = book;
  }

  override afterEvent(_observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'leaf') {
      const { hash, verdict } = change.leaf;
      this.#leaves.set(hash, verdict === 'accepted' || this.#leaves.get(hash) === true);
    } else if (change.kind === 'message') this.#note(change.message);
    else if (change.kind === 'injected') this.#injected.add(change.hash);
    return nothing;
  }

  override atRest(observation: Observation): readonly Violation[] {
    const audited = [...observation.agents.values()].some(({ leaves }) => leaves.length > 0);
    if (!audited) return nothing;
    const missing = observation.messages.flatMap((message) => this.#audited(observation, message));
    const lost = [...this.#book.sagas.values()]
      .filter(({ phase, plan }) => plan !== undefined && !over.includes(phase))
      .flatMap((saga) => this.#isBack(observation, saga));
    return [...missing.slice(0, listedMax), ...lost.slice(0, listedMax)];
  }

  #note(message: ObservedMessage): void {
    if (message.stream !== 'GYRE_CONTROL' || message.hash === '') return;
    this.#place(message.hash, message.sequence);
    const restored = bodyOf(message, 'event-restored')?.statementHash;
    if (restored !== undefined) this.#place(restored, message.sequence);
  }

  #place(hash: string, sequence: number): void {
    const places = this.#places.get(hash);
    if (places === undefined) this.#places.set(hash, [sequence]);
    else places.push(sequence);
  }

  #audited(observation: Observation, message: ObservedMessage): readonly Violation[] {
    const { stream, hash, sender, type } = message;
    if (stream !== 'GYRE_CONTROL' || hash === '' || this.#injected.has(hash)) return nothing;
    this.looked += 1;
    if (this.#leaves.has(hash) || !message.authentic) return nothing;
    const agent = observation.agents.get(sender);
    const isKept = agent?.kind === 'layer' || agent?.kind === 'signer';
    const keepsCopy = isKept && !unkept.includes(type);
    if (!keepsCopy && !this.#isThere(observation, hash)) return nothing;
    if (!this.#isThere(observation, hash) && agent?.isAlive === false) return nothing;
    const what = `a ${type} that the bus acknowledged is in no audit`;
    return [this.violation(observation, { agentId: sender, what, about: [hash] })];
  }

  /** Entries of a rotation and what they rest on. */
  #isBack(observation: Observation, saga: Saga): readonly Violation[] {
    const wanted = saga.entries.flatMap(({ hash, consumed }) => [hash, ...consumed]);
    return [...new Set(wanted)].flatMap((hash) => {
      this.looked += 1;
      const message = observation.messageOf(hash);
      const expiresMs = message?.header?.expiresMs ?? 0;
      const isOver = expiresMs <= observation.nowMs + observation.clockErrorMsMax;
      if (isOver || this.#leaves.get(hash) !== true || this.#isThere(observation, hash)) return [];
      const what = `a ${message?.type ?? 'message'} of an open rotation was lost and not put back`;
      return [this.violation(observation, { what, about: [saga.sagaId, hash] })];
    });
  }

  /** By itself or put back; a stream that went back gave its place to something else. */
  #isThere(observation: Observation, hash: string): boolean {
    const places = this.#places.get(hash) ?? [];
    return places.some((sequence) => {
      if (!observation.isThere('GYRE_CONTROL', sequence)) return false;
      const message = observation.message('GYRE_CONTROL', sequence);
      if (message === undefined || message.hash === hash) return message !== undefined;
      return bodyOf(message, 'event-restored')?.statementHash === hash;
    });
  }
}
