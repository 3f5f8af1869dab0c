/**
 * Where a follower stands in its stream, by more than a number: a stream that comes back from an older
 * copy of itself gives the sequences that it lost to other messages, and a follower that only counted
 * would pass over these for ever (invariant 15). So whoever begins anew begins at a message that it has
 * already received, its anchor. Where the stream has something else there, or nothing behind it, the
 * follower steps back, to the oldest message that it remembers and then to the first of all.
 *
 * What is remembered and comes again in its old place is not handed on a second time. Beyond that memory
 * messages may repeat after a step back: followers bear that, as they bear a restart of their own.
 */
import type { BusMessage } from './bus.ts';

/** Messages that a follower remembers, by place. */
export const placesMax = 256;

export class FollowPlace {
  /** By sequence, in rising order: which message was received there. */
  readonly #received = new Map<number, string>();
  #newest = 0;
  #next: number;
  #anchor: number | undefined;
  /** The newest anchor was not in its place; the next one is the oldest. */
  #isBehind = false;

  constructor(fromSequence: number) {
    this.#next = fromSequence;
  }

  /** Where nothing was received yet: the first sequence that is wanted. */
  get next(): number {
    return this.#next;
  }

  /** A new beginning. Returns the sequence to begin at: of the anchor, where there is one. */
  begin(): number {
    const oldest = this.#received.keys().next().value;
    this.#anchor = this.#isBehind || oldest === undefined ? oldest : this.#newest;
    return this.#anchor ?? this.#next;
  }

  /** Whether a message at or behind the beginning must be there: else the stream went back. */
  get isAnchored(): boolean {
    return this.#anchor !== undefined;
  }

  /**
   * What came first, or next, since the beginning. `new`: to be handed on; `known`: was handed on
   * before; `gone`: something else stands where the anchor was, so that one has to step back.
   */
  arrived({ sequence, messageId, timeMs }: BusMessage): 'new' | 'known' | 'gone' {
    const what = `${messageId} ${timeMs}`;
    const isKnown = this.#received.get(sequence) === what;
    const anchor = this.#anchor;
    this.#anchor = undefined;
    if (anchor !== undefined && !(isKnown && sequence === anchor)) return 'gone';
    this.#isBehind = false;
    this.#next = sequence + 1;
    if (isKnown) return 'known';
    this.#forgetFrom(sequence);
    this.#received.set(sequence, what);
    this.#newest = sequence;
    if (this.#received.size > placesMax) {
      const oldest = this.#received.keys().next().value;
      if (oldest !== undefined) this.#received.delete(oldest);
    }
    return 'new';
  }

  /** The stream is not what it was: the next beginning is further back. */
  stepBack(): void {
    if (!this.#isBehind && this.#received.size > 1) {
      this.#isBehind = true;
      return;
    }
    this.#received.clear();
    this.#isBehind = false;
    this.#anchor = undefined;
    this.#next = 1;
  }

  #forgetFrom(sequence: number): void {
    if (this.#newest < sequence) return;
    for (const at of this.#received.keys()) if (at >= sequence) this.#received.delete(at);
  }
}
