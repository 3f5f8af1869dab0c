/**
 * Carries requests that came over TLS to the services' sockets, and their answers back: bodies are taken
 * whole before a service is asked, answers stream, over connections that are kept alive. Everything is
 * bounded, for one client at one service, for one client and for all, so that one that holds all it may leaves
 * room for others, and for itself at other services than the one it waits for. A service that went away is waited for while it is started anew; where a connection breaks before an answer, one more try
 * follows, under the same request id, and services take requests that come twice. A service that does not
 * answer is left in peace for a moment (circuit breaker). What fails after that is answered with a code.
 */

import { randomUUID } from 'node:crypto';
import { Agent, request as ask, type IncomingMessage, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { LayerNumber } from '#schemas/layers.ts';
import { systemCode } from '#shared/runtime/durable-file.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { CircuitBreaker, peerRules } from '../service/circuit-breaker.ts';
import type { RefusalCounts } from '../service/http-app.ts';
import { idempotencyHeader, requestIdHeader, requestIdOf } from '../service/repeated-request.ts';
import { isAway, type Loss } from '../service/service-client.ts';
import { clientOf, ClientShares } from './client-shares.ts';
import {
  ClientGone,
  forwardReasons,
  forwardStatus,
  passingCodes,
  Refusal,
  type ForwardCode,
} from './forward-refusals.ts';
import { forwardedHeaders, targetOf, type Target } from './forwarding-rules.ts';
import { bodyOf } from './request-body.ts';

export interface ForwarderOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly crypto: Pick<CryptoProvider, 'sha3_256'>;
  readonly refusals: RefusalCounts;
  /** Undefined for a layer whose socket is not configured. */
  readonly socketOf: (layer: LayerNumber) => string | undefined;
  readonly limits?: Partial<ForwarderLimits>;
}

export interface ForwarderLimits {
  /** Requests that are not answered yet, waiting or asked: of one client to one layer, in all, of everybody. */
  readonly requestsPerClientAndLayerMax: number;
  readonly requestsPerClientMax: number;
  readonly requestsMax: number;
  /** Requests that services are asked at once, of one client and in all, over so many connections to each. */
  readonly inFlightPerClientMax: number;
  readonly inFlightMax: number;
  readonly socketsMax: number;
  /** A body is taken as a whole, for a second try and so that it is sent on with its length. */
  readonly bodyBytesMax: number;
  /** Of the bodies that are kept: of one client for one layer, in all, of everybody. */
  readonly bodyBytesPerClientAndLayerMax: number;
  readonly bodyBytesPerClientMax: number;
  readonly bodyBytesAllMax: number;
  readonly bodyMs: number;
  /** Silence of a service, and the whole of its answer, until the client has taken it. */
  readonly silenceMs: number;
  readonly answerMs: number;
  /** How long a service that went away counts as being started anew, and is waited for. */
  readonly restartMs: number;
}

const mebibyte = 1024 * 1024;
const limitsDefault: ForwarderLimits = {
  requestsPerClientAndLayerMax: 64,
  requestsPerClientMax: 256,
  requestsMax: 2_048,
  inFlightPerClientMax: 128,
  inFlightMax: 512,
  socketsMax: 256,
  bodyBytesMax: mebibyte,
  bodyBytesPerClientAndLayerMax: 8 * mebibyte,
  bodyBytesPerClientMax: 16 * mebibyte,
  bodyBytesAllMax: 128 * mebibyte,
  bodyMs: 15_000,
  silenceMs: 30_000,
  answerMs: 60_000,
  restartMs: 15_000,
};

interface Upstream extends Target {
  readonly client: string;
  readonly socketPath: string;
  readonly body: Buffer;
  /** The same for every try. */
  readonly requestId: string;
  /** Nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** Why there is no answer. `isOpen`: a connection was there, so the service may have heard. */
class Broken extends Error {
  readonly isOpen: boolean;

  constructor(isOpen: boolean, cause: unknown) {
    super('the connection to a service broke', { cause });
    this.name = 'Broken';
    this.isOpen = isOpen;
  }
}

/** The service was there and said nothing: asking again would not help it. */
class Silent extends Broken {
  constructor() {
    super(true, undefined);
    this.name = 'Silent';
  }
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #limits: ForwarderLimits;
  readonly #agent: Agent;
  readonly #requestsOf: ClientShares;
  readonly #requestsAt: ClientShares;
  readonly #inFlightOf: ClientShares;
  readonly #bytesOf: ClientShares;
  readonly #bytesAt: ClientShares;
  readonly #breakers = new Map<LayerNumber, CircuitBreaker>();
  #requests = 0;
  #retries = 0;

