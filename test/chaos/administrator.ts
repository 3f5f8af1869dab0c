/**
 * The administrator of a live mesh's streams, with the key that nothing else uses: does to the bus
 * what no agent may, and looks at what is really there.
 */

import { readFile } from 'node:fs/promises';
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect, nkeyAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import type { StreamName } from '#shared/bus/bus.ts';
import type { TestMesh } from '../support/mesh.ts';

export interface StoredMessage {
  readonly sequence: number;
  readonly subject: string;
  readonly data: Uint8Array;
}

export class Administrator {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;

  private constructor(connection: NatsConnection, manager: JetStreamManager) {
    this.#connection = connection;
    this.#manager = manager;
  }

  static async of({ layout, mesh }: TestMesh): Promise<Administrator> {
    const connection = await connect({
      servers: `127.0.0.1:${mesh.port}`,
      authenticator: nkeyAuthenticator(await readFile(layout.adminSeedFile)),
      maxReconnectAttempts: -1,
    });
    return new Administrator(connection, await jetstreamManager(connection));
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  /** Makes a stream forget all but its newest message, then gives it back its bounds. */
  async truncate(stream: StreamName): Promise<void> {
    const { config } = await this.#manager.streams.info(stream);
    // A stream that refuses new messages when full drops old ones only once told to discard them.
    const shrunk = { ...config, max_msgs: 1, discard: 'old' as const };
    await this.#manager.streams.update(stream, shrunk);
    await this.#manager.streams.update(stream, { ...config, max_msgs: -1 });
  }

  /** Configuration and consumers of a stream; what is in it changes all the time. */
  async shapeOf(stream: StreamName): Promise<unknown> {
    const { config } = await this.#manager.streams.info(stream);
    const consumers: unknown[] = [];
    for await (const { name, config: settings } of this.#manager.consumers.list(stream)) {
      consumers.push([name, settings]);
    }
    return { config, consumers };
  }

  /** First and last sequence of a stream. */
  async boundsOf(stream: StreamName): Promise<{ first: number; last: number }> {
    const { state } = await this.#manager.streams.info(stream);
    return { first: state.first_seq, last: state.last_seq };
  }

  /** The last message of a subject. */
  async lastOf(stream: StreamName, subject: string): Promise<StoredMessage | undefined> {
    const found = await this.#manager.streams.getMessage(stream, { last_by_subj: subject });
    if (found === null) return undefined;
    return { sequence: found.seq, subject: found.subject, data: found.data };
  }
}
