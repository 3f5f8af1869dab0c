/**
 * A TCP port before a server of the test's own: it passes everything on, says nothing to anybody, or is
 * gone.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class MoodyPort {
  readonly #upstream: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #isHanging = false;
  #port = 0;

  /** `upstream`: path of the server's unix socket. */
  constructor(upstream: string) {
    this.#upstream = upstream;
  }

  get port(): number {
    return this.#port;
  }

  /** Also after it was closed: on the same port. */
  async open(): Promise<void> {
    const server = createServer((inner) => {
      const outer = connect(this.#upstream);
      for (const [from, to] of [
        [inner, outer],
        [outer, inner],
      ] as const) {
        this.#sockets.add(from);
        from.on('error', () => to.destroy());
        from.once('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        from.on('data', (bytes) => {
          if (!this.#isHanging) to.write(bytes);
        });
      }
    });
    this.#server = server;
    await new Promise<void>((resolve) => {
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (typeof address === 'object' && address !== null) this.#port = address.port;
  }

  /** Whatever is said from now on is lost, on connections that there are and on new ones. */
  hang(): void {
    this.#isHanging = true;
  }

  /** What was lost stays lost. */
  recover(): void {
    this.#isHanging = false;
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server?.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }
}
