/**
 * The bus over NATS JetStream. Publishing is bounded in flight by count and bytes (the client has no
 * back-pressure of its own), reads go to the stream's leader where the agent may ask it, and every
 * fault is a `BusError`.
 */
import type { Msg } from '@nats-io/transport-node';
import { BusError, respondInFlightMax } from './bus.ts';
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
import { SubscriptionLife } from './delivery.ts';
import { NatsBucket } from './nats-bucket.ts';
import { consumeNats } from './nats-consume.ts';
import { apiCodes, apiFault, translate, wrongSequenceCodes } from './nats-errors.ts';
import { Followers } from './nats-follow.ts';
import { isRecord, jsonOf, NatsLink, publishHeaders } from './nats-link.ts';
import { directMessage, storedMessage } from './nats-messages.ts';
import { readScopeOf } from './permissions.ts';
import type { ReadScope } from './permissions.ts';
import { Publisher, publisherLimits } from './publisher.ts';
import type { PublisherLimits, PublishTransport, SendAnswer } from './publisher.ts';
import type { BusPrincipal } from './streams.ts';
import { jetstreamSubjects, streamOf, subjectsOf } from './subjects.ts';
import type { Subjects } from './subjects.ts';

export interface NatsBusOptions {
  /** `host:port`, one or several. */
  readonly servers: string | readonly string[];
  readonly mesh: string;
  readonly principal: BusPrincipal;
  /** NKEY user seed in its text form (58 bytes of ASCII). Copied; the caller wipes its own. */
  readonly seed: Uint8Array;
  /** How long the first connection may take; 30 s unless told: a busy server answers late. */
  readonly connectTimeoutMs?: number;
  readonly limits?: Partial<PublisherLimits>;
  /** Faults in the background that are survived, for the log. */
  readonly onTrouble: (error: BusError) => void;
}

const readTimeoutMs = 2_000;

/**
 * Connects and stays connected: reconnects are unlimited.
 * @throws BusError BUS_UNREACHABLE, BUS_DENIED, BUS_SERVER_TOO_OLD
 */
export async function connectNatsBus(options: NatsBusOptions): Promise<Bus> {
  const { principal, servers, seed, onTrouble, connectTimeoutMs } = options;
  const link = await NatsLink.open({
    servers,
    agentId: principal.id,
    seed,
    onTrouble,
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
  });
  return new NatsBus(link, options);
}

class NatsBus implements Bus, PublishTransport {
  readonly readScope: ReadScope;
  readonly #link: NatsLink;
  readonly #principal: BusPrincipal;
  readonly #subjects: Subjects;
  readonly #publisher: Publisher;
  readonly #followers: Followers;
  readonly #subscriptions = new Set<Subscription>();

  constructor(link: NatsLink, options: NatsBusOptions) {
    this.#link = link;
    this.#principal = options.principal;
    this.#subjects = subjectsOf(options.mesh);
    this.readScope = readScopeOf(options.principal);
    this.#publisher = new Publisher(this, link.clock, { ...publisherLimits, ...options.limits });
    this.#followers = new Followers(link, options.principal.id);
  }

  publish(request: PublishRequest): Promise<PublishOutcome> {
    return this.#publisher.publish(request);
  }

  async consume(
    options: ConsumeOptions,
    handler: (message: BusMessage) => Promise<Disposition>,
  ): Promise<Subscription> {
    const { id } = this.#principal;
    const context = {
      link: this.#link,
      agentId: id,
      deadSubject: this.#subjects.dead(id),
      publish: (request: PublishRequest) => this.publish(request),
    };
    return this.#kept(await consumeNats(context, options, handler));
  }

  async follow(
    options: FollowOptions,
    handler: (message: BusMessage) => void | Promise<void>,
  ): Promise<Subscription> {
    return this.#kept(await this.#followers.follow(options, handler));
  }

  async lastMessage(stream: StreamName, subject: string): Promise<BusMessage | null> {
    return this.readScope === 'streams'
      ? await this.#read(stream, { last_by_subj: subject })
      : await this.#readDirect(stream, subject);
  }

  getMessage(stream: StreamName, sequence: number): Promise<BusMessage | null> {
    return this.#read(stream, { seq: sequence });
  }

  async streamState(stream: StreamName): Promise<StreamState> {
    const subject = jetstreamSubjects.streamInfo(stream);
    const answer = await this.#link.persistently(() => this.#link.api(subject));
    if (!answer.ok) throw apiFault(answer);
    const { state, config } = answer.value;
    if (!isRecord(state) || !isRecord(config)) {
      throw new BusError('BUS_REJECTED', 'the JetStream API answered nonsense');
    }
    const messages = Number(state['messages']);
    const lastSequence = Number(state['last_seq']);
    return {
      firstSequence: messages === 0 ? lastSequence + 1 : Number(state['first_seq']),
      lastSequence,
      messages,
      bytes: Number(state['bytes']),
      bytesMax: Number(config['max_bytes']),
    };
  }

