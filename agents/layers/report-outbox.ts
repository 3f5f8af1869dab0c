/**
 * The agent's side of its outbox: reports go in with the transaction that makes them true, leave for
 * the bus in order, and go when an auditor's receipt covers them. Receipts arrive on a durable
 * consumer of their own, so that none is missed while the agent is away.
 */

import { OutboxError } from '#shared/runtime/outbox-store.ts';
import type { Bus, BusMessage, Disposition, Subscription } from '#shared/bus/bus.ts';
import { durableName } from '#shared/bus/subjects.ts';
import type { Exchange, Opening, SealedEvent } from '#shared/runtime/exchange.ts';
import type { Outbox, OutboxDrain } from '#shared/runtime/outbox.ts';
import type { Log } from '#shared/runtime/ports.ts';

export interface ReportOutboxPorts {
  readonly outbox: Outbox;
  readonly bus: Bus;
  readonly exchange: Exchange;
  readonly log: Log;
}

const receiptsInFlightMax = 1;
const retryMs = 1_000;

export class ReportOutbox {
  readonly #ports: ReportOutboxPorts;
  #drain: OutboxDrain | undefined;
  #receipts: Subscription | undefined;

  constructor(ports: ReportOutboxPorts) {
    this.#ports = ports;
  }

  /** Durable with the transaction that is open on the same database. @throws OutboxError */
  enqueue({ subject, frame, hash }: SealedEvent): void {
    this.#ports.outbox.enqueue({ subject, data: frame, messageId: hash });
  }

  /** Sends what an earlier process left, then what comes. @throws BusError */
  async start(): Promise<void> {
    const { outbox, bus, exchange } = this.#ports;
    this.#drain = outbox.drain(bus);
    this.#receipts = await bus.consume(
      {
        stream: 'GYRE_AUDIT',
        consumer: durableName(exchange.agentId, 'receipts'),
        inFlightMax: receiptsInFlightMax,
      },
      (message) => this.handle(message),
    );
  }

  async stop(): Promise<void> {
    await this.#receipts?.stop();
    await this.#drain?.stop();
  }

  /** One message of the receipts consumer. */
  async handle(message: BusMessage): Promise<Disposition> {
    const { exchange } = this.#ports;
    let opening = exchange.open(message);
    if (isBehind(opening)) {
      // Issued under documents that this agent has yet to learn of: no other receipt will come.
      await exchange.catchUp();
      opening = exchange.open(message);
      if (isBehind(opening)) return { retryAfterMs: retryMs };
    }
    if (opening.status === 'refused') return { deadLetter: opening.code };
    if (opening.event.type !== 'receipts-issued') return 'ack';
    const hashes = opening.event.body.entries.map(({ statementHash }) => statementHash);
    try {
      this.#ports.outbox.settle(hashes);
      return 'ack';
    } catch (error) {
      if (!(error instanceof OutboxError)) throw error;
      this.#ports.log.error({ code: error.code, err: error }, 'the outbox failed');
      return { retryAfterMs: retryMs };
    }
  }
}

function isBehind(opening: Opening): boolean {
  return opening.status === 'refused' && opening.code === 'TRUST_BEHIND';
}
