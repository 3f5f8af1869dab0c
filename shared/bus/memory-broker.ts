/**
 * The server side of the in-memory bus: streams, durables, answers, and what only an administrator
 * or a misfortune does to a server (`truncate`, `lose`, `rollBack`, `stop`, `start`, `loseAnswers`).
 */
import { BusError } from './bus.ts';
import type { BucketName, Bus, BusMessage, StreamName } from './bus.ts';
import { MemoryBucket } from './memory-bucket.ts';
import { MemoryBus } from './memory-bus.ts';
import type { MemoryBusOptions } from './memory-bus.ts';
import { MemoryDurable } from './memory-durable.ts';
import type { SubjectFilter } from './memory-filter.ts';
import { MemoryStream } from './memory-stream.ts';
import type { PublishRequest } from './bus.ts';
import type { SendAnswer } from './publisher.ts';
import type { ProvisionPlan } from './streams.ts';
import { Gate, systemClock } from './timers.ts';
import type { BusClock } from './timers.ts';

/** Hands a request to one who listens; `reply` may be called later, more than once, or never. */
export type Responder = (data: Uint8Array, reply: (answer: Uint8Array) => void) => void;

/** Whoever wants to know when there is something new for it. */
interface Watcher {
  readonly filter: SubjectFilter;
  changed(): void;
}

export interface BrokerOptions {
  /** Hears of every new message, which it must not change. */
  readonly onStored?: (stream: StreamName, message: BusMessage) => void;
  /** Readers get the stored bytes and not a copy, which is cheaper: none of them may change a byte. */
  readonly sharesBytes?: boolean;
}

const concernedMax = 4096;

export class MemoryBroker {
  readonly mesh: string;
  readonly clock: BusClock;
  /** Open while the server is up. */
  readonly up = new Gate();
  readonly #options: BrokerOptions;
  readonly #streams = new Map<StreamName, MemoryStream>();
  readonly #buckets = new Map<BucketName, MemoryBucket>();
  readonly #durables = new Map<string, MemoryDurable>();
  readonly #responders = new Map<string, readonly Responder[]>();
  readonly #watchers = new Map<StreamName, Set<Watcher>>();
  /** Who watches a subject, by stream and subject; forgotten when somebody comes or goes. */
  #concerned = new Map<string, readonly Watcher[]>();
  #answersToLose = 0;

  constructor(plan: ProvisionPlan, clock: BusClock = systemClock, options: BrokerOptions = {}) {
    this.mesh = plan.mesh;
    this.clock = clock;
    this.#options = options;
    this.provision(plan);
    this.up.set(true);
  }

