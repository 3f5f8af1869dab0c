/**
 * The client side of the in-memory bus: the same contract as over NATS, the same permissions asked
 * of the same lists under the same subjects, and the same code for publishing, settlement and dead
 * letters.
 */
import { BusError, checkFollowOptions, respondInFlightMax } from './bus.ts';
import type {
  Bucket,
  BucketName,
  Bus,
  BusMessage,
  BusState,
  ConsumeOptions,
  Disposition,
  FollowOptions,
  PublishOutcome,
  PublishRequest,
  StreamName,
  StreamState,
  Subscription,
} from './bus.ts';
import { settle, SubscriptionLife } from './delivery.ts';
import { MemoryBucketClient } from './memory-bucket.ts';
import type { MemoryBroker } from './memory-broker.ts';
import { allows, allowsSubscription, permissionsOf, readScopeOf } from './permissions.ts';
import type { Permissions, ReadScope } from './permissions.ts';
import { Publisher, publisherLimits } from './publisher.ts';
import type { PublisherLimits, PublishTransport, SendAnswer } from './publisher.ts';
import type { BusPrincipal } from './streams.ts';
import { followConsumerName, followSlotsMax, jetstreamSubjects } from './subjects.ts';
import { streamOf, subjectsOf } from './subjects.ts';
import type { Subjects } from './subjects.ts';
import { sleep } from './timers.ts';

export interface MemoryBusOptions {
  readonly principal: BusPrincipal;
  readonly limits?: Partial<PublisherLimits>;
  readonly onTrouble: (error: BusError) => void;
}

const readyMs = 10_000;

export class MemoryBus implements Bus, PublishTransport {
  readonly readScope: ReadScope;
  readonly #broker: MemoryBroker;
  readonly #principal: BusPrincipal;
  readonly #subjects: Subjects;
  readonly #permissions: Permissions;
  readonly #publisher: Publisher;
  readonly #onTrouble: (error: BusError) => void;
  readonly #subscriptions = new Set<Subscription>();
  readonly #follows = new Set<string>();
  #closed = false;

  constructor(broker: MemoryBroker, options: MemoryBusOptions) {
    const { principal, limits, onTrouble } = options;
    this.#broker = broker;
    this.#principal = principal;
    this.#subjects = subjectsOf(broker.mesh);
    this.#permissions = permissionsOf(broker.mesh, principal);
    this.readScope = readScopeOf(principal);
    this.#onTrouble = onTrouble;
    this.#publisher = new Publisher(this, broker.clock, { ...publisherLimits, ...limits });
  }

  publish(request: PublishRequest): Promise<PublishOutcome> {
    return this.#publisher.publish(request);
  }

