/**
 * A client of the layers' services over the network, for users and load generators: HTTPS under the mesh's
 * own certificate authority and nobody else's, TLS 1.3 with the hybrid group, connections kept alive,
 * sessions resumed. What is refused comes back as data. Where a connection breaks before an answer, one more
 * try follows within a second, so what changes something has to be safe to repeat; both tries carry one
 * idempotency key, by which a capability that was used up by the first is good for the second.
 */

import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:https';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { tlsGroup, tlsSignatureAlgorithm } from '#shared/core/tls-parameters.ts';
import { idempotencyHeader } from './repeated-request.ts';
import {
  askTwice,
  type Sender,
  type ServiceAnswer,
  type ServiceRequest,
} from './service-client.ts';

export interface TlsClientOptions {
  readonly host: string;
  readonly port: number;
  /** That the certificate has to name; the host unless told. */
  readonly name?: string;
  /** Certificates of the authority, PEM. */
  readonly roots: string;
  /** Of TLS, as OpenSSL names them; SecP384r1MLKEM1024 unless told. */
  readonly groups?: string;
  /** For the whole of one try; 10,000 unless told. */
  readonly timeoutMs?: number;
  /** Connections at once; 16 unless told. */
  readonly socketsMax?: number;
  /** Connections are kept and used again, unless told. */
  readonly keepAlive?: boolean;
}

const timeoutMsDefault = 10_000;
const socketsMaxDefault = 16;

export class TlsClient {
  readonly #options: TlsClientOptions;
  readonly #agent: Agent;
  #retries = 0;

  constructor(options: TlsClientOptions) {
    const { roots, groups, socketsMax, keepAlive, name = options.host } = options;
    this.#options = options;
    this.#agent = new Agent({
      keepAlive: keepAlive ?? true,
      maxSockets: socketsMax ?? socketsMaxDefault,
      ca: roots,
      minVersion: 'TLSv1.3',
      ecdhCurve: groups ?? tlsGroup,
      sigalgs: tlsSignatureAlgorithm,
      // Addresses are not sent as names (RFC 6066 section 3), but checked as such.
      servername: isIP(name) === 0 ? name : '',
      checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
    });
  }

  /** How often a broken connection was tried once more. */
  get retries(): number {
    return this.#retries;
  }

  /** `path` begins with the name of a layer: `/identity/v1/…`. @throws ServiceError */
  async ask(asked: ServiceRequest): Promise<ServiceAnswer> {
    const { host, port, timeoutMs = timeoutMsDefault } = this.#options;
    const agent = this.#agent;
    const send: Sender = (options, answered) =>
      request({ ...options, host, port, agent }, answered);
    const onRetry = (): void => {
      this.#retries += 1;
    };
    const headers = { ...asked.headers, [idempotencyHeader]: randomUUID() };
    return await askTwice(send, { ...asked, headers }, { timeoutMs, onRetry });
  }

  close(): void {
    this.#agent.destroy();
  }
}
