/**
 * One durable consumer in memory: explicit settlement, redelivery after silence or on request,
 * redeliveries before new messages, and never more unsettled messages than it allows.
 */
import type { BusMessage } from './bus.ts';
import type { Delivery } from './delivery.ts';
import type { MemoryStream } from './memory-stream.ts';
import { redeliveryAfterMs } from './streams.ts';
import type { ConsumerDefinition } from './streams.ts';
import type { BusClock, BusTimer } from './timers.ts';

/** A client that works this consumer off. */
export interface Puller {
  /** Messages that it would take now. */
  room(): number;
  deliver(delivery: Delivery): void;
  /** Whether what it says can reach the bus. */
  heard(): boolean;
}

interface Pending {
  deliveries: number;
  due: boolean;
  timer: BusTimer | null;
}

export class MemoryDurable {
  readonly definition: ConsumerDefinition;
  readonly #stream: MemoryStream;
  readonly #clock: BusClock;
  readonly #pending = new Map<number, Pending>();
  readonly #pullers = new Set<Puller>();
  #nextSequence = 1;

  constructor(definition: ConsumerDefinition, stream: MemoryStream, clock: BusClock) {
    this.definition = definition;
    this.#stream = stream;
    this.#clock = clock;
  }

  attach(puller: Puller): () => void {
    this.#pullers.add(puller);
    return () => this.#pullers.delete(puller);
  }

  /** Delivers what can be delivered. Called whenever something changed. */
  pump(): void {
    for (;;) {
      const puller = [...this.#pullers].find((one) => one.room() > 0);
      if (puller === undefined) return;
      const message = this.#next();
      if (message === null) return;
      this.#deliver(message, puller);
    }
  }

  #next(): BusMessage | null {
    const due = [...this.#pending.entries()].filter(([, pending]) => pending.due);
    for (const [sequence] of due.toSorted(([one], [other]) => one - other)) {
      const message = this.#stream.get(sequence);
      if (message !== null) return message;
      this.#pending.delete(sequence);
    }
    if (this.#pending.size >= this.definition.unackedMax) return null;
    const message = this.#stream.nextFrom(this.definition.filters, this.#nextSequence);
    if (message !== null) this.#nextSequence = message.sequence + 1;
    return message;
  }

  #deliver(message: BusMessage, puller: Puller): void {
    const { sequence } = message;
    const pending = this.#pending.get(sequence) ?? { deliveries: 0, due: false, timer: null };
    this.#pending.set(sequence, pending);
    pending.deliveries += 1;
    this.#redeliverAfter(sequence, redeliveryAfterMs(this.definition, pending.deliveries));
    const settled = (): void => {
      if (!puller.heard()) return;
      this.#pending.get(sequence)?.timer?.cancel();
      this.#pending.delete(sequence);
      this.pump();
    };
    const silentFor = (delayMs: number): void => {
      if (puller.heard()) this.#redeliverAfter(sequence, delayMs);
    };
    puller.deliver({
      message: { ...message, deliveryCount: pending.deliveries },
      ack: settled,
      terminate: settled,
      retryAfter: silentFor,
      working: () => silentFor(redeliveryAfterMs(this.definition, pending.deliveries)),
    });
  }

  #redeliverAfter(sequence: number, delayMs: number): void {
    const pending = this.#pending.get(sequence);
    if (pending === undefined) return;
    pending.timer?.cancel();
    pending.due = false;
    pending.timer = this.#clock.after(delayMs, () => {
      pending.due = true;
      this.pump();
    });
  }
}
