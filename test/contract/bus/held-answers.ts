/**
 * A loopback proxy in front of a server. While answers are held, what clients say still arrives and
 * what the server answers does not: the misfortune behind every "timeout" that was not a failure.
 */
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

export class AnswerHoldingProxy {
  readonly #server: Server;
  readonly #pairs = new Set<{ client: Socket; upstream: Socket }>();
  #held = false;
  #port = 0;

  constructor(targetPort: number) {
    this.#server = createServer((client) => {
      const upstream = connect({ port: targetPort, host: '127.0.0.1' });
      const pair = { client, upstream };
      this.#pairs.add(pair);
      client.pipe(upstream);
      upstream.on('data', (data) => client.write(data));
      if (this.#held) upstream.pause();
      const end = (): void => {
        this.#pairs.delete(pair);
        client.destroy();
        upstream.destroy();
      };
      for (const socket of [client, upstream]) socket.on('close', end).on('error', end);
    });
  }

  get servers(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address !== null && typeof address === 'object') this.#port = address.port;
  }

  hold(): void {
    this.#held = true;
    for (const { upstream } of this.#pairs) upstream.pause();
  }

  release(): void {
    this.#held = false;
    for (const { upstream } of this.#pairs) upstream.resume();
  }

  async close(): Promise<void> {
    for (const { client, upstream } of this.#pairs) {
      client.destroy();
      upstream.destroy();
    }
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
