/**
 * The TLS 1.3 listener. Its certificate, its groups and its ticket keys are replaced while it listens:
 * open connections go on under what they were made with, new ones get the new. Connections made under
 * a certificate that is no longer the one in use are asked to close after a response, once the overlap
 * has begun to run, so that the old key comes to have no users; nothing is cut off.
 *
 * Old session tickets do not open under new ticket keys: their holders make a full handshake.
 */

import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { duplexPair, type Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { TlsParameters } from '#shared/core/tls-parameters.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { RefusalCounts } from '../service/http-app.ts';
import { clientOf, ClientShares } from './client-shares.ts';
import { handshakeCode, requestFault } from './refused-handshakes.ts';

/** The certificate in use, with its key: PEM, the key to be wiped by whoever made it. */
export interface TlsCredentials {
  readonly version: number;
  readonly key: Uint8Array;
  readonly chain: string;
}

export interface HandshakeSeen {
  readonly version: number;
  readonly isResumed: boolean;
  readonly durationMs: number;
}

export interface TlsListenerOptions {
  readonly host: string;
  readonly port: number;
  /** An open descriptor to listen on in place of host and port. */
  readonly listensOn?: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalCounts;
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  readonly onHandshake: (seen: HandshakeSeen) => void;
  readonly limits?: Partial<ListenerLimits>;
}

export interface ListenerLimits {
  /** Connections of one client, handshakes under way included, and of all. */
  readonly connectionsPerClientMax: number;
  readonly connectionsMax: number;
  readonly handshakeMs: number;
  /** From the first byte of a request, or the handshake, to the last of its head. */
  readonly headMs: number;
  /** Of a whole request; its body has a shorter time of its own (forwarder.ts). */
  readonly requestMs: number;
  /** Idle connections go after it; clients are told, and do not use one that is about to. */
  readonly idleMs: number;
  /** How often it is looked whose time is over. */
  readonly lookMs: number;
}

/** 48 bytes, as node:tls takes them. */
export const ticketKeyBytes = 48;

const limitsDefault: ListenerLimits = {
  connectionsPerClientMax: 256,
  connectionsMax: 2_048,
  handshakeMs: 5_000,
  headMs: 10_000,
  requestMs: 30_000,
  idleMs: 5_000,
  lookMs: 2_000,
};
/** Connections that are turned away are logged so often at the most, with their number. */
const tellMs = 1_000;
const stopWithinMs = 5_000;
const sessionSeconds = 3_600;
const sessionIdContext = 'gyre-network';

interface Connection {
  readonly version: number;
  /** Its responses say that it ends with them, from this time on. */
  closeFromMs: number;
  /** Requests that are not answered yet. */
  open: number;
}

export class TlsListener {
  readonly #options: TlsListenerOptions;
  readonly #server: Server;
  readonly #shares: ClientShares;
  readonly #connections = new Map<Socket, Connection>();
  /** Connections whose handshake is under way. */
  readonly #arrivals = new Map<string, { readonly version: number; readonly beganMs: number }>();
  /** The listener's ends of its own connections, which count for no client. */
  readonly #own = new WeakSet<Duplex>();
  #version = 0;
  /** Connections that are turned away: those whose end is still to come, and those not told yet. */
  #leaving = 0;
  #untold = 0;
  #toldAtMs = -Infinity;
  #isStopping = false;

  constructor(options: TlsListenerOptions) {
    this.#options = options;
    const limits = { ...limitsDefault, ...options.limits };
    const { connectionsPerClientMax: eachMax, connectionsMax: allMax } = limits;
    this.#shares = new ClientShares({ eachMax, allMax });
    this.#server = createServer(
      {
        ALPNProtocols: ['http/1.1'],
        minVersion: 'TLSv1.3',
        handshakeTimeout: limits.handshakeMs,
        sessionIdContext,
        sessionTimeout: sessionSeconds,
        requestTimeout: limits.requestMs,
        headersTimeout: limits.headMs,
        connectionsCheckingInterval: limits.lookMs,
        maxHeaderSize: 32_768,
      },
      (request, response) => this.#onRequest(request, response),
    );
    this.#server.maxConnections = allMax;
    this.#server.keepAliveTimeout = limits.idleMs;
    this.#server.on('drop', () => this.#turnAway());
    this.#server.on('connection', (socket: Socket) => this.#onConnection(socket));
    this.#server.on('secureConnection', (socket: TLSSocket) => this.#onSecure(socket));
    this.#server.on('tlsClientError', (error, socket) => this.#onRefused(error, socket));
    this.#server.on('clientError', (error, socket) => this.#onClientError(error, socket));
  }

  /** Where it listens. */
  get address(): { readonly host: string; readonly port: number } {
    const bound = this.#server.address();
    if (!isAddress(bound)) throw new Error('assertion: the listener listens');
    return { host: bound.address, port: bound.port };
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Open connections that were made under a version of the certificate. */
  connectionsOf(version: number): number {
    return [...this.#connections.values()].filter((each) => each.version === version).length;
  }

  /** From the next connection on. `closeOthersInMs`: when the connections of others begin to end. */
  use(
    { version, key, chain }: TlsCredentials,
    parameters: TlsParameters,
    options: { readonly ticketKey: Uint8Array; readonly closeOthersInMs: number },
  ): void {
    const ticketKeys = Buffer.from(options.ticketKey);
    this.#server.setSecureContext({
      ...parameters,
      key: Buffer.from(key.buffer, key.byteOffset, key.byteLength),
      cert: chain,
      ticketKeys,
      sessionIdContext,
      sessionTimeout: sessionSeconds,
    });
    this.#server.setTicketKeys(ticketKeys);
    ticketKeys.fill(0);
    if (version === this.#version) return;
    this.#version = version;
    const fromMs = this.#options.clock.monotonicMs() + options.closeOthersInMs;
    for (const connection of this.#connections.values()) {
      connection.closeFromMs = connection.version === version ? Infinity : fromMs;
    }
  }

  async start(): Promise<void> {
    const { host, port, listensOn } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(listensOn === undefined ? { port, host } : { fd: listensOn }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /**
   * A connection to it from within: the same server, handshake, certificate and handlers as whoever comes
   * over the network gets, and no place among the connections that are bounded. TLS is for the caller.
   */
  connect(): Duplex {
    const [theirs, ours] = duplexPair();
    this.#own.add(ours);
    theirs.once('close', () => ours.destroy());
    this.#server.emit('connection', ours);
    return theirs;
  }

  /** Lets the running requests end, for a while. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#isStopping = true;
    const cut = setTimeout(() => this.#server.closeAllConnections(), stopWithinMs);
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      for (const [socket, connection] of this.#connections) {
        connection.closeFromMs = 0;
        if (connection.open === 0) socket.destroy();
      }
    });
    clearTimeout(cut);
  }

  #onConnection(socket: Socket): void {
    if (this.#own.has(socket)) return;
    const client = clientOf(socket.remoteAddress);
    if (this.#shares.take(client) !== 'taken') {
      this.#leaving += 1;
      this.#turnAway();
      socket.destroy();
      return;
    }
    socket.once('close', () => this.#shares.give(client));
    const name = nameOf(socket);
    if (name === undefined) return;
    const beganMs = this.#options.clock.monotonicMs();
    this.#arrivals.set(name, { version: this.#version, beganMs });
    socket.once('close', () => this.#arrivals.delete(name));
  }

  #onSecure(socket: TLSSocket): void {
    if (this.#isStopping) {
      socket.destroy();
      return;
    }
    const { clock, onHandshake } = this.#options;
    const name = nameOf(socket);
    const arrival = name === undefined ? undefined : this.#arrivals.get(name);
    const version = arrival?.version ?? this.#version;
    const closeFromMs = version === this.#version ? Infinity : 0;
    this.#connections.set(socket, { version, closeFromMs, open: 0 });
    socket.once('close', () => this.#connections.delete(socket));
    const nowMs = clock.monotonicMs();
    const durationMs = nowMs - (arrival?.beganMs ?? nowMs);
    onHandshake({ version, isResumed: socket.isSessionReused(), durationMs });
  }

  /** More than a client may hold, or all of them. */
  #turnAway(): void {
    const { refusals, log, clock } = this.#options;
    const code = 'CONNECTIONS_EXCEEDED';
    refusals.add(code);
    this.#untold += 1;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#toldAtMs < tellMs) return;
    log.info({ code, connections: this.#untold }, 'connections are refused');
    this.#untold = 0;
    this.#toldAtMs = nowMs;
  }

  #onRefused(error: Error, socket: TLSSocket): void {
    if (this.#leaving > 0 && 'code' in error && error.code === 'ECONNRESET') {
      // The end of a connection that was turned away, and counted as that.
      this.#leaving -= 1;
      return;
    }
    const code = handshakeCode(error);
    this.#options.refusals.add(code);
    this.#options.log.info({ code }, 'a connection is refused');
    socket.destroy();
  }

  /** What is no HTTP inside of TLS; faults of the handshake come here too, and were counted. */
  #onClientError(error: Error, socket: { destroy(): void; end(text: string): void }): void {
    const refused = requestFault(error);
    if (refused === undefined) {
      socket.destroy();
      return;
    }
    const { code, status } = refused;
    this.#options.refusals.add(code);
    this.#options.log.info({ code }, 'a request is refused');
    socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(request.socket);
    if (connection !== undefined) {
      connection.open += 1;
      response.once('close', () => (connection.open -= 1));
      const isOver = this.#options.clock.monotonicMs() >= connection.closeFromMs;
      if (isOver) response.setHeader('connection', 'close');
    }
    this.#options.onRequest(request, response);
  }
}

function isAddress(bound: AddressInfo | string | null): bound is AddressInfo {
  return typeof bound === 'object' && bound !== null;
}

/** The same of a connection before and after its handshake. */
function nameOf({ remoteAddress, remotePort }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`;
}
