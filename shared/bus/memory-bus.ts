/**
 * The client side of the in-memory bus: the same contract as over NATS, the same permissions asked
 * of the same lists under the same subjects, and the same code for publishing, settlement and dead
 * letters.
 */
import { randomUUID } from 'node:crypto';
import { persistently, questionTimeoutMs } from './asking.ts';
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
import { MemoryConsumer } from './memory-consume.ts';
import { SubjectFilter } from './memory-filter.ts';
import { MemoryFollower } from './memory-follow.ts';
import { DirectLink, trafficOf, unreachable } from './memory-link.ts';
import type { MemoryLink } from './memory-link.ts';
import { allowsSubscription, permissionsOf, readScopeOf } from './permissions.ts';
import type { Permissions, ReadScope } from './permissions.ts';
import { Publisher, publisherLimits } from './publisher.ts';
import type { PublisherLimits, PublishTransport, SendAnswer } from './publisher.ts';
import type { BusPrincipal } from './streams.ts';
import { followConsumerName, followSlotsMax, jetstreamSubjects } from './subjects.ts';
import { streamOf, subjectsOf } from './subjects.ts';
import type { Subjects } from './subjects.ts';
import { sleep } from './timers.ts';
import type { BusClock } from './timers.ts';

export interface MemoryBusOptions {
  readonly principal: BusPrincipal;
  readonly limits?: Partial<PublisherLimits>;
  readonly onTrouble: (error: BusError) => void;
  /** The way to the server; one without delay or loss unless told. */
  readonly link?: MemoryLink;
  /** Ids of dead letters; random unless told. */
  readonly newMessageId?: () => string;
}

export class MemoryBus implements Bus, PublishTransport {
  readonly readScope: ReadScope;
  readonly clock: BusClock;
  readonly #broker: MemoryBroker;
  readonly #link: MemoryLink;
  readonly #principal: BusPrincipal;
  readonly #subjects: Subjects;
  readonly #permissions: Permissions;
  readonly #mayPublish: SubjectFilter;
  readonly #publisher: Publisher;
  readonly #onTrouble: (error: BusError) => void;
  readonly #newMessageId: () => string;
  readonly #subscriptions = new Set<SubscriptionLife>();
  readonly #follows = new Set<string>();
  #closed = false;

  constructor(broker: MemoryBroker, options: MemoryBusOptions) {
    const { principal, limits, onTrouble, newMessageId = randomUUID } = options;
    this.#broker = broker;
    this.#link = options.link ?? new DirectLink(broker);
    this.clock = this.#link.clock;
    this.#principal = principal;
    this.#subjects = subjectsOf(broker.mesh);
    this.#permissions = permissionsOf(broker.mesh, principal);
    this.#mayPublish = new SubjectFilter(this.#permissions.publish);
    this.readScope = readScopeOf(principal);
    this.#onTrouble = onTrouble;
    this.#newMessageId = newMessageId;
    this.#publisher = new Publisher(this, this.clock, { ...publisherLimits, ...limits });
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
    this.#requireAllowed(jetstreamSubjects.consumerNext(stream, consumer));
    const question = jetstreamSubjects.consumerInfo(stream, consumer);
    const durable = await this.#read(question, () => this.#broker.durable(stream, consumer));
    const { attemptsMax, ackWaitMs } = durable.definition;
    const settlement = {
      stream,
      clock: this.clock,
      attemptsMax,
      ackWaitMs,
      deadSubject: this.#subjects.dead(this.#principal.id),
      publish: (request: PublishRequest) => this.publish(request),
      newMessageId: this.#newMessageId,
      onTrouble: this.#onTrouble,
    };
    const { life } = new MemoryConsumer({
      link: this.#link,
      durable,
      inFlightMax,
      settle: (delivery) => settle(delivery, handler, settlement),
    });
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
    const question = jetstreamSubjects.consumerCreate(stream, name, filter);
    const onEnd = (): void => {
      this.#follows.delete(key);
    };
    try {
      await this.#read(question, () => this.#broker.stream(stream));
    } catch (error) {
      onEnd();
      throw error;
    }
    const ports = { broker: this.#broker, link: this.#link, onTrouble: this.#onTrouble };
    const follower = new MemoryFollower({ ...ports, options, question, handler, onEnd });
    follower.begin();
    return this.#kept(follower.life);
  }

  async lastMessage(stream: StreamName, subject: string): Promise<BusMessage | null> {
    const question =
      this.readScope === 'streams'
        ? jetstreamSubjects.messageGet(stream)
        : jetstreamSubjects.directGetLast(stream, subject);
    return await this.#read(question, () => this.#broker.stream(stream).last(subject));
  }

  async getMessage(stream: StreamName, sequence: number): Promise<BusMessage | null> {
    const question = jetstreamSubjects.messageGet(stream);
    return await this.#read(question, () => this.#broker.stream(stream).get(sequence));
  }

  async streamState(stream: StreamName): Promise<StreamState> {
    const question = jetstreamSubjects.streamInfo(stream);
    return await this.#read(question, () => this.#broker.stream(stream).state());
  }

  bucket(name: BucketName): Bucket {
    return new MemoryBucketClient(this.#broker.bucket(name), name, {
      read: (question, serve) => this.#read(question, serve),
      put: async (subject, value, serve) => {
        await this.#requireReady(questionTimeoutMs);
        this.#requireAllowed(subject);
        const traffic = trafficOf('put', subject, value);
        return await this.#link.exchange(traffic, questionTimeoutMs, serve);
      },
    });
  }

