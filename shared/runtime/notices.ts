/**
 * What every agent hears beside its own work: documents that are offered, epochs of its channels,
 * negotiations. Layer agents work it off through their durable consumer, everyone else follows the
 * stream from where it stood when the agent began; whoever wants a type of notice says so once.
 */

import type { EventTypeName } from '#schemas/events.ts';
import type { AgentKind } from '#schemas/trust.ts';
import type { Bus, BusMessage, Disposition, Subscription } from '#shared/bus/bus.ts';
import { durableName, type Subjects } from '#shared/bus/subjects.ts';
import { parseFrame } from '#shared/crypto/envelope.ts';
import { BehindAllowance } from './behind-allowance.ts';
import type { Exchange, Opening, ReceivedEvent } from './exchange.ts';
import type { Clock } from './ports.ts';

/** A layer agent's message is acknowledged once the handler is done. */
export type NoticeHandler<Name extends EventTypeName> = (
  event: ReceivedEvent<Name>,
  /** When the bus stored it, by its own clock. */
  storedAtMs: number,
) => void | Promise<void>;

export interface NoticesPorts {
  readonly agentId: string;
  readonly kind: AgentKind;
  readonly exchange: Exchange;
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly clock: Clock;
  /** Learns what the mesh knows and this agent does not; then a held notice is tried again. */
  readonly catchUp: () => Promise<void>;
  /** Whether an offer of documents is listened to at all. */
  readonly admits: (agentId: string, storedAtMs: number) => boolean;
}

/** How long a notice waits that was sealed under documents which this agent has yet to learn of. */
const behindRetryMs = 250;
/** Messages of the control stream that a signer goes through again for epochs. */
const epochsReread = 16_384;

export class Notices {
  readonly #ports: NoticesPorts;
  readonly #handlers = new Map<EventTypeName, NoticeHandler<never>>();
  readonly #subscriptions: Subscription[] = [];
  readonly #behind: BehindAllowance;

  constructor(ports: NoticesPorts) {
    this.#ports = ports;
    this.#behind = new BehindAllowance(ports.clock);
  }

  /** One handler per type; before `start`. */
  on<Name extends EventTypeName>(type: Name, handler: NoticeHandler<Name>): void {
    if (this.#handlers.has(type)) throw new Error(`assertion: ${type} has a handler`);
    this.#handlers.set(type, handler as NoticeHandler<never>);
  }

  /** First learns what is kept for late comers, then hears what comes. Operators hear nothing. */
  async start(): Promise<void> {
    const { agentId, kind, bus, subjects, catchUp } = this.#ports;
    if (kind === 'operator') return;
    if (kind === 'layer') {
      await catchUp();
      const consumer = durableName(agentId, 'notices');
      this.#subscriptions.push(
        await bus.consume({ stream: 'GYRE_CONTROL', consumer, inFlightMax: 16 }, (message) =>
          this.take(message),
        ),
      );
      return;
    }
    // Noted before what is kept is read, so that nothing falls between the two.
    const { lastSequence } = await bus.streamState('GYRE_CONTROL');
    await catchUp();
    const { trust, epoch, negotiation } = subjects.patterns;
    const news = lastSequence + 1;
    if (kind === 'signer') {
      await this.#follow([trust], news);
      // What became of the epochs that it keeps while it was away.
      await this.#follow([epoch], Math.max(1, news - epochsReread));
    } else if (kind === 'auditor') {
      await this.#follow([trust, epoch, negotiation], news);
    } else {
      // What was offered while no orchestrator ran is kept nowhere else.
      await this.#follow([trust], 1);
      await this.#follow([epoch, negotiation], news);
    }
  }

  async #follow(subjects: readonly string[], fromSequence: number): Promise<void> {
    const { bus } = this.#ports;
    const followed = { stream: 'GYRE_CONTROL', subjects, fromSequence } as const;
    this.#subscriptions.push(
      await bus.follow(followed, async (message) => {
        await this.take(message);
      }),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#subscriptions.map((subscription) => subscription.stop()));
  }

  async take(message: BusMessage): Promise<Disposition> {
    const { exchange, catchUp, subjects, admits } = this.#ports;
    const address = subjects.parse(message.subject);
    if (address?.kind === 'trust' && !admits(address.agentId, message.timeMs)) return 'ack';
    // Orchestrators follow the epochs' logs by themselves.
    if (address?.kind === 'saga-epoch' && !this.#handlers.has('epoch-entry')) return 'ack';
    let opening = exchange.open(message);
    if (isBehind(opening)) {
      await catchUp();
      opening = exchange.open(message);
      if (isBehind(opening) && this.#mayWait(message)) return { retryAfterMs: behindRetryMs };
    }
    if (opening.status === 'refused') return { deadLetter: opening.code };
    const { event } = opening;
    this.#behind.settled(event.sender.agentId, message.sequence);
    await this.#handlers.get(event.type)?.(event as ReceivedEvent<never>, message.timeMs);
    return 'ack';
  }

  /** Of a message whose signature held. */
  #mayWait({ data, sequence }: BusMessage): boolean {
    const parsed = parseFrame(data);
    return parsed.ok && this.#behind.mayWait(parsed.frame.header.sender, sequence);
  }
}

function isBehind(opening: Opening): boolean {
  return opening.status === 'refused' && opening.code === 'TRUST_BEHIND';
}
