/**
 * The bus as agents see it: publish with optimistic concurrency, work from a durable consumer,
 * follow a stream, ask and answer. No type of a particular bus appears here; `nats-bus.ts` and
 * `memory-bus.ts` both keep this contract (test/contract/bus).
 *
 * The bus is not trusted for content: it orders and keeps, it does not vouch. What it does promise
 * is said at each operation, and every fault arrives as a `BusError` with a code.
 */

export const streamNames = ['GYRE_CONTROL', 'GYRE_AUDIT', 'GYRE_BULK', 'GYRE_DEAD'] as const;
export type StreamName = (typeof streamNames)[number];

/** Buckets of keys and values beside the streams: small, few, and rewritten in place. */
export const bucketNames = ['gyre_trust'] as const;
export type BucketName = (typeof bucketNames)[number];

export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** As claimed by the publisher; empty when it gave none. Recompute it before relying on it. */
  readonly messageId: string;
  /** Position in the stream, from 1. */
  readonly sequence: number;
  /** 1 for the first delivery; 1 for messages that were read rather than delivered. */
  readonly deliveryCount: number;
  /** When the bus stored it, in milliseconds since 1970-01-01T00:00:00Z. */
  readonly timeMs: number;
}

export interface PublishRequest {
  readonly subject: string;
  /** At most `messageBytesMax` bytes. */
  readonly data: Uint8Array;
  /** 1 to 128 characters of A-Z, a-z, 0-9, `_` and `-`; unguessable before publication. */
  readonly messageId: string;
  /** Store only if the last message of this subject has this sequence (0: there is none). */
  readonly expectLastSubjectSequence?: number;
  /**
   * From 1: the bus took it that often, and what must follow has not come. Where it says "duplicate" and
   * nobody can see that the message is there, it is stored once more, as a copy that readers know by its
   * id; once for each number, however often and by whichever process that is tried.
   */
  readonly repetition?: number;
}

export type PublishOutcome =
  | { readonly status: 'stored'; readonly sequence: number; readonly duplicate: boolean }
  | {
      readonly status: 'conflict';
      readonly lastSequence: number;
      /** An earlier attempt had no answer: a bus that forgets may have stored the message and lost it since. */
      readonly maybeStored?: true;
    };

/** What becomes of a delivered message. A dead letter's reason is at most 200 characters. */
export type Disposition =
  'ack' | { readonly retryAfterMs: number } | { readonly deadLetter: string };

export interface Subscription {
  /** Calls no handler again; resolves when the running calls have ended. */
  stop(): Promise<void>;
  /**
   * Resolves after `stop`, rejects when the subscription ended by itself: a handler that threw (its
   * message stays unacknowledged) or a refusal of the bus. An unobserved rejection ends the process,
   * as a broken invariant should.
   */
  readonly ended: Promise<void>;
}

export interface ConsumeOptions {
  readonly stream: StreamName;
  /** Name of a durable consumer that provisioning made for this agent. */
  readonly consumer: string;
  /**
   * Handlers that may run at once, from 1. They are started in stream order. With 1, and a durable
   * whose `unackedMax` is 1, a message is not delivered before the one ahead of it is settled.
   */
  readonly inFlightMax: number;
}

export interface FollowOptions {
  readonly stream: StreamName;
  /** Subject patterns, 1 to 16. */
  readonly subjects: readonly string[];
  /** First sequence to deliver, from 1; if it is no longer there, the next one that is. */
  readonly fromSequence: number;
}

export interface StreamState {
  /** Sequence of the oldest message; `lastSequence + 1` when the stream is empty. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly messages: number;
  readonly bytes: number;
  readonly bytesMax: number;
}

export interface KeptValue {
  readonly value: Uint8Array;
  /** Rises with every write to the bucket, from 1: it also says in which order values were written. */
  readonly revision: number;
}

export type PutOutcome =
  { readonly status: 'stored'; readonly revision: number } | { readonly status: 'conflict' };

/** Keys and values, read from the leader of the store, so that nothing older is read than was written. */
export interface Bucket {
  /** The value of a key (1 to 200 characters of A-Z, a-z, 0-9, `_`, `-` and `.`), or null. */
  get(key: string): Promise<KeptValue | null>;
  /**
   * Writes if the last write of this key has this revision (0: there is none).
   * @throws BusError BUS_TIMEOUT when it is unknown whether the value was stored; BUS_DENIED,
   * BUS_FULL, BUS_REJECTED (a value of more than `bucketValueBytesMax`)
   */
  put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome>;
  /** The first `bucketKeysMax` keys in order of their bytes. */
  keys(): Promise<readonly string[]>;
}

export type BusState = 'connected' | 'disconnected';

