/**
 * Following a stream of the in-memory bus as over NATS: the server sends ahead, the client works in
 * order, and asks anew at the last message received whenever there is a gap, something was lost, or the
 * connection came back: further back where the stream has something else there (`follow-place.ts`).
 */
import { questionTimeoutMs } from './asking.ts';
import { BusError } from './bus.ts';
import type { BusMessage, FollowOptions } from './bus.ts';
import { SubscriptionLife } from './delivery.ts';
import { FollowPlace } from './follow-place.ts';
import type { MemoryBroker } from './memory-broker.ts';
import { SubjectFilter } from './memory-filter.ts';
import { silenceMs, trafficOf } from './memory-link.ts';
import type { MemoryLink } from './memory-link.ts';
import { sleep } from './timers.ts';

export interface FollowPorts {
  readonly broker: MemoryBroker;
  readonly link: MemoryLink;
  readonly options: FollowOptions;
  /** Subject of the question that makes the server begin. */
  readonly question: string;
  readonly handler: (message: BusMessage) => void | Promise<void>;
  readonly onEnd: () => void;
  readonly onTrouble: (error: BusError) => void;
}

/** Messages that the server sends ahead. */
const aheadMax = 256;
const pauseMsMin = 50;
const pauseMsMax = 2_000;

export class MemoryFollower {
  readonly life: SubscriptionLife;
  readonly #ports: FollowPorts;
  readonly #filter: SubjectFilter;
  readonly #queue: BusMessage[] = [];
  /** The client's place. */
  readonly #place: FollowPlace;
  /** The server's place: what it sends next. */
  #cursor: number;
  /** Counts beginnings: what an earlier one sent is not listened to. */
  #beginning = 0;
  #sent = 0;
  #received = 0;
  #begun = false;
  #renewing = false;
  #working = false;

  constructor(ports: FollowPorts) {
    this.#ports = ports;
    const { broker, link, options } = ports;
    this.#filter = new SubjectFilter(options.subjects);
    this.#place = new FollowPlace(options.fromSequence);
    this.#cursor = options.fromSequence;
    const stopWatching = broker.watch(options.stream, this.#filter, () => this.#pump());
    const stopListening = link.gate.onChange((open) => {
      this.#begun = false;
      if (open) this.#renew();
    });
    this.life = new SubscriptionLife(() => {
      stopWatching();
      stopListening();
      this.#queue.length = 0;
      ports.onEnd();
    });
  }

  /** After the server has agreed to send. */
  begin(): void {
    this.#beginning += 1;
    this.#sent = 0;
    this.#received = 0;
    this.#cursor = this.#place.begin();
    this.#begun = true;
    this.#pump();
  }

  #pump(): void {
    const { broker, link, options } = this.#ports;
    const beginning = this.#beginning;
    while (this.#mayGoOn(beginning)) {
      const stream = broker.stream(options.stream);
      const message = stream.nextFrom(this.#filter, this.#cursor);
      this.#cursor = Math.max(this.#cursor, (message?.sequence ?? stream.lastSequence) + 1);
      if (message === null) return;
      this.#sent += 1;
      const deliverySequence = this.#sent;
      link.deliver(
        trafficOf('followed', message.subject, message.data),
        () => this.#receive(message, { beginning, deliverySequence }),
        () => this.#lost(beginning),
      );
    }
  }

  #mayGoOn(beginning: number): boolean {
    const isOpen = this.#begun && !this.life.over && this.#ports.link.gate.open;
    const ahead = this.#sent - this.#received + this.#queue.length;
    return isOpen && beginning === this.#beginning && ahead < aheadMax;
  }

  #receive(
    message: BusMessage,
    { beginning, deliverySequence }: { beginning: number; deliverySequence: number },
  ): void {
    if (beginning !== this.#beginning || this.life.over) return;
    if (deliverySequence !== this.#received + 1) {
      this.#renew();
      return;
    }
    this.#received = deliverySequence;
    switch (this.#place.arrived(message)) {
      case 'gone':
        this.#place.stepBack();
        this.#renew();
        return;
      case 'new':
        this.#queue.push(message);
        this.#work();
        return;
      case 'known':
        this.#pump();
    }
  }

  #lost(beginning: number): void {
    this.#ports.link.clock.after(silenceMs, () => {
      if (beginning === this.#beginning) this.#renew();
    });
  }

  #renew(): void {
    this.#beginning += 1;
    this.#begun = false;
    if (this.#renewing || this.life.over) return;
    this.#renewing = true;
    this.life.run(
      () => this.#renewed(),
      () => {
        this.#renewing = false;
      },
    );
  }

  async #renewed(): Promise<void> {
    const { broker, link, options, question, onTrouble } = this.#ports;
    for (let pauseMs = pauseMsMin; !this.life.over; pauseMs = Math.min(2 * pauseMs, pauseMsMax)) {
      const beginning = this.#beginning;
      try {
        if (await link.gate.waitOpen(link.clock, pauseMsMax)) {
          const traffic = trafficOf('subscribe', question);
          const from = this.#place.begin();
          const { isAnchored } = this.#place;
          const isThere = await link.exchange(traffic, questionTimeoutMs, () => {
            const stream = broker.stream(options.stream);
            // What the server says of messages to come, and, where none was received, of the stream's end.
            return isAnchored
              ? stream.nextFrom(this.#filter, from) !== null
              : stream.lastSequence + 1 >= from;
          });
          if (!isThere) {
            this.#place.stepBack();
            continue;
          }
          if (beginning === this.#beginning && !this.life.over) {
            this.begin();
            return;
          }
        }
      } catch (error) {
        if (!(error instanceof BusError) || error.code === 'BUS_CLOSED') throw error;
        onTrouble(error);
      }
      await sleep(link.clock, pauseMs);
    }
  }

  #work(): void {
    if (this.#working || this.life.over) return;
    this.#working = true;
    const { handler, link } = this.#ports;
    this.life.run(
      async () => {
        await Promise.resolve();
        while (link.isAlive && !this.life.over) {
          const next = this.#queue.shift();
          if (next === undefined) return;
          const outcome = handler(next);
          if (outcome !== undefined) await outcome;
          this.#pump();
        }
      },
      () => {
        this.#working = false;
        if (link.isAlive && !this.life.over && this.#queue.length > 0) this.#work();
      },
    );
  }
}