  constructor(options: ForwarderOptions) {
    const limits = { ...limitsDefault, ...options.limits };
    this.#options = options;
    this.#limits = limits;
    this.#agent = new Agent({ keepAlive: true, maxSockets: limits.socketsMax });
    const { requestsMax: allMax, inFlightMax, bodyBytesAllMax } = limits;
    const shares = (eachMax: number, all: number) => new ClientShares({ eachMax, allMax: all });
    this.#requestsOf = shares(limits.requestsPerClientMax, allMax);
    this.#requestsAt = shares(limits.requestsPerClientAndLayerMax, allMax);
    this.#inFlightOf = shares(limits.inFlightPerClientMax, inFlightMax);
    this.#bytesOf = shares(limits.bodyBytesPerClientMax, bodyBytesAllMax);
    this.#bytesAt = shares(limits.bodyBytesPerClientAndLayerMax, bodyBytesAllMax);
  }

  /** Since the start, but for the circuits that are open now. */
  counts(): Readonly<Record<string, number>> {
    const breakers = [...this.#breakers.values()];
    return {
      requests: this.#requests,
      retries: this.#retries,
      'circuits-open': breakers.filter(({ standing }) => standing !== 'closed').length,
      'circuit-refused': breakers.reduce((sum, { refused }) => sum + refused, 0),
    };
  }

  /** Answers the request, whatever becomes of it. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    void this.#handle(request, response);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requests += 1;
    const client = clientOf(request.socket.remoteAddress);
    try {
      await withShare(this.#requestsOf, client, () => this.#forward(request, response, client));
    } catch (error) {
      const code = error instanceof Refusal ? error.code : 'UPSTREAM_BROKEN';
      // Whoever went away is told nothing, and was refused nothing.
      if (!(error instanceof ClientGone)) this.#refuse(request, response, code);
    }
  }

  async #forward(request: IncomingMessage, response: ServerResponse, client: string) {
    const target = targetOf(request.method ?? '', request.url ?? '');
    const socketPath = target === undefined ? undefined : this.#options.socketOf(target.layer);
    if (target === undefined || socketPath === undefined) throw new Refusal('PATH_UNKNOWN');
    const at = `${target.layer} ${client}`;
    let [keptOf, keptAt] = [0, 0];
    const reserve = (bytes: number): void => {
      mustTake(this.#bytesOf, client, bytes);
      keptOf += bytes;
      mustTake(this.#bytesAt, at, bytes);
      keptAt += bytes;
    };
    try {
      await withShare(this.#requestsAt, at, async () => {
        const { bodyBytesMax: bytesMax, bodyMs: withinMs } = this.#limits;
        const body = await bodyOf(request, { bytesMax, withinMs, reserve });
        const requestId = this.#requestIdOf(request, target.path, body);
        await this.#exchange(request, response, { ...target, client, socketPath, body, requestId });
      });
    } finally {
      this.#bytesOf.give(client, keptOf);
      this.#bytesAt.give(at, keptAt);
    }
  }

  #requestIdOf({ method = '', headers }: IncomingMessage, path: string, body: Buffer): string {
    const given = headers[idempotencyHeader];
    const key = typeof given === 'string' ? given : randomUUID();
    return requestIdOf(this.#options.crypto, { key, method, path, body });
  }

  /** With a place among those that are asked; one that waits for a service to come back has none. */
  async #exchange(
    request: IncomingMessage,
    response: ServerResponse,
    target: Omit<Upstream, 'signal'>,
  ): Promise<void> {
    const ending = new AbortController();
    const { signal } = ending;
    response.once('close', () => ending.abort());
    let isAnswered = false;
    const begin = async (): Promise<IncomingMessage> => {
      if (signal.aborted) throw new ClientGone();
      mustTake(this.#inFlightOf, target.client);
      try {
        const answer = await this.#try(request, { ...target, signal });
        isAnswered = true;
        return answer;
      } finally {
        if (!isAnswered) this.#inFlightOf.give(target.client);
      }
    };
    let late: Refusal | undefined;
    const timer = setTimeout(() => {
      late = new Refusal(response.writableNeedDrain ? 'ANSWER_NOT_TAKEN' : 'UPSTREAM_BROKEN');
      ending.abort();
    }, this.#limits.answerMs);
    try {
      const answer = await this.#guarded(target.layer, begin, signal);
      response.writeHead(answer.statusCode ?? 502, forwardedHeaders(answer.headers));
      await pipeline(answer, response, { signal });
    } catch (error) {
      if (late !== undefined) throw late;
      if (error instanceof Refusal) throw error;
      throw systemCode(error) === 'ECONNRESET' ? new Refusal('UPSTREAM_BROKEN') : new ClientGone();
    } finally {
      clearTimeout(timer);
      if (isAnswered) this.#inFlightOf.give(target.client);
    }
  }

  /** Connections that break and answers that do not come are the service's faults, and open its circuit. */
  async #guarded(
    layer: LayerNumber,
    begin: () => Promise<IncomingMessage>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { clock } = this.#options;
    const { restartMs: restartMsMax } = this.#limits;
    const breaker =
      this.#breakers.get(layer) ?? new CircuitBreaker({ clock, rules: peerRules, restartMsMax });
    this.#breakers.set(layer, breaker);
    try {
      return await breaker.runPatiently(begin, {
        isFault: (error) => error instanceof Broken,
        lossOf: lossIn,
        onRepeat: () => (this.#retries += 1),
        isUnasked: (error) => error instanceof Refusal || error instanceof ClientGone,
        otherwise: () => new Broken(false, undefined),
        signal,
      });
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      throw new Refusal(error.isOpen ? 'UPSTREAM_BROKEN' : 'UPSTREAM_UNAVAILABLE');
    }
  }

  /** The head of the service's answer; its body is still to come. @throws Broken, ClientGone */
  async #try(
    request: IncomingMessage,
    { path, socketPath, signal, body, requestId }: Upstream,
  ): Promise<IncomingMessage> {
    const headers = forwardedHeaders(request.headers);
    const outgoing = ask({
      agent: this.#agent,
      socketPath,
      path,
      signal,
      ...(request.method === undefined ? {} : { method: request.method }),
      // Always framed by its length: nothing of a body is ever taken for another request.
      headers: {
        ...headers,
        [requestIdHeader]: requestId,
        'content-length': body.length,
        host: 'localhost',
      },
    });
    let isOpen = false;
    outgoing.once('socket', (socket) => {
      if (socket.connecting) socket.once('connect', () => (isOpen = true));
      else isOpen = true;
    });
    const { silenceMs } = this.#limits;
    outgoing.setTimeout(silenceMs, () => outgoing.destroy(new Silent()));
    const answer = answered(outgoing);
    try {
      outgoing.end(body);
      const head = await answer;
      // From here on the client decides how fast it goes, and `answerMs` how long.
      outgoing.setTimeout(0);
      return head;
    } catch (error) {
      outgoing.destroy();
      // A client that does not wait is no fault of the service.
      if (signal.aborted) throw new ClientGone();
      throw error instanceof Silent ? error : new Broken(isOpen, error);
    }
  }

  #refuse(request: IncomingMessage, response: ServerResponse, code: ForwardCode): void {
    this.#options.refusals.add(code);
    this.#options.log.info({ method: request.method, code }, 'a request is refused');
    if (response.headersSent) {
      // The answer has begun: that it is not whole shows in the connection's end alone.
      response.destroy();
      return;
    }
    const reason = forwardReasons[code];
    const error = { code, reason, ...(passingCodes.has(code) ? { retryable: true } : {}) };
    // What is left of the request is not read.
    if (!request.complete) response.setHeader('connection', 'close');
    response.writeHead(forwardStatus[code], { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error }));
  }
}

function lossIn(error: unknown): Loss | undefined {
  if (!(error instanceof Broken) || error instanceof Silent) return undefined;
  return !error.isOpen && isAway(error.cause) ? 'away' : 'broken';
}

/** @throws Refusal CLIENT_OVERLOADED, OVERLOADED */
function mustTake(shares: ClientShares, holder: string, amount = 1): void {
  const share = shares.take(holder, amount);
  if (share === 'taken') return;
  throw new Refusal(share === 'client-full' ? 'CLIENT_OVERLOADED' : 'OVERLOADED');
}

/** @throws Refusal CLIENT_OVERLOADED, OVERLOADED; what `use` throws */
async function withShare(
  shares: ClientShares,
  holder: string,
  use: () => Promise<void>,
): Promise<void> {
  mustTake(shares, holder);
  try {
    await use();
  } finally {
    shares.give(holder);
  }
}

async function answered(outgoing: ReturnType<typeof ask>): Promise<IncomingMessage> {
  return await new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', reject);
    outgoing.once('close', () => reject(new Error('closed before an answer')));
  });
}