export interface Bus {
  /**
   * Stores one message. After a time-out it asks again under the same id and answers what became of
   * it: `stored` if this very message is in the stream, `conflict` if another one took its place.
   * If the bus still deduplicates a message that it has since lost, it is stored again.
   * @throws BusError BUS_TIMEOUT when it is unknown whether the message was stored; BUS_UNREACHABLE
   * when it was never sent; BUS_DENIED, BUS_FULL, BUS_REJECTED, BUS_CLOSED
   */
  publish(request: PublishRequest): Promise<PublishOutcome>;
  /**
   * Works off a durable consumer. A message whose attempts are used up, or for which the handler
   * says so, goes to GYRE_DEAD with a reason and is then terminated.
   * @throws BusError BUS_DENIED, BUS_REJECTED when the consumer does not exist
   */
  consume(
    options: ConsumeOptions,
    handler: (message: BusMessage) => Promise<Disposition>,
  ): Promise<Subscription>;
  /** Calls the handler for every message in order, one at a time, across reconnects. */
  follow(
    options: FollowOptions,
    handler: (message: BusMessage) => void | Promise<void>,
  ): Promise<Subscription>;
  /** Last message of one subject, or null. */
  lastMessage(stream: StreamName, subject: string): Promise<BusMessage | null>;
  /** The message at one sequence, or null when it is not there. */
  getMessage(stream: StreamName, sequence: number): Promise<BusMessage | null>;
  streamState(stream: StreamName): Promise<StreamState>;
  bucket(name: BucketName): Bucket;
  /** @throws BusError BUS_NO_RESPONDER at once when nobody listens; BUS_TIMEOUT */
  request(subject: string, data: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /** Answers requests on one subject; null sends no answer. At most 64 handlers run at once. */
  respond(
    subject: string,
    handler: (data: Uint8Array) => Promise<Uint8Array | null>,
  ): Promise<Subscription>;
  /** Called at every change, and once at registration with the present state. */
  onState(listener: (state: BusState) => void): void;
  /** Ends every subscription and the connection, and wipes the connection's seed. */
  close(): Promise<void>;
}

export type BusErrorCode =
  | 'BUS_UNREACHABLE'
  | 'BUS_TIMEOUT'
  | 'BUS_DENIED'
  | 'BUS_REJECTED'
  | 'BUS_FULL'
  | 'BUS_CLOSED'
  | 'BUS_NO_RESPONDER'
  | 'BUS_SERVER_TOO_OLD';

/** Every fault of the bus, translated where it enters. */
export class BusError extends Error {
  readonly code: BusErrorCode;

  constructor(code: BusErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'BusError';
    this.code = code;
  }
}

/** Handlers that may answer requests at once, per subject. */
export const respondInFlightMax = 64;

/** Bytes of one message's payload on the control and audit streams: 640 KiB. */
export const messageBytesMax = 640 * 1024;
/** Bytes that a dead letter adds to the message it holds, at the most: 4 KiB. */
export const deadLetterOverheadBytesMax = 4096;
/** Bytes of the largest payload that any stream takes. */
export const publishBytesMax = messageBytesMax + deadLetterOverheadBytesMax;

/** Bytes of one value of a bucket: 512 KiB. */
export const bucketValueBytesMax = 512 * 1024;
export const bucketKeysMax = 4096;

const bucketKeyPattern = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const messageIdPattern = /^[A-Za-z0-9_-]{1,128}$/;

/** @throws BusError BUS_REJECTED for what no bus would be asked to carry */
export function checkPublishRequest(request: PublishRequest): void {
  if (!messageIdPattern.test(request.messageId)) {
    throw new BusError('BUS_REJECTED', 'the message id is not 1 to 128 characters of A-Za-z0-9_-');
  }
  if (request.data.length > publishBytesMax) {
    throw new BusError('BUS_REJECTED', `the message is larger than ${publishBytesMax} bytes`);
  }
  const expected = request.expectLastSubjectSequence;
  if (expected !== undefined && !(Number.isSafeInteger(expected) && expected >= 0)) {
    throw new BusError('BUS_REJECTED', 'the expected sequence is not a whole number from 0');
  }
}

/** @throws BusError BUS_REJECTED for a key or value that no bucket would be asked to hold */
export function checkBucketItem(key: string, value: Uint8Array = new Uint8Array()): void {
  if (key.length > 200 || !bucketKeyPattern.test(key)) {
    throw new BusError('BUS_REJECTED', 'the key is not 1 to 200 characters of A-Za-z0-9_-.');
  }
  if (value.length > bucketValueBytesMax) {
    throw new BusError('BUS_REJECTED', `the value is larger than ${bucketValueBytesMax} bytes`);
  }
}

/** @throws BusError BUS_REJECTED */
export function checkFollowOptions({ subjects, fromSequence }: FollowOptions): void {
  if (subjects.length < 1 || subjects.length > 16) {
    throw new BusError('BUS_REJECTED', 'follow takes 1 to 16 subjects');
  }
  if (!Number.isSafeInteger(fromSequence) || fromSequence < 1) {
    throw new BusError('BUS_REJECTED', 'sequences begin at 1');
  }
}
