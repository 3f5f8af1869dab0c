/**
 * The way between a client and the in-memory server. What goes over it is named, so that a way of one's
 * own may delay, lose and repeat it as a network does; the direct one takes no time and loses nothing
 * while the server is up.
 */
import { BusError } from './bus.ts';
import type { BusClock, Gate } from './timers.ts';

export type TrafficKind =
  /** Questions of the client, each with its answer. */
  | 'publish'
  | 'put'
  | 'read'
  | 'subscribe'
  | 'request'
  /** What the client says without waiting for an answer. */
  | 'answer'
  | 'ack'
  | 'retry'
  | 'terminate'
  | 'working'
  /** What the server sends: of a durable, of a followed stream, a request to a responder. */
  | 'delivery'
  | 'followed'
  | 'asked';

export interface Traffic {
  readonly kind: TrafficKind;
  readonly subject: string;
  /** What is carried, where it is an event. Not to be changed. */
  readonly data: Uint8Array;
}

export interface MemoryLink {
  /** The client's own time. */
  readonly clock: BusClock;
  /** Open while the client takes itself for connected. */
  readonly gate: Gate;
  /** False once the client's process is gone: nothing of it runs any more. */
  readonly isAlive: boolean;
  /**
   * One question: `serve` runs at the server, and what it gives comes back.
   * @throws BusError BUS_UNREACHABLE when it was not sent; BUS_TIMEOUT, also when the connection was
   * lost before the answer; what `serve` throws
   */
  exchange<Answer>(
    traffic: Traffic,
    timeoutMs: number,
    serve: () => Answer | Promise<Answer>,
  ): Promise<Answer>;
  /** To the server, without an answer: `arrive` runs there, or does not. */
  tell(traffic: Traffic, arrive: () => void): void;
  /** To the client: `receive` runs there, or `lost` where the server's word will never arrive. */
  deliver(traffic: Traffic, receive: () => void, lost: () => void): void;
  /** The client ended the connection. */
  close(): void;
}

/** Silence after which a client asks again for what it waits for. */
export const silenceMs = 2_500;

const nothing = new Uint8Array();

export function trafficOf(kind: TrafficKind, subject: string, data: Uint8Array = nothing): Traffic {
  return { kind, subject, data };
}

export class DirectLink implements MemoryLink {
  readonly clock: BusClock;
  readonly gate: Gate;
  readonly isAlive = true;
  #closed = false;

  constructor(server: { readonly clock: BusClock; readonly up: Gate }) {
    this.clock = server.clock;
    this.gate = server.up;
  }

  async exchange<Answer>(
    _traffic: Traffic,
    timeoutMs: number,
    serve: () => Answer | Promise<Answer>,
  ): Promise<Answer> {
    await Promise.resolve();
    if (!this.gate.open) throw unreachable();
    const answer = serve();
    return answer instanceof Promise ? await answeredWithin(this, timeoutMs, answer) : answer;
  }

  tell(_traffic: Traffic, arrive: () => void): void {
    if (this.gate.open && !this.#closed) arrive();
  }

  deliver(_traffic: Traffic, receive: () => void, lost: () => void): void {
    if (this.gate.open && !this.#closed) receive();
    else lost();
  }

  close(): void {
    this.#closed = true;
  }
}

/** The answer, unless it is late or the connection that it should come over is lost first. */
export function answeredWithin<Answer>(
  { clock, gate }: Pick<MemoryLink, 'clock' | 'gate'>,
  timeoutMs: number,
  answer: Promise<Answer>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      timer.cancel();
      stopListening();
    };
    const timer = clock.after(timeoutMs, () => {
      finish();
      reject(new BusError('BUS_TIMEOUT', 'the bus did not answer in time'));
    });
    const stopListening = gate.onChange(() => {
      finish();
      reject(new BusError('BUS_TIMEOUT', 'the connection was lost before the answer'));
    });
    answer.finally(finish).then(resolve, reject);
  });
}

export function unreachable(): BusError {
  return new BusError('BUS_UNREACHABLE', 'the bus cannot be reached');
}
