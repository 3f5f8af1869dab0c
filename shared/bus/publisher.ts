/**
 * Publishing that tells the truth, over either bus. One attempt may end without an answer although
 * the message was stored; so an attempt is repeated under the same id, and when the bus then says
 * "duplicate" or "wrong last sequence" the stream itself is asked whose message is there.
 *
 * Two rules carry that. With an expected sequence E exactly one message can directly follow E on a
 * subject: if it has our id, ours was stored, whatever came after it. And a bus may still remember
 * the id of a message that it has lost: then the message is stored again under a fresh
 * deduplication token, `<messageId>.<n>`, which readers see as the same message id. Who may see only
 * the last message of its own subject cannot look behind a newer one: there the answer "duplicate" is
 * believed, until the sender says that what follows from the message is overdue. The token is the
 * number of that repetition then, so that lost answers do not make further copies.
 */
import { isTransient } from './asking.ts';
import { BusError, checkPublishRequest } from './bus.ts';
import type { BusMessage, PublishOutcome, PublishRequest } from './bus.ts';
import type { ReadScope } from './permissions.ts';
import { sleep } from './timers.ts';
import type { BusClock } from './timers.ts';

export type SendAnswer =
  | { readonly status: 'stored'; readonly sequence: number; readonly duplicate: boolean }
  | { readonly status: 'wrong-sequence' };

export interface PublishTransport {
  /** Whether a message sent now could reach the bus; resolves false after `timeoutMs`. */
  ready(timeoutMs: number): Promise<boolean>;
  /** One attempt. BUS_TIMEOUT, BUS_UNREACHABLE and BUS_NO_RESPONDER are worth another. */
  send(request: PublishRequest, token: string, timeoutMs: number): Promise<SendAnswer>;
  readonly readScope: ReadScope;
  /** Last message of the subject, in the stream that stores it. */
  last(subject: string): Promise<BusMessage | null>;
  /** First message of the subject at or after a sequence. Scope `streams` only. */
  nextFrom(subject: string, sequence: number): Promise<BusMessage | null>;
}

export interface PublisherLimits {
  /** Publishes under way at once. */
  readonly inFlightMax: number;
  readonly inFlightBytesMax: number;
  /** Publishes waiting for their turn; more are refused with BUS_FULL. */
  readonly waitingMax: number;
  readonly attemptTimeoutMs: number;
  /** All attempts together; shorter than the deduplication window by far. */
  readonly deadlineMs: number;
}

export const publisherLimits: PublisherLimits = {
  inFlightMax: 256,
  inFlightBytesMax: 16 * 1024 * 1024,
  waitingMax: 4096,
  attemptTimeoutMs: 3_000,
  deadlineMs: 15_000,
};

/** Fresh tokens tried for a message whose own id the bus remembers but no longer holds. */
const tokensMax = 16;
const pauseMsMin = 20;
const pauseMsMax = 500;

/** The message id in a deduplication token. */
export function messageIdOf(token: string): string {
  const dot = token.indexOf('.');
  return dot < 0 ? token : token.slice(0, dot);
}

/** The message's own id, then one that the bus has not seen; of a repetition, its own. */
function tokenOf({ messageId, repetition = 1 }: PublishRequest, attempt: number): string {
  return attempt === 0 ? messageId : `${messageId}.${repetition + attempt - 1}`;
}

export class Publisher {
  readonly #transport: PublishTransport;
  readonly #clock: BusClock;
  readonly #limits: PublisherLimits;
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;
  #inFlightBytes = 0;

  constructor(transport: PublishTransport, clock: BusClock, limits: PublisherLimits) {
    this.#transport = transport;
    this.#clock = clock;
    this.#limits = limits;
  }

  async publish(request: PublishRequest): Promise<PublishOutcome> {
    checkPublishRequest(request);
    const bytes = request.data.length;
    await this.#enter(bytes);
    try {
      return await this.#untilAnswered(request);
    } finally {
      this.#leave(bytes);
    }
  }

