/** A bucket in memory: the server's side, and a client's under the same permissions as over NATS. */
import { BusError, bucketKeysMax, checkBucketItem } from './bus.ts';
import type { Bucket, BucketName, KeptValue, PutOutcome } from './bus.ts';
import type { BucketDefinition } from './streams.ts';
import { bucketSubjects, jetstreamSubjects } from './subjects.ts';

export class MemoryBucket {
  readonly #definition: BucketDefinition;
  readonly #kept = new Map<string, KeptValue>();
  #revision = 0;
  #bytes = 0;

  constructor(definition: BucketDefinition) {
    this.#definition = definition;
  }

  get(key: string): KeptValue | null {
    const kept = this.#kept.get(key);
    return kept === undefined ? null : { ...kept, value: kept.value.slice() };
  }

  /** @throws BusError BUS_FULL */
  put(key: string, value: Uint8Array, expectedRevision: number): PutOutcome {
    const former = this.#kept.get(key);
    if ((former?.revision ?? 0) !== expectedRevision) return { status: 'conflict' };
    const bytes = this.#bytes + value.length - (former?.value.length ?? 0);
    if (bytes > this.#definition.bytesMax) throw new BusError('BUS_FULL', 'the bucket is full');
    this.#bytes = bytes;
    this.#revision += 1;
    this.#kept.set(key, { value: value.slice(), revision: this.#revision });
    return { status: 'stored', revision: this.#revision };
  }

  keys(): readonly string[] {
    return [...this.#kept.keys()].toSorted().slice(0, bucketKeysMax);
  }
}

/** How a client asks the server; both refuse subjects that its permissions do not list. */
export interface BucketAccess {
  read<Answer>(subject: string, serve: () => Answer): Promise<Answer>;
  put<Answer>(subject: string, value: Uint8Array, serve: () => Answer): Promise<Answer>;
}

/** One connection's access. */
export class MemoryBucketClient implements Bucket {
  readonly #store: MemoryBucket;
  readonly #name: BucketName;
  readonly #access: BucketAccess;

  constructor(store: MemoryBucket, name: BucketName, access: BucketAccess) {
    this.#store = store;
    this.#name = name;
    this.#access = access;
  }

  async get(key: string): Promise<KeptValue | null> {
    checkBucketItem(key);
    const question = jetstreamSubjects.messageGet(bucketSubjects.stream(this.#name));
    return await this.#access.read(question, () => this.#store.get(key));
  }

  async put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome> {
    checkBucketItem(key, value);
    const subject = `${bucketSubjects.prefix(this.#name)}${key}`;
    const serve = (): PutOutcome => this.#store.put(key, value, expectedRevision);
    return await this.#access.put(subject, value, serve);
  }

  async keys(): Promise<readonly string[]> {
    const question = jetstreamSubjects.streamInfo(bucketSubjects.stream(this.#name));
    return await this.#access.read(question, () => this.#store.keys());
  }
}
