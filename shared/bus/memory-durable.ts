/**
 * One durable consumer in memory: explicit settlement, redelivery after silence or on request,
 * redeliveries before new messages, and never more unsettled messages than it allows.
 */
import type { BusMessage } from './bus.ts';
import type { Delivery } from './delivery.ts';
import { SubjectFilter } from './memory-filter.ts';
import type { MemoryStream } from './memory-stream.ts';
import { redeliveryAfterMs } from './streams.ts';
import type { ConsumerDefinition } from './streams.ts';
import type { BusClock, BusTimer } from './timers.ts';

export type Settlement = 'ack' | 'retry' | 'terminate' | 'working';

/** A client that works this consumer off. */
export interface Puller {
  /** Messages that it would take now. */
  room(): number;
  deliver(delivery: Delivery): void;
  /** Carries what it says of a message to the server, where `arrive` runs if it gets there. */
  say(settlement: Settlement, message: BusMessage, arrive: () => void): void;
}

interface Pending {
  deliveries: number;
  due: boolean;
  timer: BusTimer | null;
}

export class MemoryDurable {
  readonly definition: ConsumerDefinition;
  readonly filter: SubjectFilter;
  readonly #stream: MemoryStream;
  readonly #clock: BusClock;
  readonly #pending = new Map<number, Pending>();
  readonly #pullers = new Set<Puller>();
  #nextSequence = 1;

  constructor(definition: ConsumerDefinition, stream: MemoryStream, clock: BusClock) {
    this.definition = definition;
    this.filter = new SubjectFilter(definition.filters);
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
      const puller = this.#ready();
      if (puller === undefined) return;
      const message = this.#next();
      if (message === null) return;
      this.#deliver(message, puller);
    }
  }

  /** The stream holds less than it did: what came after `lastSequence` was never delivered. */
  rollBack(lastSequence: number): void {
    this.#nextSequence = Math.min(this.#nextSequence, lastSequence + 1);
    for (const [sequence, pending] of this.#pending) {
      if (sequence <= lastSequence) continue;
      pending.timer?.cancel();
      this.#pending.delete(sequence);
    }
  }

  #ready(): Puller | undefined {
    for (const puller of this.#pullers) if (puller.room() > 0) return puller;
    return undefined;
  }

  #next(): BusMessage | null {
    const due = [...this.#pending].filter(([, pending]) => pending.due);
    for (const [sequence] of due.toSorted(([one], [other]) => one - other)) {
      const message = this.#stream.get(sequence);
      if (message !== null) return message;
      this.#pending.delete(sequence);
    }
    if (this.#pending.size >= this.definition.unackedMax) return null;
    const message = this.#stream.nextFrom(this.filter, this.#nextSequence);
    this.#nextSequence = (message?.sequence ?? this.#stream.lastSequence) + 1;
    return message;
  }

  #deliver(message: BusMessage, puller: Puller): void {
    const { sequence } = message;
    const pending = this.#pending.get(sequence) ?? { deliveries: 0, due: false, timer: null };
    this.#pending.set(sequence, pending);
    pending.deliveries += 1;
    const delivered = { ...message, deliveryCount: pending.deliveries };
    this.#redeliverAfter(sequence, redeliveryAfterMs(this.definition, pending.deliveries));
    const settled = (): void => {
      this.#pending.get(sequence)?.timer?.cancel();
      this.#pending.delete(sequence);
      this.pump();
    };
    const waitMs = redeliveryAfterMs(this.definition, pending.deliveries);
    puller.deliver({
      message: delivered,
      ack: () => puller.say('ack', delivered, settled),
      terminate: () => puller.say('terminate', delivered, settled),
      retryAfter: (delayMs) =>
        puller.say('retry', delivered, () => this.#redeliverAfter(sequence, delayMs)),
      working: () => puller.say('working', delivered, () => this.#redeliverAfter(sequence, waitMs)),
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