  /** Adds what is missing; what exists stays as it is. */
  provision(plan: ProvisionPlan): void {
    for (const definition of plan.streams) {
      const { name } = definition;
      if (this.#streams.has(name)) continue;
      const { onStored, sharesBytes = false } = this.#options;
      const told = (message: BusMessage): void => onStored?.(name, message);
      const options = { onStored: told, sharesBytes };
      this.#streams.set(name, new MemoryStream(definition, this.clock, options));
      this.#watchers.set(name, new Set());
    }
    for (const definition of plan.buckets) {
      if (this.#buckets.has(definition.name)) continue;
      this.#buckets.set(definition.name, new MemoryBucket(definition));
    }
    for (const definition of plan.consumers) {
      const key = `${definition.stream}/${definition.name}`;
      if (this.#durables.has(key)) continue;
      const durable = new MemoryDurable(definition, this.stream(definition.stream), this.clock);
      this.#durables.set(key, durable);
      this.watch(definition.stream, durable.filter, () => durable.pump());
    }
  }

  connect(options: MemoryBusOptions): Bus {
    return new MemoryBus(this, options);
  }

  /** As an administrator: keeps only the newest messages of a stream. */
  truncate(stream: StreamName, messagesKept = 1): void {
    this.stream(stream).truncate(messagesKept);
    this.#allChanged();
  }

  /** Damage: messages from one sequence to another are gone for good. */
  lose(stream: StreamName, fromSequence: number, toSequence: number): void {
    this.stream(stream).lose(fromSequence, toSequence);
    this.#allChanged();
  }

  /**
   * A stream and its durables are what they were when `lastSequence` was the last: what was acknowledged
   * after it is forgotten. A server comes back so from a copy: `stop` it before, and `start` it then.
   */
  rollBack(stream: StreamName, lastSequence: number): void {
    this.stream(stream).rollBack(lastSequence);
    for (const durable of this.#durables.values()) {
      if (durable.definition.stream === stream) durable.rollBack(lastSequence);
    }
  }

  /** The server is gone: every client is disconnected, what was stored stays. */
  stop(): void {
    this.up.set(false);
  }

  start(): void {
    for (const stream of this.#streams.values()) stream.restart();
    this.up.set(true);
    this.#allChanged();
  }

  /** The next `count` publishes are stored, and their acknowledgements are lost. */
  loseAnswers(count: number): void {
    this.#answersToLose = count;
  }

  /** @throws BusError BUS_REJECTED when there is no such stream */
  stream(name: StreamName): MemoryStream {
    const stream = this.#streams.get(name);
    if (stream === undefined) throw new BusError('BUS_REJECTED', `there is no stream ${name}`);
    return stream;
  }

  /** @throws BusError BUS_REJECTED when there is no such bucket */
  bucket(name: BucketName): MemoryBucket {
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) throw new BusError('BUS_REJECTED', `there is no bucket ${name}`);
    return bucket;
  }

  /** @throws BusError BUS_REJECTED when there is no such durable */
  durable(stream: StreamName, name: string): MemoryDurable {
    const durable = this.#durables.get(`${stream}/${name}`);
    if (durable === undefined) throw new BusError('BUS_REJECTED', `there is no durable ${name}`);
    return durable;
  }

  /** Stores a message; null when the answer got lost on its way. */
  store(stream: StreamName, request: PublishRequest, token: string): SendAnswer | null {
    const answer = this.stream(stream).store(request, token);
    if (answer.status === 'stored' && !answer.duplicate) this.#changed(stream, request.subject);
    if (this.#answersToLose === 0) return answer;
    this.#answersToLose -= 1;
    return null;
  }

  /**
   * The first answer of those who listen; never, when none of them answers.
   * @throws BusError BUS_NO_RESPONDER when nobody listens
   */
  ask(subject: string, data: Uint8Array): Promise<Uint8Array> {
    const responders = this.#responders.get(subject) ?? [];
    if (responders.length === 0) {
      throw new BusError('BUS_NO_RESPONDER', 'nobody answers on this subject');
    }
    return new Promise((resolve) => {
      for (const responder of responders) {
        responder(data.slice(), (answer) => resolve(answer.slice()));
      }
    });
  }

  addResponder(subject: string, responder: Responder): () => void {
    this.#responders.set(subject, [...(this.#responders.get(subject) ?? []), responder]);
    return () => {
      const others = this.#responders.get(subject)?.filter((one) => one !== responder) ?? [];
      this.#responders.set(subject, others);
    };
  }

  /** Called when a stream has something new under the filter, or less than before; ends by the result. */
  watch(stream: StreamName, filter: SubjectFilter, changed: () => void): () => void {
    const watcher = { filter, changed };
    const watchers = this.#watchers.get(stream);
    this.#concerned = new Map();
    watchers?.add(watcher);
    return () => {
      this.#concerned = new Map();
      watchers?.delete(watcher);
    };
  }

  #changed(stream: StreamName, subject: string): void {
    const key = `${stream}/${subject}`;
    let concerned = this.#concerned.get(key);
    if (concerned === undefined) {
      const watchers = [...(this.#watchers.get(stream) ?? [])];
      concerned = watchers.filter(({ filter }) => filter.covers(subject));
      if (this.#concerned.size >= concernedMax) this.#concerned.clear();
      this.#concerned.set(key, concerned);
    }
    for (const watcher of concerned) watcher.changed();
  }

  #allChanged(): void {
    for (const watchers of this.#watchers.values()) {
      for (const watcher of watchers) watcher.changed();
    }
  }
}
