/**
 * One stream in memory, with the rules that matter of a JetStream one: sequences from 1 that no other
 * message gets, deduplication by token within a window, optimistic concurrency per subject, a bound in
 * bytes, and memory of tokens that outlives the messages until the next restart.
 */
import { BusError } from './bus.ts';
import type { BusMessage, PublishRequest, StreamState } from './bus.ts';
import type { SubjectFilter } from './memory-filter.ts';
import { messageIdOf } from './publisher.ts';
import type { SendAnswer } from './publisher.ts';
import type { StreamDefinition } from './streams.ts';
import type { BusClock } from './timers.ts';

interface Stored {
  readonly message: BusMessage;
  readonly token: string;
  readonly bytes: number;
}

interface Seen {
  readonly sequence: number;
  readonly timeMs: number;
}

export interface StreamOptions {
  /** Hears of every new message, which it must not change. */
  readonly onStored?: (message: BusMessage) => void;
  /** Readers get the stored bytes and not a copy, which is cheaper: none of them may change a byte. */
  readonly sharesBytes?: boolean;
}

/** What JetStream keeps beside a message, about. */
const overheadBytes = 64;

export class MemoryStream {
  readonly definition: StreamDefinition;
  readonly #clock: BusClock;
  readonly #options: StreamOptions;
  /** By sequence from the first one; null where a message was lost. */
  #stored: (Stored | null)[] = [];
  #firstSequence = 1;
  #messages = 0;
  #bytes = 0;
  readonly #tokens = new Map<string, Seen>();
  readonly #lastBySubject = new Map<string, number>();

  constructor(definition: StreamDefinition, clock: BusClock, options: StreamOptions = {}) {
    this.definition = definition;
    this.#clock = clock;
    this.#options = options;
  }

  get lastSequence(): number {
    return this.#firstSequence + this.#stored.length - 1;
  }

  /** @throws BusError BUS_FULL, BUS_REJECTED */
  store(request: PublishRequest, token: string): SendAnswer {
    const { subject, data, expectLastSubjectSequence: expected } = request;
    const timeMs = this.#clock.nowMs();
    this.#expire(timeMs);
    const seen = this.#tokens.get(token);
    if (seen !== undefined) return { status: 'stored', sequence: seen.sequence, duplicate: true };
    if (expected !== undefined && expected !== (this.#lastBySubject.get(subject) ?? 0)) {
      return { status: 'wrong-sequence' };
    }
    if (data.length > this.definition.messageBytesMax) {
      throw new BusError('BUS_REJECTED', 'the message is too large for the stream');
    }
    const bytes = data.length + subject.length + token.length + overheadBytes;
    this.#makeRoom(bytes);
    const sequence = this.lastSequence + 1;
    const message: BusMessage = {
      subject,
      data: data.slice(),
      messageId: messageIdOf(token),
      sequence,
      deliveryCount: 1,
      timeMs,
    };
    this.#stored.push({ message, token, bytes });
    this.#messages += 1;
    this.#bytes += bytes;
    this.#tokens.set(token, { sequence, timeMs });
    this.#lastBySubject.set(subject, sequence);
    this.#options.onStored?.(message);
    return { status: 'stored', sequence, duplicate: false };
  }

  get(sequence: number): BusMessage | null {
    const stored = this.#stored[sequence - this.#firstSequence];
    return stored === undefined || stored === null ? null : this.#read(stored.message);
  }

  last(subject: string): BusMessage | null {
    return this.get(this.#lastBySubject.get(subject) ?? 0);
  }

  /** First message at or after `sequence` whose subject the filter covers. */
  nextFrom(filter: Pick<SubjectFilter, 'covers'>, sequence: number): BusMessage | null {
    for (let at = Math.max(0, sequence - this.#firstSequence); at < this.#stored.length; at++) {
      const message = this.#stored[at]?.message;
      if (message !== undefined && filter.covers(message.subject)) return this.#read(message);
    }
    return null;
  }

  state(): StreamState {
    return {
      firstSequence: this.#firstSequence,
      lastSequence: this.lastSequence,
      messages: this.#messages,
      bytes: this.#bytes,
      bytesMax: this.definition.bytesMax,
    };
  }

  /** What an administrator can do to a stream that denies deletion: shrink it to its newest. */
  truncate(messagesKept: number): void {
    while (this.#messages > messagesKept) this.#dropOldest();
  }

  /** A damaged store: messages from one sequence to another are gone, and their sequences with them. */
  lose(fromSequence: number, toSequence: number): void {
    const from = Math.max(fromSequence, this.#firstSequence);
    for (let sequence = from; sequence <= Math.min(toSequence, this.lastSequence); sequence++) {
      this.#lose(sequence - this.#firstSequence);
    }
    while (this.#stored[0] === null) this.#dropOldest();
    this.#findLast();
  }

  /** A store restored from a copy: what came after `lastSequence` never was, and its sequences come again. */
  rollBack(lastSequence: number): void {
    while (this.lastSequence > Math.max(lastSequence, this.#firstSequence - 1)) {
      this.#lose(this.#stored.length - 1);
      this.#stored.pop();
    }
    this.#findLast();
  }

  /** After a restart only the tokens of messages that are still there are known. */
  restart(): void {
    this.#tokens.clear();
    const fromMs = this.#clock.nowMs() - this.definition.duplicateWindowMs;
    for (const stored of this.#stored) {
      if (stored === null || stored.message.timeMs < fromMs) continue;
      const { sequence, timeMs } = stored.message;
      this.#tokens.set(stored.token, { sequence, timeMs });
    }
  }

  #read(message: BusMessage): BusMessage {
    return this.#options.sharesBytes === true
      ? message
      : { ...message, data: message.data.slice() };
  }

  #expire(nowMs: number): void {
    for (const [token, { timeMs }] of this.#tokens) {
      if (nowMs - timeMs <= this.definition.duplicateWindowMs) break;
      this.#tokens.delete(token);
    }
    for (let oldest = this.#stored[0]; oldest !== undefined; oldest = this.#stored[0]) {
      if (oldest !== null && nowMs - oldest.message.timeMs <= this.definition.ageMaxMs) break;
      this.#dropOldest();
    }
  }

  #makeRoom(bytes: number): void {
    const { bytesMax, discard } = this.definition;
    if (this.#bytes + bytes <= bytesMax) return;
    if (discard === 'new' || bytes > bytesMax) throw new BusError('BUS_FULL', 'the stream is full');
    while (this.#bytes + bytes > bytesMax) this.#dropOldest();
  }

  #dropOldest(): void {
    const dropped = this.#stored[0];
    if (dropped === undefined) return;
    this.#lose(0);
    this.#stored.shift();
    this.#firstSequence += 1;
    if (dropped === null) return;
    const { subject, sequence } = dropped.message;
    if (this.#lastBySubject.get(subject) === sequence) this.#lastBySubject.delete(subject);
  }

  #lose(index: number): void {
    const lost = this.#stored[index];
    if (lost === undefined || lost === null) return;
    this.#stored[index] = null;
    this.#messages -= 1;
    this.#bytes -= lost.bytes;
  }

  #findLast(): void {
    this.#lastBySubject.clear();
    for (const stored of this.#stored) {
      if (stored !== null) this.#lastBySubject.set(stored.message.subject, stored.message.sequence);
    }
  }
}
