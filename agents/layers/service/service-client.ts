/**
 * A client of a layer's service over its unix socket (over the network: tls-client.ts): JSON in and out,
 * connections kept alive. What the service refuses comes back as data. Where a connection breaks before
 * an answer, one more try follows within a second, as a service may just have been started anew;
 * whatever fails after that is `ServiceError`.
 *
 * So every request that changes something has to be safe to repeat: it carries an id of its own, or
 * says what shall be, not what to add.
 */

import {
  Agent,
  request,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { serviceProblemCheck } from '#schemas/service.ts';
import { systemCode } from '#shared/runtime/durable-file.ts';

export type ServiceErrorCode =
  | 'PEER_UNKNOWN'
  | 'UNREACHABLE'
  | 'TIMEOUT'
  | 'ANSWER_MALFORMED'
  /** In place of a service there is a program (`attached/command-channel.ts`). */
  | 'PROGRAM_FAILED';

export class ServiceError extends Error {
  readonly code: ServiceErrorCode;

  constructor(code: ServiceErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'ServiceError';
    this.code = code;
  }
}

export type ServiceAnswer =
  | { readonly status: 'done'; readonly body: unknown }
  | {
      readonly status: 'refused';
      readonly code: string;
      readonly reason: string;
      readonly retryable: boolean;
    };

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'DELETE';

export interface ServiceRequest {
  readonly method: HttpMethod;
  /** With its query, percent-encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

export interface ServiceClientOptions {
  readonly socketPath: string;
  /** For the whole of one try; 5,000 unless told. */
  readonly timeoutMs?: number;
  /** Connections at once; 16 unless told. */
  readonly socketsMax?: number;
}

const answerBytesMax = 4 * 1024 * 1024;
const timeoutMsDefault = 5_000;
const retryPauseMs = 200;

export class ServiceClient {
  readonly #options: ServiceClientOptions;
  readonly #agent: Agent;

  constructor(options: ServiceClientOptions) {
    this.#options = options;
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.socketsMax ?? 16 });
  }

  /** @throws ServiceError UNREACHABLE, TIMEOUT, ANSWER_MALFORMED */
  async ask(asked: ServiceRequest): Promise<ServiceAnswer> {
    return await twice(() => this.askOnce(asked));
  }

  /** One try. @throws ServiceError */
  protected async askOnce(asked: ServiceRequest): Promise<ServiceAnswer> {
    const { socketPath, timeoutMs = timeoutMsDefault } = this.#options;
    const agent = this.#agent;
    return await askOnce(
      (options, answered) => request({ ...options, socketPath, agent }, answered),
      asked,
      timeoutMs,
    );
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** How a request is sent: over a unix socket, or over TLS. */
export type Sender = (
  options: RequestOptions,
  answered: (response: IncomingMessage) => void,
) => ClientRequest;

/** A broken connection is tried once more, within a second. @throws ServiceError */
export async function askTwice(
  send: Sender,
  asked: ServiceRequest,
  { timeoutMs, onRetry }: { readonly timeoutMs: number; readonly onRetry?: () => void },
): Promise<ServiceAnswer> {
  return await twice(() => askOnce(send, asked, timeoutMs), onRetry);
}

/** `away`: nobody was there, and nothing was asked; `broken`: the service may have heard. */
export type Loss = 'away' | 'broken';

/** Undefined for errors that are no lost connection. */
export function lossOf(error: unknown): Loss | undefined {
  if (!(error instanceof ServiceError) || error.code !== 'UNREACHABLE') return undefined;
  return isAway(error.cause) ? 'away' : 'broken';
}

/** Whether a socket has nobody who listens on it, or is not there. */
export function isAway(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ECONNREFUSED' || code === 'ENOENT';
}

async function twice(
  ask: () => Promise<ServiceAnswer>,
  onRetry?: () => void,
): Promise<ServiceAnswer> {
  try {
    return await ask();
  } catch (error) {
    if (lossOf(error) === undefined) throw error;
  }
  onRetry?.();
  await new Promise((resolve) => setTimeout(resolve, retryPauseMs));
  return await ask();
}

async function askOnce(
  send: Sender,
  asked: ServiceRequest,
  timeoutMs: number,
): Promise<ServiceAnswer> {
  const { method, path, headers, body } = asked;
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const sent = {
    method,
    path,
    headers: {
      ...headers,
      ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
      'content-length': payload?.length ?? 0,
    },
  };
  const { status, text } = await exchange((answered) => send(sent, answered), payload, timeoutMs);
  const answer = parsed(text);
  if (status >= 200 && status < 300) return { status: 'done', body: answer };
  if (!serviceProblemCheck.check(answer)) throw malformed();
  const { code, reason, retryable } = answer.error;
  return { status: 'refused', code, reason, retryable: retryable ?? false };
}

async function exchange(
  begin: (answered: (response: IncomingMessage) => void) => ClientRequest,
  payload: Uint8Array | undefined,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  return await new Promise((resolve, reject) => {
    const call = begin((response) => {
      collect(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), fail);
    });
    const timer = setTimeout(() => {
      call.destroy(new ServiceError('TIMEOUT', 'the service did not answer in time'));
    }, timeoutMs);
    function fail(error: unknown): void {
      call.destroy();
      reject(
        error instanceof ServiceError
          ? error
          : new ServiceError('UNREACHABLE', 'the service cannot be reached', error),
      );
    }
    call.once('error', fail);
    call.once('close', () => clearTimeout(timer));
    call.end(payload);
  });
}

async function collect(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) throw malformed();
    bytes += chunk.length;
    if (bytes > answerBytesMax) throw malformed();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ServiceError('ANSWER_MALFORMED', 'the service gave no JSON', error);
  }
}

function malformed(): ServiceError {
  return new ServiceError('ANSWER_MALFORMED', 'the service gave no valid answer');
}
