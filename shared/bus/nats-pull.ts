/**
 * Pull requests on one consumer: at most one is open at a time, its messages and its end are told
 * apart by number, and silence counts as its loss. The client library's own loop waits up to its
 * expiry after a server restart; this one notices within 2.5 seconds.
 */
import type { Msg, Subscription as NatsSubscription } from '@nats-io/transport-node';
import { createInbox } from '@nats-io/transport-node';
import { BusError } from './bus.ts';
import { jsonBytes, nanos } from './nats-link.ts';
import type { NatsLink } from './nats-link.ts';
import { translate } from './nats-errors.ts';
import { deliveredOf } from './nats-messages.ts';
import type { Delivered } from './nats-messages.ts';
import { inboxPrefix, jetstreamSubjects } from './subjects.ts';
import type { BusTimer } from './timers.ts';

export interface PullOptions {
  readonly stream: string;
  readonly consumer: string;
  readonly agentId: string;
  readonly onMessage: (delivered: Delivered) => void;
  /** The request ended in the ordinary way: ask again when there is room. */
  readonly onEnd: () => void;
  /** The request was lost or refused: the consumer may be gone or the server not ready. */
  readonly onLost: () => void;
  /** The bus refused the inbox: nothing will ever arrive. */
  readonly onRefused: (error: unknown) => void;
}

const expiresMs = 10_000;
const heartbeatMs = 1_000;
const silenceMs = 2_500;
/** More than one message of the largest size, so that none can block the stream. */
const pullBytesMax = 8 * 1024 * 1024;

export class Pull {
  readonly #link: NatsLink;
  readonly #options: PullOptions;
  readonly #inbox: string;
  readonly #next: string;
  #subscription: NatsSubscription | null = null;
  #serial = 0;
  #left = 0;
  #received = 0;
  #silence: BusTimer | null = null;

  constructor(link: NatsLink, options: PullOptions) {
    this.#link = link;
    this.#options = options;
    this.#inbox = createInbox(inboxPrefix(options.agentId));
    this.#next = jetstreamSubjects.consumerNext(options.stream, options.consumer);
  }

  get open(): boolean {
    return this.#left > 0;
  }

  start(): void {
    this.#subscription = this.#link.connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => this.#receive(error, message),
    });
  }

  /** Asks for up to `batch` messages, unless a request is open or the link is down. */
  ask(batch: number): void {
    if (this.open || this.#subscription === null || !this.#link.gate.open) return;
    this.#serial += 1;
    this.#left = batch;
    this.#received = 0;
    const request = {
      batch,
      max_bytes: pullBytesMax,
      expires: nanos(expiresMs),
      idle_heartbeat: nanos(heartbeatMs),
    };
    const reply = `${this.#inbox}.${this.#serial}`;
    this.#link.connection.publish(this.#next, jsonBytes(request), { reply });
    this.#heard();
  }

  /** Forgets the open request: the connection that carried it is gone. */
  reset(): void {
    this.#left = 0;
    this.#silence?.cancel();
  }

  stop(): void {
    this.reset();
    if (!this.#link.connection.isClosed()) this.#subscription?.unsubscribe();
    this.#subscription = null;
  }

  #receive(error: Error | null, message: Msg): void {
    if (this.#subscription === null) return;
    if (error !== null) {
      this.#options.onRefused(translate(error));
      return;
    }
    if (message.subject.startsWith(`${this.#inbox}.`)) {
      this.#status(
        Number(message.subject.slice(this.#inbox.length + 1)),
        message.headers?.code ?? 0,
      );
      return;
    }
    this.#left = Math.max(0, this.#left - 1);
    this.#received += 1;
    this.#heard();
    const delivered = deliveredOf(message);
    if (delivered !== undefined) this.#options.onMessage(delivered);
    else this.#link.onTrouble(new BusError('BUS_REJECTED', 'the bus delivered nonsense'));
  }

  #status(serial: number, code: number): void {
    if (serial !== this.#serial || !this.open) return;
    if (code === 100) {
      this.#heard();
      return;
    }
    this.reset();
    const ordinary = code === 404 || code === 408 || (code === 409 && this.#received > 0);
    if (ordinary) this.#options.onEnd();
    else this.#options.onLost();
  }

  #heard(): void {
    this.#silence?.cancel();
    if (!this.open) return;
    this.#silence = this.#link.clock.after(silenceMs, () => {
      this.reset();
      this.#options.onLost();
    });
  }
}
