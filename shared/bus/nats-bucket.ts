/**
 * A bucket over NATS KV. Reads go to the leader of its stream. Keys are counted by the stream's own
 * account of its subjects, because nobody but an administrator may make consumers on a bucket.
 */
import { jetstream, JetStreamApiError } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import type { KV } from '@nats-io/kv';
import { BusError, bucketKeysMax, checkBucketItem } from './bus.ts';
import type { Bucket, BucketName, KeptValue, PutOutcome } from './bus.ts';
import { apiCodes, apiFault, translate, wrongSequenceCodes } from './nats-errors.ts';
import { isRecord } from './nats-link.ts';
import type { NatsLink } from './nats-link.ts';
import { bucketSubjects, jetstreamSubjects } from './subjects.ts';

const putTimeoutMs = 2_000;

export class NatsBucket implements Bucket {
  readonly #link: NatsLink;
  readonly #name: BucketName;
  readonly #store: Promise<KV>;

  constructor(link: NatsLink, name: BucketName) {
    this.#link = link;
    this.#name = name;
    this.#store = new Kvm(jetstream(link.connection)).open(name, { allow_direct: false });
  }

  async get(key: string): Promise<KeptValue | null> {
    checkBucketItem(key);
    return await this.#link.persistently(async () => {
      try {
        const entry = await (await this.#store).get(key);
        if (entry === null || entry.operation !== 'PUT') return null;
        return { value: new Uint8Array(entry.value), revision: entry.revision };
      } catch (error) {
        if (error instanceof JetStreamApiError && error.code === apiCodes.noMessageFound) {
          return null;
        }
        throw faultOf(error);
      }
    });
  }

  async put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome> {
    checkBucketItem(key, value);
    if (!(await this.#link.ready(putTimeoutMs))) {
      throw new BusError('BUS_UNREACHABLE', 'the bus cannot be reached');
    }
    const outcome = await this.#putAt(key, value, expectedRevision);
    if (outcome.status === 'stored' || expectedRevision !== 0) return outcome;
    // Who deletes a key leaves a mark in its place, which has a revision like any value.
    const mark = await this.#deletionOf(key);
    return mark === undefined ? outcome : await this.#putAt(key, value, mark);
  }

  async #putAt(key: string, value: Uint8Array, previousSeq: number): Promise<PutOutcome> {
    try {
      const options = { previousSeq, timeout: putTimeoutMs };
      return { status: 'stored', revision: await (await this.#store).put(key, value, options) };
    } catch (error) {
      if (error instanceof JetStreamApiError && wrongSequenceCodes.has(error.code)) {
        return { status: 'conflict' };
      }
      throw faultOf(error);
    }
  }

  async #deletionOf(key: string): Promise<number | undefined> {
    try {
      const entry = await (await this.#store).get(key);
      return entry === null || entry.operation === 'PUT' ? undefined : entry.revision;
    } catch (error) {
      throw faultOf(error);
    }
  }

  async keys(): Promise<readonly string[]> {
    const subject = jetstreamSubjects.streamInfo(bucketSubjects.stream(this.#name));
    const prefix = bucketSubjects.prefix(this.#name);
    const answer = await this.#link.persistently(() =>
      this.#link.api(subject, { subjects_filter: bucketSubjects.all(this.#name) }),
    );
    if (!answer.ok) throw apiFault(answer);
    const { state } = answer.value;
    const subjects = isRecord(state) ? state['subjects'] : undefined;
    return Object.keys(isRecord(subjects) ? subjects : {})
      .filter((each) => each.startsWith(prefix))
      .map((each) => each.slice(prefix.length))
      .toSorted()
      .slice(0, bucketKeysMax);
  }
}

function faultOf(error: unknown): BusError {
  if (!(error instanceof JetStreamApiError)) return translate(error);
  return apiFault({ errCode: error.code, status: error.status });
}
