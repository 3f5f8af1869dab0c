/** Events of one log as anyone can check them, in the order of the bus. */

import type { Disclosure } from '#schemas/frame.ts';

interface Kept {
  readonly sequence: number;
  readonly disclosure: Disclosure;
}

export class DisclosedLog {
  readonly #kept = new Map<string, Kept>();

  /** Takes the event in and forgets every other than `wanted`, by statement hash. */
  keep(event: Kept & { readonly hash: string }, wanted: ReadonlySet<string>): void {
    const { hash, sequence, disclosure } = event;
    this.#kept.set(hash, { sequence, disclosure });
    for (const known of this.#kept.keys()) {
      if (!wanted.has(known)) this.#kept.delete(known);
    }
  }

  inOrder(): Disclosure[] {
    return [...this.#kept.values()]
      .toSorted((one, other) => one.sequence - other.sequence)
      .map(({ disclosure }) => disclosure);
  }
}
