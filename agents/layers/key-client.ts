/**
 * A client of the key service for workloads on the same machine: one keep-alive connection pool per
 * socket, base64url on the wire, `Uint8Array` on both sides. What the service refuses comes back as
 * data; a socket that cannot be reached is `KeyClientError`.
 */

import { Agent, request } from 'node:http';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import { isKeyServiceCode, type KeyServiceCode } from './key-service.ts';
import type { WorkloadInput, WorkloadOperation, WorkloadSlot } from './workload.ts';

export interface KeyUseDone {
  readonly status: 'done';
  readonly version: number;
  readonly keyId: string;
  readonly valid?: boolean;
  readonly signature?: Uint8Array;
  readonly tag?: Uint8Array;
  readonly plaintext?: Uint8Array;
  readonly ciphertext?: Uint8Array;
  readonly sharedSecret?: Uint8Array;
}

export type KeyUseOutcome =
  KeyUseDone | { readonly status: 'refused'; readonly code: KeyServiceCode };

export class KeyClientError extends Error {
  readonly code: 'UNREACHABLE' | 'TIMEOUT' | 'ANSWER_MALFORMED';

  constructor(code: KeyClientError['code'], message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'KeyClientError';
    this.code = code;
  }
}

const answerBytesMax = 256 * 1024;
const byteFields = ['signature', 'tag', 'plaintext', 'ciphertext', 'sharedSecret'] as const;

export class KeyClient {
  readonly #socketPath: string;
  readonly #timeoutMs: number;
  readonly #agent: Agent;

  constructor(
    socketPath: string,
    options: { readonly timeoutMs?: number; readonly socketsMax?: number } = {},
  ) {
    this.#socketPath = socketPath;
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.socketsMax ?? 8 });
  }

  /** @throws KeyClientError */
  async slots(): Promise<Omit<WorkloadSlot, 'publicKey'>[]> {
    const answer = await this.#ask('GET', '/v1/slots', undefined);
    const slots = answer.json['slots'];
    if (answer.status !== 200 || !Array.isArray(slots) || !slots.every(isSlot)) throw malformed();
    return slots;
  }

  /** @throws KeyClientError */
  async use(
    keyType: string,
    operation: WorkloadOperation,
    input: WorkloadInput,
  ): Promise<KeyUseOutcome> {
    const { keyId, ...bytes } = input;
    const body: Record<string, string> = keyId === undefined ? {} : { keyId };
    for (const [field, value] of Object.entries(bytes)) {
      if (value instanceof Uint8Array) body[field] = toBase64Url(value);
    }
    const { status, json } = await this.#ask('POST', `/v1/slots/${keyType}/${operation}`, body);
    return status === 200 ? doneOf(json) : refusalOf(json);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #ask(
    method: string,
    path: string,
    body: unknown,
  ): Promise<{ status: number; json: Record<string, unknown> }> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const options = {
      socketPath: this.#socketPath,
      agent: this.#agent,
      method,
      path,
      timeout: this.#timeoutMs,
      headers: { 'content-length': payload?.length ?? 0 },
    };
    return await new Promise((resolve, reject) => {
      const call = request(options, (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > answerBytesMax) call.destroy(malformed());
          else chunks.push(chunk);
        });
        response.once('error', (error) => reject(unreachable(error)));
        response.once('end', () => {
          const json = objectOf(Buffer.concat(chunks));
          if (json === undefined) reject(malformed());
          else resolve({ status: response.statusCode ?? 0, json });
        });
      });
      call.once('timeout', () => {
        call.destroy(new KeyClientError('TIMEOUT', 'the key service did not answer in time'));
      });
      call.once('error', (error) => reject(unreachable(error)));
      call.end(payload);
    });
  }
}

function doneOf(json: Record<string, unknown>): KeyUseDone {
  const { version, keyId, valid } = json;
  if (typeof version !== 'number' || typeof keyId !== 'string') throw malformed();
  const done: { -readonly [Field in keyof KeyUseDone]: KeyUseDone[Field] } = {
    status: 'done',
    version,
    keyId,
  };
  if (typeof valid === 'boolean') done.valid = valid;
  for (const field of byteFields) {
    const text = json[field];
    if (text === undefined) continue;
    const bytes = typeof text === 'string' ? fromBase64Url(text) : undefined;
    if (bytes === undefined) throw malformed();
    done[field] = bytes;
  }
  return done;
}

function isSlot(value: unknown): value is Omit<WorkloadSlot, 'publicKey'> {
  if (typeof value !== 'object' || value === null) return false;
  const fields = new Map<string, unknown>(Object.entries(value));
  const texts = ['slot', 'keyType', 'keyKind', 'algorithm', 'keyId'];
  return (
    texts.every((name) => typeof fields.get(name) === 'string') &&
    Number.isSafeInteger(fields.get('version')) &&
    typeof fields.get('frozen') === 'boolean'
  );
}

function refusalOf(json: Record<string, unknown>): KeyUseOutcome {
  const error = json['error'];
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  if (!isKeyServiceCode(code)) throw malformed();
  return { status: 'refused', code };
}

function objectOf(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    // Not JSON: the caller says so with its own code.
    return undefined;
  }
}

function unreachable(cause: Error): KeyClientError {
  return cause instanceof KeyClientError
    ? cause
    : new KeyClientError('UNREACHABLE', 'the key service cannot be reached', cause);
}

function malformed(): KeyClientError {
  return new KeyClientError('ANSWER_MALFORMED', 'the key service gave no valid answer');
}
