/**
 * The chains of the senders, as an auditor sees them: one per sender, incarnation, audience and lane.
 * Every event names the one before it by hash, and counters rise along the links. Events may arrive
 * out of order (a publish that timed out is repeated), so a link is checked when both its ends are
 * there. It carries invariant 5 for senders: no fork, and no gap that is not reported.
 *
 * Two events with the same predecessor are a fork: the second one does not count. A predecessor that
 * never arrives is a gap. Gaps are possible without anyone's doing where a sender has no outbox
 * (orchestrators, operators, auditors: the bus may lose what nobody else has seen yet); layer agents
 * and the signer send again until they have a receipt, so theirs stay open only while under way.
 */

/** What an event says of its place; digests and the incarnation are hexadecimal. */
export interface ChainLink {
  readonly hash: string;
  readonly sender: string;
  readonly incarnation: string;
  readonly audience: string;
  readonly lane: string;
  readonly counter: number;
  /** 64 zeros for the first. */
  readonly previous: string;
}

export type ChainFinding =
  | 'linked'
  /** Another event already follows the same predecessor. */
  | 'CHAIN_FORKED'
  /** The counter is not above the predecessor's, or not below the successor's. */
  | 'CHAIN_COUNTER'
  /** The predecessor is an event of another chain. */
  | 'CHAIN_CROSSED';

/** An event whose predecessor has not arrived. */
export interface ChainGap {
  readonly sender: string;
  /** The event that is there. */
  readonly hash: string;
  /** The event that is not. */
  readonly missing: string;
}

export const noPrevious = '0'.repeat(64);

interface Known {
  readonly chain: string;
  readonly counter: number;
}

export class ChainBook {
  readonly #events = new Map<string, Known>();
  /** Chain and predecessor → the event that follows it. */
  readonly #followers = new Map<string, string>();
  /** Missing predecessor → the events that name it. */
  readonly #open = new Map<string, ChainGap[]>();

  /** Notes one authentic event that was not noted before. Only `linked` events enter the chain. */
  note(link: ChainLink): ChainFinding {
    const chain = [link.sender, link.incarnation, link.audience, link.lane].join(' ');
    const place = `${chain} ${link.previous}`;
    if (this.#followers.has(place)) return 'CHAIN_FORKED';
    const previous = this.#events.get(link.previous);
    if (previous !== undefined && previous.chain !== chain) return 'CHAIN_CROSSED';
    if (previous !== undefined && previous.counter >= link.counter) return 'CHAIN_COUNTER';
    for (const waiting of this.#open.get(link.hash) ?? []) {
      const successor = this.#events.get(waiting.hash);
      if (successor?.chain !== chain) return 'CHAIN_CROSSED';
      if (successor.counter <= link.counter) return 'CHAIN_COUNTER';
    }
    this.#open.delete(link.hash);
    this.#followers.set(place, link.hash);
    this.#events.set(link.hash, { chain, counter: link.counter });
    if (previous === undefined && link.previous !== noPrevious) this.#miss(link);
    return 'linked';
  }

  /** Every event whose predecessor is not there, in the order in which they came. */
  gaps(): ChainGap[] {
    return [...this.#open.values()].flat();
  }

  #miss({ sender, hash, previous }: ChainLink): void {
    const waiting = this.#open.get(previous);
    const gap = { sender, hash, missing: previous };
    if (waiting === undefined) this.#open.set(previous, [gap]);
    else waiting.push(gap);
  }
}