  async #untilAnswered(request: PublishRequest): Promise<PublishOutcome> {
    const deadlineMs = this.#clock.monotonicMs() + this.#limits.deadlineMs;
    let fault: BusError | null = null;
    let maybeStored = false;
    let pauseMs = pauseMsMin;
    for (;;) {
      const leftMs = deadlineMs - this.#clock.monotonicMs();
      if (leftMs <= 0 || !(await this.#transport.ready(leftMs))) {
        throw maybeStored
          ? new BusError('BUS_TIMEOUT', 'no answer; the message may have been stored', fault)
          : new BusError('BUS_UNREACHABLE', 'the bus cannot be reached', fault);
      }
      try {
        const outcome = await this.#attempt(
          request,
          Math.min(leftMs, this.#limits.attemptTimeoutMs),
        );
        if (outcome?.status === 'conflict' && maybeStored) return { ...outcome, maybeStored };
        if (outcome !== null) return outcome;
      } catch (error) {
        if (!(error instanceof BusError) || !isTransient(error)) throw error;
        fault = error;
        maybeStored ||= error.code === 'BUS_TIMEOUT';
      }
      await sleep(this.#clock, pauseMs);
      pauseMs = Math.min(2 * pauseMs, pauseMsMax);
    }
  }

  /** One attempt and what it means; null when the stream changed under the question. */
  async #attempt(request: PublishRequest, timeoutMs: number): Promise<PublishOutcome | null> {
    for (let attempt = 0; attempt < tokensMax; attempt++) {
      const token = tokenOf(request, attempt);
      const answer = await this.#transport.send(request, token, timeoutMs);
      if (answer.status === 'wrong-sequence') return await this.#resolveSequence(request);
      if (!answer.duplicate) return answer;
      if (await this.#holds(request, answer.sequence, attempt)) return answer;
    }
    throw new BusError(
      'BUS_REJECTED',
      'the bus takes the message for others that it does not hold',
    );
  }

  /** Whose message directly follows the expected sequence? */
  async #resolveSequence(request: PublishRequest): Promise<PublishOutcome | null> {
    const { subject, messageId, expectLastSubjectSequence: expected = 0 } = request;
    const last = await this.#transport.last(subject);
    const own =
      this.#transport.readScope === 'streams'
        ? await this.#transport.nextFrom(subject, expected + 1)
        : last;
    if (own?.messageId === messageId) {
      return { status: 'stored', sequence: own.sequence, duplicate: true };
    }
    const lastSequence = last?.sequence ?? 0;
    return lastSequence === expected ? null : { status: 'conflict', lastSequence };
  }

  /** Whether the message that the bus calls a duplicate is really there, as far as can be seen. */
  async #holds(request: PublishRequest, sequence: number, attempt: number): Promise<boolean> {
    const { subject, messageId, repetition } = request;
    // A copy under the token of this repetition was stored for it.
    const isOverdue = repetition !== undefined && attempt === 0;
    switch (this.#transport.readScope) {
      case 'streams': {
        const found = await this.#transport.nextFrom(subject, sequence);
        return found?.sequence === sequence && found.messageId === messageId;
      }
      case 'own-subjects': {
        const last = await this.#transport.last(subject);
        if (last === null || last.sequence < sequence) return false;
        if (last.messageId === messageId) return true;
        // Behind a newer message nothing can be seen.
        return last.sequence > sequence && !isOverdue;
      }
      case 'none':
        return !isOverdue;
    }
  }

  async #enter(bytes: number): Promise<void> {
    if (this.#waiting.length >= this.#limits.waitingMax) {
      throw new BusError('BUS_FULL', 'too many publishes are waiting for their turn');
    }
    if (this.#waiting.length > 0 || !this.#hasRoom(bytes)) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(() => {
          if (!this.#hasRoom(bytes)) return;
          this.#waiting.shift();
          this.#take(bytes);
          resolve();
          this.#waiting[0]?.();
        });
      });
      return;
    }
    this.#take(bytes);
  }

  #hasRoom(bytes: number): boolean {
    const { inFlightMax, inFlightBytesMax } = this.#limits;
    if (this.#inFlight === 0) return true;
    return this.#inFlight < inFlightMax && this.#inFlightBytes + bytes <= inFlightBytesMax;
  }

  #take(bytes: number): void {
    this.#inFlight += 1;
    this.#inFlightBytes += bytes;
  }

  #leave(bytes: number): void {
    this.#inFlight -= 1;
    this.#inFlightBytes -= bytes;
    this.#waiting[0]?.();
  }
}
