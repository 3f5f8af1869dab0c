/**
 * One connection to a nats-server: reconnects for ever, keeps its inboxes under the agent's own
 * prefix, refuses servers that acknowledge writes before they are on disk, and asks the JetStream
 * API by subject and numeric code.
 */
import { fromSeed } from '@nats-io/nkeys';
import { connect, headers as newHeaders, PermissionViolationError } from '@nats-io/transport-node';
import type { Authenticator, Msg, MsgHdrs, NatsConnection, Status } from '@nats-io/transport-node';
import { persistently, questionTimeoutMs } from './asking.ts';
import { BusError } from './bus.ts';
import type { StreamName } from './bus.ts';
import { apiFault, translate } from './nats-errors.ts';
import { inboxPrefix } from './subjects.ts';
import { Gate, sleep, systemClock } from './timers.ts';
import type { BusClock } from './timers.ts';

export interface NatsLinkOptions {
  /** `host:port`, one or several. */
  readonly servers: string | readonly string[];
  readonly agentId: string;
  /** NKEY user seed in its text form (58 bytes of ASCII). Copied; the caller wipes its own. */
  readonly seed: Uint8Array;
  /** How long the first connection may take; 30 s unless told: a busy server answers late. */
  readonly connectTimeoutMs?: number;
  /** Faults in the background that are survived: refusals, a server that is not ready. */
  readonly onTrouble: (error: BusError) => void;
}

export type ApiAnswer =
  | { readonly ok: true; readonly value: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly errCode: number; readonly status: number };

/** From this version on `sync_interval: always` covers every log that is acknowledged. */
export const serverVersionMin = '2.10.23';

const retryPauseMs = 50;
const connectTimeoutDefaultMs = 30_000;

export class NatsLink {
  readonly connection: NatsConnection;
  readonly gate = new Gate();
  readonly clock: BusClock = systemClock;
  readonly onTrouble: (error: BusError) => void;
  readonly #seed: Uint8Array;
  readonly #watching: Promise<void>;

  private constructor(connection: NatsConnection, seed: Uint8Array, options: NatsLinkOptions) {
    this.connection = connection;
    this.#seed = seed;
    this.onTrouble = options.onTrouble;
    this.gate.set(true);
    this.#watching = this.#watch(connection.status());
  }

  /** @throws BusError BUS_UNREACHABLE, BUS_DENIED (the seed), BUS_SERVER_TOO_OLD */
  static async open(options: NatsLinkOptions): Promise<NatsLink> {
    const seed = Uint8Array.from(options.seed);
    try {
      const connection = await connectWithin(options, authenticator(seed));
      const link = new NatsLink(connection, seed, options);
      const version = connection.info?.version ?? '';
      if (isTooOld(version)) {
        await link.close();
        throw tooOld(version);
      }
      return link;
    } catch (error) {
      seed.fill(0);
      throw translate(error);
    }
  }

  /** One request. A connection that is lost before the answer ends it with BUS_TIMEOUT at once. */
  async request(
    subject: string,
    data: Uint8Array,
    options: { readonly timeoutMs: number; readonly headers?: MsgHdrs },
  ): Promise<Msg> {
    if (this.connection.isClosed()) throw new BusError('BUS_CLOSED', 'the connection is closed');
    if (!this.gate.open) throw new BusError('BUS_UNREACHABLE', 'the bus cannot be reached');
    const lost = Promise.withResolvers<never>();
    const stopListening = this.gate.onChange(() =>
      lost.reject(new BusError('BUS_TIMEOUT', 'the connection was lost before the answer')),
    );
    try {
      const { timeoutMs, ...rest } = options;
      const answer = this.connection.request(subject, data, { timeout: timeoutMs, ...rest });
      return await Promise.race([answer, lost.promise]);
    } catch (error) {
      throw translate(error);
    } finally {
      stopListening();
    }
  }

