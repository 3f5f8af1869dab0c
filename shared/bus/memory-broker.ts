/**
 * The server side of the in-memory bus: streams, durables, answers, and what only an administrator
 * or a misfortune does to a server (`truncate`, `stop`, `start`, `loseAnswers`).
 */
import { BusError } from './bus.ts';
import type { BucketName, Bus, StreamName } from './bus.ts';
import { MemoryBucket } from './memory-bucket.ts';
import { MemoryBus } from './memory-bus.ts';
import type { MemoryBusOptions } from './memory-bus.ts';
import { MemoryDurable } from './memory-durable.ts';
import { MemoryStream } from './memory-stream.ts';
import type { PublishRequest } from './bus.ts';
import type { SendAnswer } from './publisher.ts';
import type { ProvisionPlan } from './streams.ts';
import { Gate, systemClock } from './timers.ts';
import type { BusClock } from './timers.ts';

export type Responder = (data: Uint8Array) => Promise<Uint8Array | null>;

export class MemoryBroker {
  readonly mesh: string;
  readonly clock: BusClock;
  /** Open while the server is up. */
  readonly up = new Gate();
  readonly #streams = new Map<StreamName, MemoryStream>();
  readonly #buckets = new Map<BucketName, MemoryBucket>();
  readonly #durables = new Map<string, MemoryDurable>();
  readonly #responders = new Map<string, Responder[]>();
  readonly #watchers = new Set<() => void>();
  #answersToLose = 0;

  constructor(plan: ProvisionPlan, clock: BusClock = systemClock) {
    this.mesh = plan.mesh;
    this.clock = clock;
    this.provision(plan);
    this.up.set(true);
  }

  /** Adds what is missing; what exists stays as it is. */
  provision(plan: ProvisionPlan): void {
    for (const definition of plan.streams) {
      if (this.#streams.has(definition.name)) continue;
      this.#streams.set(definition.name, new MemoryStream(definition, this.clock));
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
    }
  }

  connect(options: MemoryBusOptions): Bus {
    return new MemoryBus(this, options);
  }

  /** As an administrator: keeps only the newest messages of a stream. */
  truncate(stream: StreamName, messagesKept = 1): void {
    this.stream(stream).truncate(messagesKept);
    this.#changed();
  }

  /** The server is gone: every client is disconnected, what was stored stays. */
  stop(): void {
    this.up.set(false);
  }

  start(): void {
    for (const stream of this.#streams.values()) stream.restart();
    this.up.set(true);
    this.#changed();
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
    this.#changed();
    if (this.#answersToLose === 0) return answer;
    this.#answersToLose -= 1;
    return null;
  }

  responder(subject: string): Responder | null {
    return this.#responders.get(subject)?.[0] ?? null;
  }

  addResponder(subject: string, responder: Responder): () => void {
    const present = this.#responders.get(subject) ?? [];
    this.#responders.set(subject, [...present, responder]);
    return () => {
      const others = this.#responders.get(subject)?.filter((one) => one !== responder) ?? [];
      this.#responders.set(subject, others);
    };
  }

  /** Called after every change of any stream; the returned function ends that. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  #changed(): void {
    for (const watcher of this.#watchers) watcher();
    for (const durable of this.#durables.values()) durable.pump();
  }
}
