/**
 * Documents by question (`trust-documents`): how operators, who may not read what is kept on the bus,
 * learn of newer ones, and everyone else for whom nothing there helps, because somebody took it away or
 * wrote over it. Every orchestrator is asked, then every auditor: what the log accepted may be known to
 * nobody else. What one tells is verified like any other.
 */

import { TrustDocuments, type Query } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { versionsOf } from '#shared/crypto/known-versions.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Exchange } from './exchange.ts';
import type { Clock, Log } from './ports.ts';
import type { TrustDesk } from './trust-desk.ts';

export interface DocumentQuestionPorts {
  readonly agentId: string;
  readonly trust: TrustView;
  readonly trustDesk: TrustDesk;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
}

const answerCheck = compile(TrustDocuments);
/** Who is asked, in this order. */
const tellers = ['orchestrator', 'auditor'] as const;
const askTimeoutMs = 1_500;
/** Answers of one orchestrator that hold a part each. */
const roundsMax = 64;
/** Between two times of asking: so long at first, twice as long after each that told nothing new. */
const askAgainMs = 1_000;
const askAgainMsMax = 30_000;

/** @throws BusError where it does not answer, or tells what does not hold */
export async function learnFrom(
  { exchange, trust, trustDesk }: Pick<DocumentQuestionPorts, 'exchange' | 'trust' | 'trustDesk'>,
  agentId: string,
  { timeoutMs, isBlamed }: { readonly timeoutMs: number; readonly isBlamed: boolean },
): Promise<void> {
  for (let round = 0; round < roundsMax; round += 1) {
    const query: Query = { ask: 'trust-documents', ...versionsOf(trust.highest()) };
    const answer = await exchange.ask({ agentId, channel: noticesChannel }, query, timeoutMs);
    if (!answer.ok) throw new BusError('BUS_REJECTED', answer.reason);
    if (!answerCheck.check(answer.result)) {
      throw new BusError('BUS_REJECTED', `${agentId} answers with something else`);
    }
    const { documents, isWhole } = answer.result;
    const bad = await trustDesk.learn(documents, agentId, { isBlamed });
    if (bad !== undefined) throw new BusError('BUS_REJECTED', bad.reason);
    if (isWhole) return;
  }
}

/** What is kept on the bus first; where that does not help, others in the background. */
export class DocumentQuestions {
  readonly #ports: DocumentQuestionPorts;
  #isAsking = false;
  #hasLooked = false;
  #askedMs = Number.NEGATIVE_INFINITY;
  #pauseMs = askAgainMs;

  constructor(ports: DocumentQuestionPorts) {
    this.#ports = ports;
  }

  /** Never throws for want of the bus, and does not wait for answers: who is behind looks again. */
  async catchUp(): Promise<void> {
    const { trustDesk } = this.#ports;
    const before = this.#newest();
    await trustDesk.catchUp();
    // At the start nobody is known to be ahead, and nobody may be there to answer.
    const hadLooked = this.#hasLooked;
    this.#hasLooked = true;
    if (hadLooked && this.#newest() === before) this.#ask();
  }

  #newest(): string {
    const { root, registry, policy } = this.#ports.trust.highest();
    return `${root.digest} ${registry.digest} ${policy.digest}`;
  }

  #ask(): void {
    const { clock } = this.#ports;
    if (this.#isAsking || clock.monotonicMs() - this.#askedMs < this.#pauseMs) return;
    this.#isAsking = true;
    const before = this.#newest();
    void this.#askAll().finally(() => {
      this.#isAsking = false;
      this.#askedMs = clock.monotonicMs();
      const isHelped = this.#newest() !== before;
      this.#pauseMs = isHelped ? askAgainMs : Math.min(2 * this.#pauseMs, askAgainMsMax);
    });
  }

  async #askAll(): Promise<void> {
    const { agentId, trust, log } = this.#ports;
    const others = trust.agents().filter((agent) => agent.agentId !== agentId);
    const told = tellers.flatMap((kind) => others.filter((agent) => agent.kind === kind));
    for (const { agentId: asked } of told) {
      try {
        await learnFrom(this.#ports, asked, { timeoutMs: askTimeoutMs, isBlamed: false });
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        log.debug({ code: error.code, asked }, 'newer documents are not learned there');
      }
    }
  }
}