  /** Asks until there is an answer, for ten seconds at most; for what is safe to ask twice. */
  async persistently<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    return await persistently(this, ask, translate);
  }

  /** @throws BusError BUS_CLOSED; resolves false when the bus stays away for `timeoutMs` */
  async ready(timeoutMs: number): Promise<boolean> {
    if (this.connection.isClosed()) throw new BusError('BUS_CLOSED', 'the connection is closed');
    return await this.gate.waitOpen(this.clock, timeoutMs);
  }

  /** One question to the JetStream API. */
  async api(subject: string, body: Readonly<Record<string, unknown>> = {}): Promise<ApiAnswer> {
    const answer = await this.request(subject, jsonBytes(body), { timeoutMs: questionTimeoutMs });
    const value = jsonOf(answer.data);
    if (!isRecord(value)) throw new BusError('BUS_REJECTED', 'the JetStream API answered nonsense');
    const { error } = value;
    if (!isRecord(error)) return { ok: true, value };
    const refusal = { errCode: Number(error['err_code'] ?? 0), status: Number(error['code'] ?? 0) };
    if (refusal.status === 503) throw apiFault(refusal);
    return { ok: false, ...refusal };
  }

  async close(): Promise<void> {
    await this.connection.close();
    await this.#watching;
    this.#seed.fill(0);
  }

  async #watch(statuses: AsyncIterable<Status>): Promise<void> {
    for await (const status of statuses) {
      if (status.type === 'disconnect') this.gate.set(false);
      if (status.type === 'reconnect') this.#reconnected();
      if (status.type === 'error' && isRefusal(status.error)) {
        this.onTrouble(translate(status.error));
      }
    }
    this.gate.set(false);
  }

  #reconnected(): void {
    const version = this.connection.info?.version ?? '';
    if (!isTooOld(version)) {
      this.gate.set(true);
      return;
    }
    this.onTrouble(tooOld(version));
    void this.connection.close();
  }
}

/** Undefined for what is not JSON. */
export function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function jsonBytes(value: Readonly<Record<string, unknown>>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

export function nanos(ms: number): number {
  return Math.round(ms * 1_000_000);
}

export function publishHeaders(options: {
  readonly token: string;
  readonly stream: StreamName;
  readonly expectLastSubjectSequence?: number;
}): MsgHdrs {
  const headers = newHeaders();
  headers.set('Nats-Msg-Id', options.token);
  headers.set('Nats-Expected-Stream', options.stream);
  if (options.expectLastSubjectSequence !== undefined) {
    headers.set('Nats-Expected-Last-Subject-Sequence', String(options.expectLastSubjectSequence));
  }
  return headers;
}

/** Signs the server's challenge; the key pair lives for that one call. */
function authenticator(seed: Uint8Array): Authenticator {
  return (nonce) => {
    const pair = fromSeed(Uint8Array.from(seed));
    try {
      const signature = pair.sign(new TextEncoder().encode(nonce ?? ''));
      return { nkey: pair.getPublicKey(), sig: Buffer.from(signature).toString('base64url') };
    } finally {
      pair.clear();
    }
  };
}

async function connectWithin(
  options: NatsLinkOptions,
  authenticate: Authenticator,
): Promise<NatsConnection> {
  const { connectTimeoutMs = connectTimeoutDefaultMs } = options;
  const deadlineMs = systemClock.monotonicMs() + connectTimeoutMs;
  for (;;) {
    try {
      return await connect({
        servers: typeof options.servers === 'string' ? options.servers : [...options.servers],
        name: options.agentId,
        inboxPrefix: inboxPrefix(options.agentId),
        authenticator: authenticate,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 100,
        reconnectJitter: 50,
        ignoreAuthErrorAbort: true,
        pingInterval: 2_000,
        maxPingOut: 2,
        timeout: 2_000,
        noAsyncTraces: true,
      });
    } catch (error) {
      const fault = translate(error);
      const transient = fault.code === 'BUS_UNREACHABLE' || fault.code === 'BUS_TIMEOUT';
      if (!transient || systemClock.monotonicMs() >= deadlineMs) {
        throw fault.code === 'BUS_TIMEOUT'
          ? new BusError('BUS_UNREACHABLE', 'the bus cannot be reached', fault)
          : fault;
      }
      await sleep(systemClock, 4 * retryPauseMs);
    }
  }
}

function isRefusal(error: Error): boolean {
  return error instanceof PermissionViolationError || error.name === 'AuthorizationError';
}

function isTooOld(version: string): boolean {
  const found = /^(\d+)\.(\d+)\.(\d+)/.exec(version);
  if (found === null) return true;
  const wanted = serverVersionMin.split('.').map(Number);
  for (const [index, least] of wanted.entries()) {
    const part = Number(found[index + 1]);
    if (part !== least) return part < least;
  }
  return false;
}

function tooOld(version: string): BusError {
  return new BusError(
    'BUS_SERVER_TOO_OLD',
    `nats-server ${version === '' ? '(unknown version)' : version} acknowledges writes that are not ` +
      `on disk; install nats-server ${serverVersionMin} or newer (2.14 or newer is recommended)`,
  );
}
