/** What became of operators' requests, as the log says, and who waits to hear it. */

import type { OrchCode } from '#schemas/errors.ts';

export type RequestOutcome =
  | { readonly status: 'accepted'; readonly planId: string }
  | {
      readonly status: 'refused';
      readonly code: OrchCode;
      readonly reason: string;
      readonly planId?: string;
    };

const keptMax = 8192;

export class Outcomes {
  readonly #known = new Map<string, RequestOutcome>();
  #changed = Promise.withResolvers<void>();

  has(request: string): boolean {
    return this.#known.has(request);
  }

  get(request: string): RequestOutcome | undefined {
    return this.#known.get(request);
  }

  /** The first outcome of a request stands. */
  note(request: string, outcome: RequestOutcome): void {
    if (this.#known.has(request)) return;
    this.#known.set(request, outcome);
    if (this.#known.size > keptMax) {
      const oldest = this.#known.keys().next().value;
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    const previous = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    previous.resolve();
  }

  changed(): Promise<void> {
    return this.#changed.promise;
  }
}
