/**
 * How local workloads use a layer's keys: HTTP/1.1 on a unix socket that only the owner may open
 * (0600). Bytes travel as unpadded base64url in JSON; every answer names the version and the key
 * that it was made with. It serves right through a rotation: which key is primary is read once per
 * request, and older keys are named by the request itself.
 *
 *   GET  /v1/slots                       the slots and their public halves
 *   POST /v1/slots/<key type>/<operation>  sign, verify, mac, verify-mac, encrypt, decrypt,
 *                                        encapsulate, decapsulate
 *
 * Bodies have at most 64 KiB, 64 requests run at once, and a request takes at most 5 seconds.
 */

import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError } from './adapter.ts';
import { inputOf, listingOf, resultOf } from './key-service-messages.ts';
import { workloadOperations, type Workload, type WorkloadRefusal } from './workload.ts';

export const keyServiceBodyBytesMax = 64 * 1024;
export const keyServiceInFlightMax = 64;
const connectionsMax = 256;
const requestTimeoutMs = 5_000;
const keepAliveMs = 60_000;

export type KeyServiceCode =
  | WorkloadRefusal
  | 'REQUEST_MALFORMED'
  | 'BODY_TOO_LARGE'
  | 'PATH_UNKNOWN'
  | 'METHOD_NOT_ALLOWED'
  | 'OVERLOADED'
  | 'STORE_FAILED';

const httpStatus: Readonly<Record<KeyServiceCode, number>> = {
  REQUEST_MALFORMED: 400,
  INPUT_INVALID: 422,
  BODY_TOO_LARGE: 413,
  PATH_UNKNOWN: 404,
  SLOT_UNKNOWN: 404,
  KEY_UNKNOWN: 404,
  METHOD_NOT_ALLOWED: 405,
  OPERATION_UNSUPPORTED: 409,
  SLOT_FROZEN: 423,
  OVERLOADED: 503,
  STORE_FAILED: 503,
};

export function isKeyServiceCode(code: unknown): code is KeyServiceCode {
  return typeof code === 'string' && Object.hasOwn(httpStatus, code);
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

export interface KeyServiceOptions {
  readonly workload: Workload;
  /** At most 103 bytes: the limit of unix socket names. */
  readonly socketPath: string;
  readonly log: Log;
}

export class KeyService {
  readonly #options: KeyServiceOptions;
  readonly #server: Server;
  #inFlight = 0;

  constructor(options: KeyServiceOptions) {
    this.#options = options;
    this.#server = createServer(
      { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, maxHeaderSize: 8_192 },
      (request, response) => {
        void this.#serve(request, response);
      },
    );
    this.#server.maxConnections = connectionsMax;
    this.#server.keepAliveTimeout = keepAliveMs;
  }

  /** Listens. What a crashed process left at the socket's path is removed. */
  async start(): Promise<void> {
    const { socketPath } = this.#options;
    rmSync(socketPath, { force: true });
    const before = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(socketPath, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } finally {
      process.umask(before);
    }
    chmodSync(socketPath, 0o600);
  }

  /** Takes no new connection, finishes the running requests. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise<void>((resolve, reject) => {
      this.#server.close((error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
      this.#server.closeIdleConnections();
    });
  }

  /** Never rejects: a fault becomes an answer with a code. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#inFlight >= keyServiceInFlightMax) {
      send(response, failure('OVERLOADED'));
      request.resume();
      return;
    }
    this.#inFlight += 1;
    try {
      send(response, await this.#replyTo(request));
    } catch (error) {
      const code = error instanceof AdapterError ? error.code : 'unexpected';
      this.#options.log.error({ code, path: request.url }, 'a request for a key failed');
      send(response, failure('STORE_FAILED'));
      if (!(error instanceof AdapterError)) throw error;
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #replyTo(request: IncomingMessage): Promise<Reply> {
    const { workload } = this.#options;
    const parts = (request.url ?? '').split('/');
    const [empty, version, slots, keyType, name] = parts;
    if (empty !== '' || version !== 'v1' || slots !== 'slots' || parts.length > 5) {
      return failure('PATH_UNKNOWN');
    }
    if (keyType === undefined) {
      if (request.method !== 'GET') return failure('METHOD_NOT_ALLOWED');
      return { status: 200, body: listingOf(workload.slots()) };
    }
    const operation = workloadOperations.find((known) => known === name);
    if (operation === undefined) return failure('PATH_UNKNOWN');
    if (request.method !== 'POST') return failure('METHOD_NOT_ALLOWED');
    const bytes = await bodyOf(request);
    if (bytes === undefined) return failure('BODY_TOO_LARGE');
    const input = inputOf(bytes);
    if (input === undefined) return failure('REQUEST_MALFORMED');
    const outcome = workload.use(keyType, operation, input);
    return outcome.status === 'done'
      ? { status: 200, body: resultOf(outcome) }
      : failure(outcome.code);
  }
}

function failure(code: KeyServiceCode): Reply {
  return { status: httpStatus[code], body: { error: { code } } };
}

function send(response: ServerResponse, reply: Reply): void {
  if (response.destroyed || response.headersSent) return;
  const body = Buffer.from(JSON.stringify(reply.body));
  response.writeHead(reply.status, {
    'content-type': 'application/json',
    'content-length': body.length,
    ...(reply.status === 413 ? { connection: 'close' } : {}),
  });
  response.end(body);
}

/** The whole body, or undefined where it is larger than allowed; the rest is then left unread. */
async function bodyOf(request: IncomingMessage): Promise<Uint8Array | undefined> {
  return await new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= keyServiceBodyBytesMax) {
        chunks.push(chunk);
        return;
      }
      request.pause();
      resolve(undefined);
    });
    request.once('end', () => resolve(Buffer.concat(chunks)));
    // A caller that went away: nobody reads the answer any more.
    request.once('error', () => resolve(undefined));
    request.once('close', () => resolve(undefined));
  });
}
