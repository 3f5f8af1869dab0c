/** What became of operators' requests, as the log says, and who waits to hear it. */

import type { OrchCode } from '#schemas/errors.ts';

export type RequestOutcome =
  { readonly status: 'accepted'; readonly planId: string } | RefusedRequest;

interface RefusedRequest {
  readonly status: 'refused';
  readonly code: OrchCode;
  readonly reason: string;
  readonly planId?: string;
}

const keptMax = 8192;
/** Requests of locked-out operators that are remembered, so that they are told. */
const unheardMax = 512;

export class Outcomes {
  readonly #known = new Map<string, RequestOutcome>();
  readonly #unheard = new Map<string, RequestOutcome>();
  #changed = Promise.withResolvers<void>();

  has(request: string): boolean {
    return this.#known.has(request);
  }

  /** What the log says, or else that the request was not listened to. */
  get(request: string): RequestOutcome | undefined {
    return this.#known.get(request) ?? this.#unheard.get(request);
  }

  /** The first outcome of a request stands. */
  note(request: string, outcome: RequestOutcome): void {
    if (this.#known.has(request)) return;
    this.#known.set(request, outcome);
    this.#unheard.delete(request);
    trim(this.#known, keptMax);
    this.#announce();
  }

  /**
   * This orchestrator does not listen to the request, or cannot meet it now. That is on no record and
   * decides nothing: another orchestrator may have heard it, and what the log says of it stands.
   */
  notHeard(request: string, refusal: Pick<RefusedRequest, 'code' | 'reason'>): void {
    if (this.#known.has(request)) return;
    this.#unheard.set(request, { status: 'refused', ...refusal });
    trim(this.#unheard, unheardMax);
    this.#announce();
  }

  changed(): Promise<void> {
    return this.#changed.promise;
  }

  #announce(): void {
    const previous = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    previous.resolve();
  }
}

function trim(map: Map<string, RequestOutcome>, entriesMax: number): void {
  if (map.size <= entriesMax) return;
  const oldest = map.keys().next().value;
  if (oldest !== undefined) map.delete(oldest);
}
