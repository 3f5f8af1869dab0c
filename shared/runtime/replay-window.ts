/**
 * Which counters of which chains were seen, in bounded memory. The bus's own redelivery of a message
 * (same stream sequence) is told apart from a copy that somebody published again: the first is
 * normal, the second is a replay and changes nothing (invariant 12).
 */

export const chainsMax = 4096;
export const countersPerChainMax = 4096;

export type Sighting = 'new' | 'redelivered' | 'replayed';

interface Seen {
  readonly sequence: number;
  readonly hash: string;
}

export class ReplayWindow {
  readonly #chains = new Map<string, Map<number, Seen>>();
  /** Highest counter that fell out of a chain's window: what is not above it counts as seen. */
  readonly #floors = new Map<string, number>();

  /** Notes one authentic event and says whether it was seen before. */
  note(event: { chain: string; counter: number; sequence: number; hash: string }): Sighting {
    const { chain, counter, sequence, hash } = event;
    const counters = this.#countersOf(chain);
    const seen = counters.get(counter);
    if (seen !== undefined) {
      return seen.hash === hash && seen.sequence === sequence ? 'redelivered' : 'replayed';
    }
    if (counter <= (this.#floors.get(chain) ?? 0)) return 'replayed';
    counters.set(counter, { sequence, hash });
    if (counters.size > countersPerChainMax) this.#shorten(chain, counters);
    return 'new';
  }

  #countersOf(chain: string): Map<number, Seen> {
    const known = this.#chains.get(chain);
    if (known !== undefined) {
      this.#chains.delete(chain);
      this.#chains.set(chain, known);
      return known;
    }
    if (this.#chains.size >= chainsMax) {
      const oldest = this.#chains.keys().next().value;
      if (oldest !== undefined) {
        this.#chains.delete(oldest);
        this.#floors.delete(oldest);
      }
    }
    const counters = new Map<number, Seen>();
    this.#chains.set(chain, counters);
    return counters;
  }

  #shorten(chain: string, counters: Map<number, Seen>): void {
    let lowest = Number.POSITIVE_INFINITY;
    for (const counter of counters.keys()) lowest = Math.min(lowest, counter);
    counters.delete(lowest);
    this.#floors.set(chain, Math.max(lowest, this.#floors.get(chain) ?? 0));
  }
}
