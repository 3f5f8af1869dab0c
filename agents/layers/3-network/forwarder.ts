/**
 * Carries requests that came over TLS to the services' sockets, and their answers back: streamed, with
 * bounds on bodies and on requests at once, over connections that are kept alive. A connection to a
 * service that breaks before an answer is tried once more within a second, as far as the body was kept;
 * services take requests that come twice. What fails after that is answered with a code.
 */

import { Agent, request as ask, type IncomingMessage, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { LayerNumber } from '#schemas/layers.ts';
import type { Log } from '#shared/runtime/ports.ts';
import type { RefusalCounts } from '../service/http-app.ts';
import { forwardedHeaders, targetOf, type Target } from './forwarding-rules.ts';

export const forwardStatus = {
  PATH_UNKNOWN: 404,
  BODY_TOO_LARGE: 413,
  UPSTREAM_BROKEN: 502,
  UPSTREAM_UNAVAILABLE: 503,
  OVERLOADED: 503,
} as const;
export type ForwardCode = keyof typeof forwardStatus;

export interface ForwarderOptions {
  readonly log: Log;
  readonly refusals: RefusalCounts;
  /** Undefined for a layer whose socket is not configured. */
  readonly socketOf: (layer: LayerNumber) => string | undefined;
  readonly limits?: Partial<ForwarderLimits>;
}

interface ForwarderLimits {
  readonly inFlightMax: number;
  /** Connections to one service. */
  readonly socketsMax: number;
  /** A body is read as a whole, for a second try and so that it is sent on with its length. */
  readonly bodyBytesMax: number;
  readonly timeoutMs: number;
}

const limitsDefault: ForwarderLimits = {
  inFlightMax: 512,
  socketsMax: 64,
  bodyBytesMax: 1024 * 1024,
  timeoutMs: 30_000,
};
const retryPauseMs = 200;
const retryWithinMs = 1_000;

interface Upstream extends Target {
  readonly socketPath: string;
  /** When nobody waits for the answer any more. */
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

class Refusal extends Error {
  readonly code: ForwardCode;

  constructor(code: ForwardCode) {
    super(code);
    this.name = 'Refusal';
    this.code = code;
  }
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #limits: ForwarderLimits;
  readonly #agent: Agent;
  #inFlight = 0;
  #requests = 0;
  #retries = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#limits = { ...limitsDefault, ...options.limits };
    this.#agent = new Agent({ keepAlive: true, maxSockets: this.#limits.socketsMax });
  }

  /** Since the start. */
  counts(): { readonly requests: number; readonly retries: number } {
    return { requests: this.#requests, retries: this.#retries };
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
    this.#inFlight += 1;
    try {
      await this.#forward(request, response);
    } catch (error) {
      const code = error instanceof Refusal ? error.code : 'UPSTREAM_BROKEN';
      // Whoever went away is told nothing, and was refused nothing.
      if (!request.socket.destroyed) this.#refuse(request, response, code);
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = targetOf(request.method ?? '', request.url ?? '');
    if (this.#inFlight > this.#limits.inFlightMax) throw new Refusal('OVERLOADED');
    if (target === undefined) throw new Refusal('PATH_UNKNOWN');
    const socketPath = this.#options.socketOf(target.layer);
    if (socketPath === undefined) throw new Refusal('PATH_UNKNOWN');
    if (Number(request.headers['content-length'] ?? 0) > this.#limits.bodyBytesMax) {
      throw new Refusal('BODY_TOO_LARGE');
    }
    const body = await bodyOf(request, this.#limits.bodyBytesMax);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const { signal } = gone;
    const answer = await this.#answerOf(request, { ...target, socketPath, signal }, body);
    response.writeHead(answer.statusCode ?? 502, forwardedHeaders(answer.headers));
    await pipeline(answer, response);
  }

  /** The head of the service's answer; its body is still to come. */
  async #answerOf(
    request: IncomingMessage,
    target: Upstream,
    body: Buffer,
  ): Promise<IncomingMessage> {
    const beganMs = performance.now();
    try {
      return await this.#try(request, target, body);
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      const isLate = performance.now() - beganMs + retryPauseMs > retryWithinMs;
      if (isLate || target.signal.aborted) throw unanswered(error);
    }
    this.#retries += 1;
    await new Promise((resolve) => setTimeout(resolve, retryPauseMs));
    try {
      return await this.#try(request, target, body);
    } catch (error) {
      throw error instanceof Broken ? unanswered(error) : error;
    }
  }

  async #try(
    request: IncomingMessage,
    { path, socketPath, signal }: Upstream,
    body: Buffer,
  ): Promise<IncomingMessage> {
    const { timeoutMs } = this.#limits;
    const headers = forwardedHeaders(request.headers);
    const outgoing = ask({
      agent: this.#agent,
      socketPath,
      path,
      signal,
      ...(request.method === undefined ? {} : { method: request.method }),
      // Always framed by its length: nothing of a body is ever taken for another request.
      headers: { ...headers, 'content-length': body.length, host: 'localhost' },
    });
    let isOpen = false;
    outgoing.once('socket', (socket) => {
      if (socket.connecting) socket.once('connect', () => (isOpen = true));
      else isOpen = true;
    });
    outgoing.setTimeout(timeoutMs, () => outgoing.destroy(new Error('no answer in time')));
    const answer = answered(outgoing);
    try {
      outgoing.end(body);
      return await answer;
    } catch (error) {
      outgoing.destroy();
      throw error instanceof Refusal ? error : new Broken(isOpen, error);
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
    const isPassing = code === 'OVERLOADED' || code.startsWith('UPSTREAM');
    const error = { code, reason: reasons[code], ...(isPassing ? { retryable: true } : {}) };
    // What is left of the request is not read.
    if (!request.complete) response.setHeader('connection', 'close');
    response.writeHead(forwardStatus[code], { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error }));
  }
}

const reasons: Readonly<Record<ForwardCode, string>> = {
  PATH_UNKNOWN: 'there is nothing here',
  BODY_TOO_LARGE: 'the body is too long',
  UPSTREAM_BROKEN: 'the service broke off',
  UPSTREAM_UNAVAILABLE: 'the service cannot be reached',
  OVERLOADED: 'too many requests at once',
};

function unanswered({ isOpen }: Broken): Refusal {
  return new Refusal(isOpen ? 'UPSTREAM_BROKEN' : 'UPSTREAM_UNAVAILABLE');
}

async function answered(outgoing: ReturnType<typeof ask>): Promise<IncomingMessage> {
  return await new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', reject);
    outgoing.once('close', () => reject(new Error('closed before an answer')));
  });
}

/** All of it. @throws Refusal BODY_TOO_LARGE */
async function bodyOf(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new Error('assertion: a body is bytes');
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Refusal('BODY_TOO_LARGE');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