  bucket(name: BucketName): Bucket {
    return new NatsBucket(this.#link, name);
  }

  async request(subject: string, data: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const startMs = this.#link.clock.monotonicMs();
    if (!(await this.#link.ready(timeoutMs))) {
      throw new BusError('BUS_UNREACHABLE', 'the bus cannot be reached');
    }
    const leftMs = Math.max(1, timeoutMs - (this.#link.clock.monotonicMs() - startMs));
    const answer = await this.#link.request(subject, data, { timeoutMs: leftMs });
    return new Uint8Array(answer.data);
  }

  async respond(
    subject: string,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
  ): Promise<Subscription> {
    const { connection } = this.#link;
    const life = new SubscriptionLife(() => {
      if (connection.isClosed()) return;
      subscription.unsubscribe();
      gone = this.#settled();
    });
    let gone = Promise.resolve();
    const subscription = connection.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) life.fail(translate(error));
        else this.#answer(life, message, handler);
      },
    });
    try {
      await connection.flush();
    } catch (error) {
      throw translate(error);
    }
    if (life.over) await life.ended;
    this.#kept(life);
    // Once stopped, askers hear at once that nobody answers.
    const stop = async (): Promise<void> => {
      await life.stop();
      await gone;
    };
    return { ended: life.ended, stop };
  }

  onState(listener: (state: BusState) => void): void {
    const tell = (open: boolean): void => listener(open ? 'connected' : 'disconnected');
    this.#link.gate.onChange(tell);
    tell(this.#link.gate.open);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    await this.#link.close();
  }

  ready(timeoutMs: number): Promise<boolean> {
    return this.#link.ready(timeoutMs);
  }

  async send(request: PublishRequest, token: string, timeoutMs: number): Promise<SendAnswer> {
    const { subject, data, expectLastSubjectSequence } = request;
    const headers = publishHeaders({
      token,
      stream: this.#streamOf(subject),
      ...(expectLastSubjectSequence === undefined ? {} : { expectLastSubjectSequence }),
    });
    const answer = jsonOf((await this.#link.request(subject, data, { timeoutMs, headers })).data);
    if (!isRecord(answer)) throw new BusError('BUS_REJECTED', 'the bus acknowledged nonsense');
    const { error } = answer;
    if (!isRecord(error)) {
      const duplicate = answer['duplicate'] === true;
      return { status: 'stored', sequence: Number(answer['seq']), duplicate };
    }
    const errCode = Number(error['err_code'] ?? 0);
    if (wrongSequenceCodes.has(errCode)) return { status: 'wrong-sequence' };
    throw apiFault({ errCode, status: Number(error['code'] ?? 0) });
  }

  last(subject: string): Promise<BusMessage | null> {
    return this.lastMessage(this.#streamOf(subject), subject);
  }

  nextFrom(subject: string, sequence: number): Promise<BusMessage | null> {
    return this.#read(this.#streamOf(subject), { seq: sequence, next_by_subj: subject });
  }

  /** Until the server has processed what was said, or the connection that said it is gone. */
  async #settled(): Promise<void> {
    if (!this.#link.gate.open) return;
    try {
      await this.#link.connection.flush();
    } catch (error) {
      translate(error);
    }
  }

  #answer(
    life: SubscriptionLife,
    message: Msg,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
  ): void {
    if (life.over) return;
    if (life.running >= respondInFlightMax) {
      this.#link.onTrouble(
        new BusError('BUS_FULL', 'too many requests at once: one is not answered'),
      );
      return;
    }
    life.run(
      async () => {
        const answer = await handler(new Uint8Array(message.data));
        if (answer !== null && !this.#link.connection.isClosed()) message.respond(answer);
      },
      () => undefined,
    );
  }

  async #read(
    stream: StreamName,
    query: Readonly<Record<string, unknown>>,
  ): Promise<BusMessage | null> {
    const subject = jetstreamSubjects.messageGet(stream);
    const answer = await this.#link.persistently(() => this.#link.api(subject, query));
    if (answer.ok) return storedMessage(answer.value['message']);
    if (answer.errCode === apiCodes.noMessageFound) return null;
    throw apiFault(answer);
  }

  async #readDirect(stream: StreamName, subject: string): Promise<BusMessage | null> {
    const question = jetstreamSubjects.directGetLast(stream, subject);
    const answer = await this.#link.persistently(() =>
      this.#link.request(question, new Uint8Array(), { timeoutMs: readTimeoutMs }),
    );
    const { headers } = answer;
    if (headers === undefined || headers.code === 404) return null;
    return directMessage(answer.data, headers);
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