  async consume(
    options: ConsumeOptions,
    handler: (message: BusMessage) => Promise<Disposition>,
  ): Promise<Subscription> {
    const { stream, consumer, inFlightMax } = options;
    if (!Number.isInteger(inFlightMax) || inFlightMax < 1) {
      throw new BusError('BUS_REJECTED', 'inFlightMax is a whole number from 1');
    }
    await this.#ask(jetstreamSubjects.consumerInfo(stream, consumer));
    await this.#ask(jetstreamSubjects.consumerNext(stream, consumer));
    const durable = this.#broker.durable(stream, consumer);
    const { attemptsMax, ackWaitMs } = durable.definition;
    const settlement = {
      stream,
      clock: this.#broker.clock,
      attemptsMax,
      ackWaitMs,
      deadSubject: this.#subjects.dead(this.#principal.id),
      publish: (request: PublishRequest) => this.publish(request),
      onTrouble: this.#onTrouble,
    };
    const detach = durable.attach({
      room: () => (this.#broker.up.open && !life.over ? inFlightMax - life.running : 0),
      heard: () => this.#broker.up.open && !this.#closed,
      deliver: (delivery) =>
        life.run(
          () => settle(delivery, handler, settlement),
          () => durable.pump(),
        ),
    });
    const life = new SubscriptionLife(detach);
    queueMicrotask(() => durable.pump());
    return this.#kept(life);
  }

  async follow(
    options: FollowOptions,
    handler: (message: BusMessage) => void | Promise<void>,
  ): Promise<Subscription> {
    checkFollowOptions(options);
    const { stream, subjects } = options;
    const key = this.#takeSlot(stream);
    const [only, ...others] = subjects;
    const name = key.slice(stream.length + 1);
    const filter = others.length === 0 ? only : undefined;
    try {
      await this.#ask(jetstreamSubjects.consumerCreate(stream, name, filter));
    } catch (error) {
      this.#follows.delete(key);
      throw error;
    }
    let nextSequence = options.fromSequence;
    let working = false;
    const work = (): void => {
      if (working || life.over) return;
      working = true;
      life.run(
        async () => {
          await Promise.resolve();
          while (!life.over && this.#broker.up.open) {
            const message = this.#broker.stream(stream).nextFrom(subjects, nextSequence);
            if (message === null) return;
            nextSequence = message.sequence + 1;
            await handler(message);
          }
        },
        () => {
          working = false;
          if (this.#broker.stream(stream).nextFrom(subjects, nextSequence) !== null) again();
        },
      );
    };
    const again = (): void => {
      if (this.#broker.up.open) work();
    };
    const stopWatching = this.#broker.watch(again);
    const life = new SubscriptionLife(() => {
      stopWatching();
      this.#follows.delete(key);
    });
    work();
    return this.#kept(life);
  }

  async lastMessage(stream: StreamName, subject: string): Promise<BusMessage | null> {
    await this.#ask(
      this.readScope === 'streams'
        ? jetstreamSubjects.messageGet(stream)
        : jetstreamSubjects.directGetLast(stream, subject),
    );
    return this.#broker.stream(stream).last(subject);
  }

  async getMessage(stream: StreamName, sequence: number): Promise<BusMessage | null> {
    await this.#ask(jetstreamSubjects.messageGet(stream));
    return this.#broker.stream(stream).get(sequence);
  }

  async streamState(stream: StreamName): Promise<StreamState> {
    await this.#ask(jetstreamSubjects.streamInfo(stream));
    return this.#broker.stream(stream).state();
  }

  bucket(name: BucketName): Bucket {
    const ask = (subject: string): Promise<void> => this.#ask(subject);
    return new MemoryBucketClient(this.#broker.bucket(name), name, ask);
  }

  async request(subject: string, data: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    await this.#ask(subject, timeoutMs);
    const responder = this.#broker.responder(subject);
    if (responder === null)
      throw new BusError('BUS_NO_RESPONDER', 'nobody answers on this subject');
    return await new Promise((resolve, reject) => {
      const timer = this.#broker.clock.after(timeoutMs, () =>
        reject(new BusError('BUS_TIMEOUT', 'the bus did not answer in time')),
      );
      void responder(data.slice()).then((answer) => {
        if (answer === null) return;
        timer.cancel();
        resolve(answer.slice());
      });
    });
  }

  async respond(
    subject: string,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
  ): Promise<Subscription> {
    await Promise.resolve();
    if (!allowsSubscription(this.#permissions.subscribe, subject)) throw denied();
    const remove = this.#broker.addResponder(subject, (data) => this.#answer(life, data, handler));
    const life = new SubscriptionLife(remove);
    return this.#kept(life);
  }

  onState(listener: (state: BusState) => void): void {
    const tell = (open: boolean): void => listener(open ? 'connected' : 'disconnected');
    this.#broker.up.onChange((open) => {
      if (!this.#closed) tell(open);
    });
    tell(this.#broker.up.open);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    this.#closed = true;
  }

  async ready(timeoutMs: number): Promise<boolean> {
    if (this.#closed) throw new BusError('BUS_CLOSED', 'the connection is closed');
    return await this.#broker.up.waitOpen(this.#broker.clock, timeoutMs);
  }

  async send(request: PublishRequest, token: string, timeoutMs: number): Promise<SendAnswer> {
    const stream = this.#streamOf(request.subject);
    await Promise.resolve();
    if (!allows(this.#permissions.publish, request.subject)) throw denied();
    if (!this.#broker.up.open) throw new BusError('BUS_UNREACHABLE', 'the bus cannot be reached');
    const answer = this.#broker.store(stream, request, token);
    if (answer !== null) return answer;
    await sleep(this.#broker.clock, timeoutMs);
    throw new BusError('BUS_TIMEOUT', 'the bus did not answer in time');
  }

  last(subject: string): Promise<BusMessage | null> {
    return this.lastMessage(this.#streamOf(subject), subject);
  }

  async nextFrom(subject: string, sequence: number): Promise<BusMessage | null> {
    const stream = this.#streamOf(subject);
    await this.#ask(jetstreamSubjects.messageGet(stream));
    return this.#broker.stream(stream).nextFrom([subject], sequence);
  }

  /** A question to the server under one subject: it must be up, and the lists must allow it. */
  async #ask(subject: string, timeoutMs = readyMs): Promise<void> {
    if (!(await this.ready(timeoutMs))) {
      throw new BusError('BUS_UNREACHABLE', 'the bus cannot be reached');
    }
    if (!allows(this.#permissions.publish, subject)) throw denied();
  }

  /** Resolves to null, and the asker waits in vain, when there is no answer to give. */
  async #answer(
    life: SubscriptionLife,
    data: Uint8Array,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
  ): Promise<Uint8Array | null> {
    if (life.running >= respondInFlightMax || !this.#broker.up.open) {
      this.#onTrouble(new BusError('BUS_FULL', 'too many requests at once: one is not answered'));
      return null;
    }
    return await new Promise((resolve) => {
      let answer: Uint8Array | null = null;
      life.run(
        async () => {
          answer = await handler(data);
        },
        () => resolve(answer),
      );
    });
  }

  #takeSlot(stream: StreamName): string {
    for (let slot = 0; slot < followSlotsMax; slot++) {
      const key = `${stream}/${followConsumerName(this.#principal.id, slot)}`;
      if (this.#follows.has(key)) continue;
      this.#follows.add(key);
      return key;
    }
    throw new BusError('BUS_FULL', `already following ${stream} ${followSlotsMax} times`);
  }

  #streamOf(subject: string): StreamName {
    const stream = streamOf(this.#subjects, subject);
    if (stream === null) throw new BusError('BUS_REJECTED', 'no stream stores this subject');
    return stream;
  }

  #kept(life: SubscriptionLife): Subscription {
    this.#subscriptions.add(life);
    life.onEnd(() => this.#subscriptions.delete(life));
    return life;
  }
}

function denied(): BusError {
  return new BusError('BUS_DENIED', 'the bus does not allow this to this agent');
}
