/**
 * An operator of the simulated world: a principal with a key and nothing else, who asks whichever
 * orchestrator answers, and asks again where the bus loses things. What it does is what people do with the
 * command line; how often and in which order is drawn.
 */

import type { Query } from '#schemas/queries.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import type { EventTypeName } from '#schemas/events.ts';
import type { Exchange, OutgoingEvent } from '#shared/runtime/exchange.ts';
import type { Clock } from '#shared/runtime/ports.ts';

export interface OperatorPorts {
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly subjects: Subjects;
  readonly orchestrators: readonly string[];
  /** Resolves once it holds the secrets of its channels. */
  readonly joined: Promise<void>;
}

export interface RotationSummary {
  readonly planId: string;
  readonly planDigest: string;
  readonly phase: RotationPhase;
  readonly layers: readonly number[];
  readonly requestedBy: string;
  readonly failure?: { readonly code: string; readonly reason: string };
}

export interface RotationDetails extends RotationSummary {
  readonly index: number;
  readonly state: {
    readonly lockouts: number;
    readonly recoveryRequest: { readonly operatorId: string } | null;
    readonly execution: object | null;
    readonly outstanding?: readonly { readonly type: string }[];
  };
}

export type RequestOutcome =
  | { readonly status: 'accepted'; readonly planId: string }
  | { readonly status: 'refused'; readonly code: string; readonly reason: string }
  /** Nobody said what became of it in the time that an operator waits. */
  | { readonly status: 'unknown' };

interface Requests {
  'rotation-requested': {
    readonly requestId: string;
    readonly rotationType: 'scheduled' | 'emergency' | 'policy_change';
    readonly layers: readonly number[];
    readonly reason: string;
  };
  'plan-approved': { readonly planId: string; readonly planDigest: string };
  'execution-requested': {
    readonly planId: string;
    readonly planDigest: string;
    readonly dryRun: boolean;
  };
  'rollback-requested': {
    readonly planId: string;
    readonly planDigest: string;
    readonly reason: string;
  };
  'recovery-requested': { readonly planId: string; readonly planDigest: string };
  'recovery-approved': {
    readonly planId: string;
    readonly planDigest: string;
    readonly lockout: number;
  };
}

const askTimeoutMs = 3_000;
const pauseMs = 500;
const outcomeWaitMs = 1_000;
/** Between two looks at a rotation: it moves in steps of a few milliseconds, and an answer is large. */
const lookMs = 500;
const asksMax = 24;
const publishAttempts = 4;

export class Operator {
  readonly id: string;
  readonly #ports: OperatorPorts;
  #first = 0;
  #isReady = false;

  constructor(ports: OperatorPorts) {
    this.id = ports.exchange.agentId;
    this.#ports = ports;
    void ports.joined.then(() => {
      this.#isReady = true;
    });
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#ports.clock.after(ms, resolve));
  }

  /** What an orchestrator answers, the other one where the first does not; undefined if none does. */
  async ask(query: Query, attempts = 6): Promise<unknown> {
    const { exchange, orchestrators } = this.#ports;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const agentId = orchestrators[(this.#first + attempt) % orchestrators.length] ?? '';
      try {
        const answer = await exchange.ask({ agentId, channel: 'operators' }, query, askTimeoutMs);
        if (answer.ok) {
          this.#first = (this.#first + attempt) % orchestrators.length;
          return answer.result;
        }
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
      }
      await this.pause(pauseMs);
    }
    return undefined;
  }

  /** Publishes a request, again where the bus does not take it, and waits for what becomes of it. */
  async request<Name extends keyof Requests>(
    type: Name,
    body: Requests[Name],
  ): Promise<RequestOutcome> {
    const { exchange, subjects } = this.#ports;
    const event = { type, subject: subjects.request(this.id), channel: 'operators', body };
    for (let attempt = 0; attempt < publishAttempts; attempt++) {
      try {
        const { hash } = await exchange.publish(event as never);
        return await this.#outcomeOf(hash);
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        await this.pause(pauseMs);
      }
    }
    return { status: 'unknown' };
  }

  /** Offers a signed document to everyone. */
  offer(document: Uint8Array<ArrayBuffer>): Promise<void> {
    const subject = this.#ports.subjects.trust(this.id);
    return this.#publish({
      type: 'document-offered',
      subject,
      channel: noticesChannel,
      body: { document },
    });
  }

  /** Wants the secrets of all channels renewed. */
  rotateEpochs(): Promise<void> {
    const body = { requestId: 'renew', cause: 'operator', reason: 'a simulated wish' } as const;
    const subject = this.#ports.subjects.request(this.id);
    return this.#publish({
      type: 'epoch-rotation-requested',
      subject,
      channel: 'operators',
      body,
    });
  }

  async #publish<Name extends EventTypeName>(event: OutgoingEvent<Name>): Promise<void> {
    for (let attempt = 0; attempt < publishAttempts; attempt++) {
      try {
        await this.#ports.exchange.publish(event);
        return;
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        await this.pause(pauseMs);
      }
    }
  }

  async list(): Promise<readonly RotationSummary[] | undefined> {
    return (await this.ask({ ask: 'rotation-list' })) as readonly RotationSummary[] | undefined;
  }

  async show(planId: string): Promise<RotationDetails | undefined> {
    const query = { ask: 'rotation-show', planId, waitMs: 0 } as const;
    return (await this.ask(query)) as RotationDetails | undefined;
  }

  /** Waits until the rotation is in one of the phases; undefined where it takes longer than that. */
  async until(
    planId: string,
    phases: readonly RotationPhase[],
    withinMs: number,
  ): Promise<RotationDetails | undefined> {
    const { clock } = this.#ports;
    const deadlineMs = clock.monotonicMs() + withinMs;
    let afterIndex: number | undefined;
    while (clock.monotonicMs() < deadlineMs) {
      const query = {
        ask: 'rotation-show' as const,
        planId,
        waitMs: afterIndex === undefined ? 0 : outcomeWaitMs,
        ...(afterIndex === undefined ? {} : { afterIndex }),
      };
      const view = (await this.ask(query)) as RotationDetails | undefined;
      if (view === undefined) continue;
      if (phases.includes(view.phase)) return view;
      afterIndex = view.index;
      await this.pause(lookMs);
    }
    return undefined;
  }

  async #outcomeOf(request: string): Promise<RequestOutcome> {
    for (let asked = 0; asked < asksMax; asked++) {
      const query = { ask: 'request-outcome', request, waitMs: outcomeWaitMs } as const;
      const outcome = (await this.ask(query)) as { readonly status: string } | undefined;
      if (outcome !== undefined && outcome.status !== 'pending') return outcome as RequestOutcome;
    }
    return { status: 'unknown' };
  }
}
