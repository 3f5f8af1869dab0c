/**
 * What happens to one delivered message, over either bus: the handler decides, and the decision
 * becomes an acknowledgement, a later delivery, or a dead letter. Attempts are counted here and not
 * by the bus, because a bus that counts drops the last one silently: a message is terminated only
 * after its dead letter is stored.
 */
import { BusError } from './bus.ts';
import type { BusMessage, Disposition, PublishRequest, StreamName, Subscription } from './bus.ts';
import { attemptsExhausted, encodeDeadLetter } from './dead-letter.ts';
import type { BusClock } from './timers.ts';

/** One delivery, with what can be said back to the bus about it. */
export interface Delivery {
  readonly message: BusMessage;
  ack(): void;
  retryAfter(delayMs: number): void;
  /** Never deliver it again. */
  terminate(): void;
  /** The handler still runs: put the redelivery off by another wait. */
  working(): void;
}

export interface DeliveryOptions {
  readonly stream: StreamName;
  readonly clock: BusClock;
  readonly attemptsMax: number;
  readonly ackWaitMs: number;
  readonly deadSubject: string;
  readonly publish: (request: PublishRequest) => Promise<unknown>;
  /** Id of a dead letter: nobody can guess it. */
  readonly newMessageId: () => string;
  /** Faults that the delivery survives: the message comes again. */
  readonly onTrouble: (error: BusError) => void;
}

/** A handler that runs longer than this no longer holds its message: it is delivered again. */
export const handlerMsMax = 60_000;
const deadLetterRetryMs = 5_000;
const retryMsMax = 3_600_000;

/** @throws whatever the handler throws; the message then stays unsettled */
export async function settle(
  delivery: Delivery,
  handler: (message: BusMessage) => Promise<Disposition>,
  options: DeliveryOptions,
): Promise<void> {
  const { message } = delivery;
  if (message.deliveryCount > options.attemptsMax) {
    await bury(delivery, attemptsExhausted, options);
    return;
  }
  const stopWorking = keepWorking(delivery, options);
  let disposition: Disposition;
  try {
    disposition = await handler(message);
  } finally {
    stopWorking();
  }
  if (disposition === 'ack') {
    delivery.ack();
  } else if ('deadLetter' in disposition) {
    await bury(delivery, disposition.deadLetter, options);
  } else if (message.deliveryCount >= options.attemptsMax) {
    await bury(delivery, attemptsExhausted, options);
  } else {
    delivery.retryAfter(Math.min(Math.max(0, disposition.retryAfterMs), retryMsMax));
  }
}

async function bury(delivery: Delivery, reason: string, options: DeliveryOptions): Promise<void> {
  const { message } = delivery;
  const letter = {
    stream: options.stream,
    subject: message.subject,
    sequence: message.sequence,
    messageId: message.messageId,
    deliveries: message.deliveryCount,
    reason,
    data: message.data,
  };
  try {
    await options.publish({
      subject: options.deadSubject,
      data: encodeDeadLetter(letter),
      messageId: options.newMessageId(),
    });
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
    options.onTrouble(error);
    delivery.retryAfter(deadLetterRetryMs);
    return;
  }
  delivery.terminate();
}

function keepWorking(delivery: Delivery, options: DeliveryOptions): () => void {
  const { clock } = options;
  const startMs = clock.monotonicMs();
  const schedule = () =>
    clock.after(options.ackWaitMs / 2, () => {
      if (clock.monotonicMs() - startMs > handlerMsMax) return;
      delivery.working();
      timer = schedule();
    });
  let timer = schedule();
  return () => timer.cancel();
}

/** The `ended` promise and the running handlers of a subscription. */
export class SubscriptionLife implements Subscription {
  readonly ended: Promise<void>;
  readonly #resolve: () => void;
  readonly #reject: (reason: unknown) => void;
  readonly #running = new Set<Promise<void>>();
  readonly #onEnd: (() => void)[];
  #over = false;

  /** `onEnd` runs once, when the subscription stops for whatever reason. */
  constructor(onEnd: () => void) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#onEnd = [onEnd];
  }

  /** Also runs `hook` at the end; unlike a handler on `ended` it does not observe the reason. */
  onEnd(hook: () => void): void {
    this.#onEnd.push(hook);
  }

  get over(): boolean {
    return this.#over;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Runs one handler; if it throws the subscription ends with that. */
  run(work: () => Promise<void>, done: () => void): void {
    const running = work()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.#running.delete(running);
        done();
      });
    this.#running.add(running);
  }

  fail(reason: unknown): void {
    if (this.#over) return;
    this.#end();
    this.#reject(reason);
  }

  /** Ends without waiting for anything: the process that it belonged to is gone. */
  drop(): void {
    if (!this.#over) this.#end();
  }

  async stop(): Promise<void> {
    if (!this.#over) {
      this.#end();
      await Promise.all(this.#running);
      this.#resolve();
      return;
    }
    await Promise.all(this.#running);
  }

  #end(): void {
    this.#over = true;
    for (const hook of this.#onEnd) hook();
  }
}
