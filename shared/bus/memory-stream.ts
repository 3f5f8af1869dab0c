/**
 * One stream in memory, with the rules that matter of a JetStream one: sequences from 1 without
 * holes, deduplication by token within a window, optimistic concurrency per subject, a bound in
 * bytes, and memory of tokens that outlives the messages until the next restart.
 */
import { BusError } from './bus.ts';
import type { BusMessage, PublishRequest, StreamState } from './bus.ts';
import { messageIdOf } from './publisher.ts';
import type { SendAnswer } from './publisher.ts';
import type { StreamDefinition } from './streams.ts';
import { subjectMatches } from './subjects.ts';
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

/** What JetStream keeps beside a message, about. */
const overheadBytes = 64;

export class MemoryStream {
  readonly definition: StreamDefinition;
  readonly #clock: BusClock;
  #stored: Stored[] = [];
  #firstSequence = 1;
  #bytes = 0;
  readonly #tokens = new Map<string, Seen>();
  readonly #lastBySubject = new Map<string, number>();

  constructor(definition: StreamDefinition, clock: BusClock) {
    this.definition = definition;
    this.#clock = clock;
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
    if (expected !== undefined && expected !== (this.last(subject)?.sequence ?? 0)) {
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
    this.#bytes += bytes;
    this.#tokens.set(token, { sequence, timeMs });
    this.#lastBySubject.set(subject, sequence);
    return { status: 'stored', sequence, duplicate: false };
  }

  get(sequence: number): BusMessage | null {
    const stored = this.#stored[sequence - this.#firstSequence];
    return stored === undefined ? null : copyOf(stored.message);
  }

  last(subject: string): BusMessage | null {
    return this.get(this.#lastBySubject.get(subject) ?? 0);
  }

  /** First message at or after `sequence` whose subject one of the patterns covers. */
  nextFrom(patterns: readonly string[], sequence: number): BusMessage | null {
    for (let at = Math.max(0, sequence - this.#firstSequence); at < this.#stored.length; at++) {
      const message = this.#stored[at]?.message;
      if (message !== undefined && patterns.some((one) => subjectMatches(one, message.subject))) {
        return copyOf(message);
      }
    }
    return null;
  }

  state(): StreamState {
    return {
      firstSequence: this.#firstSequence,
      lastSequence: this.lastSequence,
      messages: this.#stored.length,
      bytes: this.#bytes,
      bytesMax: this.definition.bytesMax,
    };
  }

  /** What an administrator can do to a stream that denies deletion: shrink it to its newest. */
  truncate(messagesKept: number): void {
    while (this.#stored.length > messagesKept) this.#dropOldest();
  }

  /** After a restart only the tokens of messages that are still there are known. */
  restart(): void {
    this.#tokens.clear();
    const fromMs = this.#clock.nowMs() - this.definition.duplicateWindowMs;
    for (const { message, token } of this.#stored) {
      const { sequence, timeMs } = message;
      if (timeMs >= fromMs) this.#tokens.set(token, { sequence, timeMs });
    }
  }

  #expire(nowMs: number): void {
    for (const [token, { timeMs }] of this.#tokens) {
      if (nowMs - timeMs <= this.definition.duplicateWindowMs) break;
      this.#tokens.delete(token);
    }
    for (let oldest = this.#stored[0]; oldest !== undefined; oldest = this.#stored[0]) {
      if (nowMs - oldest.message.timeMs <= this.definition.ageMaxMs) break;
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
    const dropped = this.#stored.shift();
    if (dropped === undefined) return;
    this.#firstSequence += 1;
    this.#bytes -= dropped.bytes;
    if (this.#lastBySubject.get(dropped.message.subject) === dropped.message.sequence) {
      this.#lastBySubject.delete(dropped.message.subject);
    }
  }
}

function copyOf(message: BusMessage): BusMessage {
  return { ...message, data: message.data.slice() };
}
