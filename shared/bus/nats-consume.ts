/** Working off a durable consumer over NATS: bounded hands, explicit settlement, own dead letters. */
import { randomUUID } from 'node:crypto';
import { BusError } from './bus.ts';
import type { BusMessage, ConsumeOptions, Disposition, PublishRequest } from './bus.ts';
import { settle, SubscriptionLife } from './delivery.ts';
import type { Delivery, DeliveryOptions } from './delivery.ts';
import { apiFault } from './nats-errors.ts';
import { isRecord, nanos } from './nats-link.ts';
import type { NatsLink } from './nats-link.ts';
import { Pull } from './nats-pull.ts';
import type { Delivered } from './nats-messages.ts';
import { jetstreamSubjects } from './subjects.ts';
import type { BusTimer } from './timers.ts';

/** Key of a durable's metadata that holds its `attemptsMax`. */
export const attemptsMetadataKey = 'gyre-attempts-max';

export interface ConsumeContext {
  readonly link: NatsLink;
  readonly agentId: string;
  readonly deadSubject: string;
  readonly publish: (request: PublishRequest) => Promise<unknown>;
}

const lostPauseMsMin = 100;
const lostPauseMsMax = 2_000;

export async function consumeNats(
  context: ConsumeContext,
  options: ConsumeOptions,
  handler: (message: BusMessage) => Promise<Disposition>,
): Promise<SubscriptionLife> {
  const { link } = context;
  const { waitsMs, ...limits } = await durableLimits(link, options);
  const delivery = {
    stream: options.stream,
    clock: link.clock,
    ...limits,
    deadSubject: context.deadSubject,
    publish: context.publish,
    newMessageId: randomUUID,
    onTrouble: link.onTrouble,
  };
  const worker = new Worker(context, options, handler, { delivery, waitsMs });
  worker.start();
  return worker.life;
}

class Worker {
  readonly life: SubscriptionLife;
  readonly #link: NatsLink;
  readonly #pull: Pull;
  readonly #inFlightMax: number;
  readonly #handler: (message: BusMessage) => Promise<Disposition>;
  readonly #delivery: DeliveryOptions;
  readonly #waitsMs: readonly number[];
  readonly #queue: Delivered[] = [];
  readonly #stopListening: () => void;
  #pauseMs = lostPauseMsMin;
  #pause: BusTimer | null = null;

  constructor(
    context: ConsumeContext,
    options: ConsumeOptions,
    handler: (message: BusMessage) => Promise<Disposition>,
    settling: { readonly delivery: DeliveryOptions; readonly waitsMs: readonly number[] },
  ) {
    this.#link = context.link;
    this.#inFlightMax = options.inFlightMax;
    this.#handler = handler;
    this.#delivery = settling.delivery;
    this.#waitsMs = settling.waitsMs;
    this.#pull = new Pull(context.link, {
      stream: options.stream,
      consumer: options.consumer,
      agentId: context.agentId,
      onMessage: (delivered) => {
        this.#pauseMs = lostPauseMsMin;
        this.#queue.push(delivered);
        this.#advance();
      },
      onEnd: () => this.#advance(),
      onLost: () => this.#lost(),
      onRefused: (error) => this.life.fail(error),
    });
    this.#stopListening = context.link.gate.onChange((open) => {
      this.#pull.reset();
      if (open) this.#advance();
    });
    this.life = new SubscriptionLife(() => {
      this.#stopListening();
      this.#pause?.cancel();
      this.#pull.stop();
      this.#queue.length = 0;
    });
  }

  start(): void {
    this.#pull.start();
    this.#advance();
  }

  /** Starts what may start, in order, and asks for more when half of the hands are free. */
  #advance(): void {
    if (this.life.over) return;
    while (this.life.running < this.#inFlightMax) {
      const next = this.#queue.shift();
      if (next === undefined) break;
      this.life.run(
        () => settle(this.#deliveryOf(next), this.#handler, this.#delivery),
        () => this.#advance(),
      );
    }
    const busy = this.life.running + this.#queue.length;
    if (busy <= this.#inFlightMax / 2) this.#pull.ask(this.#inFlightMax - busy);
  }

  #lost(): void {
    if (this.life.over) return;
    this.#link.onTrouble(new BusError('BUS_TIMEOUT', 'the consumer does not answer; asking again'));
    this.#pause?.cancel();
    this.#pause = this.#link.clock.after(this.#pauseMs, () => this.#advance());
    this.#pauseMs = Math.min(2 * this.#pauseMs, lostPauseMsMax);
  }

  /**
   * The server counts a delay as if this were a first delivery, and then waits as long as the backoff
   * says for the delivery that it is (measured on 2.15.1): what it would wait too long.
   */
  #surplusMs(deliveryCount: number): number {
    const [firstMs = 0] = this.#waitsMs;
    return (this.#waitsMs[Math.min(deliveryCount, this.#waitsMs.length) - 1] ?? firstMs) - firstMs;
  }

  #deliveryOf({ message, reply }: Delivered): Delivery {
    const say = (text: string): void => {
      if (!this.#link.connection.isClosed()) this.#link.connection.publish(reply, text);
    };
    return {
      message,
      ack: () => say('+ACK'),
      retryAfter: (delayMs) => {
        const delay = nanos(delayMs - this.#surplusMs(message.deliveryCount));
        say(`-NAK ${JSON.stringify({ delay })}`);
      },
      terminate: () => say('+TERM'),
      working: () => say('+WPI'),
    };
  }
}

/** Attempts and waits as provisioning set them on the durable. */
async function durableLimits(
  link: NatsLink,
  { stream, consumer, inFlightMax }: ConsumeOptions,
): Promise<{ attemptsMax: number; ackWaitMs: number; waitsMs: number[] }> {
  if (!Number.isInteger(inFlightMax) || inFlightMax < 1) {
    throw new BusError('BUS_REJECTED', 'inFlightMax is a whole number from 1');
  }
  const subject = jetstreamSubjects.consumerInfo(stream, consumer);
  const answer = await link.persistently(() => link.api(subject));
  if (!answer.ok) throw apiFault(answer);
  const { config } = answer.value;
  const metadata = isRecord(config) ? config['metadata'] : null;
  const attemptsMax = isRecord(metadata) ? Number(metadata[attemptsMetadataKey]) : Number.NaN;
  const ackWaitMs = isRecord(config) ? Number(config['ack_wait']) / 1_000_000 : Number.NaN;
  if (!(attemptsMax >= 1 && ackWaitMs > 0)) {
    throw new BusError('BUS_REJECTED', `the durable ${consumer} was not provisioned by gyre`);
  }
  const backoff: unknown = isRecord(config) ? config['backoff'] : undefined;
  const waitsMs = Array.isArray(backoff) ? backoff.map((wait) => Number(wait) / 1_000_000) : [];
  return { attemptsMax, ackWaitMs, waitsMs };
}
