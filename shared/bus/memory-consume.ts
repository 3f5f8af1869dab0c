/** A client's hands on one durable of the in-memory bus: bounded, started in the order of arrival. */
import { SubscriptionLife } from './delivery.ts';
import type { Delivery } from './delivery.ts';
import type { MemoryDurable, Settlement } from './memory-durable.ts';
import { silenceMs, trafficOf } from './memory-link.ts';
import type { MemoryLink } from './memory-link.ts';
import type { BusMessage } from './bus.ts';

export interface ConsumerPorts {
  readonly link: MemoryLink;
  readonly durable: MemoryDurable;
  readonly inFlightMax: number;
  readonly settle: (delivery: Delivery) => Promise<void>;
}

export class MemoryConsumer {
  readonly life: SubscriptionLife;
  readonly #ports: ConsumerPorts;
  readonly #queue: Delivery[] = [];
  /** Sent by the server, and neither arrived nor given up. */
  #underWay = 0;
  #connection = 0;

  constructor(ports: ConsumerPorts) {
    this.#ports = ports;
    const { durable, link } = ports;
    const detach = durable.attach({
      room: () => this.#room(),
      deliver: (delivery) => this.#deliver(delivery),
      say: (settlement, message, arrive) => this.#say(settlement, message, arrive),
    });
    const stopListening = link.gate.onChange((open) => {
      // What the former connection had under way does not arrive any more.
      this.#connection += 1;
      this.#underWay = 0;
      if (open) durable.pump();
    });
    this.life = new SubscriptionLife(() => {
      detach();
      stopListening();
      this.#queue.length = 0;
    });
    queueMicrotask(() => durable.pump());
  }

  #room(): number {
    if (this.life.over || !this.#ports.link.gate.open) return 0;
    return this.#ports.inFlightMax - this.life.running - this.#queue.length - this.#underWay;
  }

  #deliver(delivery: Delivery): void {
    const connection = this.#connection;
    let isUnderWay = true;
    this.#underWay += 1;
    const landed = (): void => {
      if (isUnderWay && connection === this.#connection) this.#underWay -= 1;
      isUnderWay = false;
    };
    const { link, durable } = this.#ports;
    const { subject, data } = delivery.message;
    link.deliver(
      trafficOf('delivery', subject, data),
      () => {
        landed();
        this.#queue.push(delivery);
        this.#advance();
      },
      () => {
        // The client asks again when it has heard nothing for a while.
        link.clock.after(silenceMs, () => {
          landed();
          durable.pump();
        });
      },
    );
  }

  #advance(): void {
    const { link, durable, inFlightMax, settle } = this.#ports;
    while (link.isAlive && !this.life.over && this.life.running < inFlightMax) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.life.run(
        () => settle(next),
        () => {
          this.#advance();
          if (!this.life.over) durable.pump();
        },
      );
    }
  }

  #say(settlement: Settlement, { subject }: BusMessage, arrive: () => void): void {
    this.#ports.link.tell(trafficOf(settlement, subject), arrive);
  }
}