  async request(subject: string, data: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const startMs = this.clock.monotonicMs();
    await this.#requireReady(timeoutMs);
    this.#requireAllowed(subject);
    const leftMs = Math.max(1, timeoutMs - (this.clock.monotonicMs() - startMs));
    const serve = (): Promise<Uint8Array> => this.#broker.ask(subject, data);
    return await this.#link.exchange(trafficOf('request', subject, data), leftMs, serve);
  }

  async respond(
    subject: string,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
  ): Promise<Subscription> {
    await Promise.resolve();
    if (!allowsSubscription(this.#permissions.subscribe, subject)) throw denied();
    const remove = this.#broker.addResponder(subject, (data, reply) =>
      this.#link.deliver(
        trafficOf('asked', subject, data),
        () => this.#answer(life, data, handler, (answer) => this.#reply(subject, answer, reply)),
        () => undefined,
      ),
    );
    const life = new SubscriptionLife(remove);
    return this.#kept(life);
  }

  onState(listener: (state: BusState) => void): void {
    const tell = (open: boolean): void => listener(open ? 'connected' : 'disconnected');
    this.#link.gate.onChange((open) => {
      if (!this.#closed) tell(open);
    });
    tell(this.#link.gate.open);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    this.#closed = true;
    this.#link.close();
  }

  /** The server notices that the process is gone. Nothing is waited for and nothing is said. */
  drop(): void {
    for (const subscription of this.#subscriptions) subscription.drop();
    this.#closed = true;
  }

  async ready(timeoutMs: number): Promise<boolean> {
    if (this.#closed) throw new BusError('BUS_CLOSED', 'the connection is closed');
    return await this.#link.gate.waitOpen(this.clock, timeoutMs);
  }

  async send(request: PublishRequest, token: string, timeoutMs: number): Promise<SendAnswer> {
    const { subject, data } = request;
    const stream = this.#streamOf(subject);
    this.#requireAllowed(subject);
    const answer = await this.#link.exchange(trafficOf('publish', subject, data), timeoutMs, () =>
      this.#broker.store(stream, request, token),
    );
    if (answer !== null) return answer;
    await sleep(this.clock, timeoutMs);
    throw new BusError('BUS_TIMEOUT', 'the bus did not answer in time');
  }

  last(subject: string): Promise<BusMessage | null> {
    return this.lastMessage(this.#streamOf(subject), subject);
  }

  async nextFrom(subject: string, sequence: number): Promise<BusMessage | null> {
    const stream = this.#streamOf(subject);
    const filter = { covers: (other: string) => other === subject };
    const question = jetstreamSubjects.messageGet(stream);
    return await this.#read(question, () => this.#broker.stream(stream).nextFrom(filter, sequence));
  }

  /** What changes nothing, asked under one subject until there is an answer. */
  #read<Answer>(question: string, serve: () => Answer): Promise<Answer> {
    return persistently(
      this,
      () => {
        this.#requireAllowed(question);
        return this.#link.exchange(trafficOf('read', question), questionTimeoutMs, serve);
      },
      translate,
    );
  }

  async #requireReady(timeoutMs: number): Promise<void> {
    if (!(await this.ready(timeoutMs))) throw unreachable();
  }

  #requireAllowed(subject: string): void {
    if (!this.#mayPublish.covers(subject)) throw denied();
  }

  /** Says nothing, and the asker waits in vain, when there is no answer to give. */
  #answer(
    life: SubscriptionLife,
    data: Uint8Array,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
    reply: (answer: Uint8Array) => void,
  ): void {
    if (life.over) return;
    if (life.running >= respondInFlightMax) {
      this.#onTrouble(new BusError('BUS_FULL', 'too many requests at once: one is not answered'));
      return;
    }
    life.run(
      async () => {
        const answer = await handler(data);
        if (answer !== null) reply(answer);
      },
      () => undefined,
    );
  }

  #reply(subject: string, answer: Uint8Array, reply: (answer: Uint8Array) => void): void {
    this.#link.tell(trafficOf('answer', subject, answer), () => reply(answer));
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

function translate(error: unknown): BusError {
  if (error instanceof BusError) return error;
  throw error;
}
