/**
 * A service's HTTP face on a unix socket that only the owner may open (0600). In a folder that somebody
 * has given to a group (setgid), the group may as well (0660): so a socket is handed to the one user that
 * it is for. What a crashed process left at the path is removed; stopping lets the running requests end.
 */

import { chmodSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import path from 'node:path';
import { getRequestListener } from '@hono/node-server';
import type { ServiceFace } from './service-faces.ts';

/** What every system takes as the name of a unix socket. */
export const socketPathBytesMax = 103;

const connectionsMax = 512;
const requestTimeoutMs = 10_000;
const keepAliveMs = 60_000;
/** Requests that are not over by then are cut off. */
const stopWithinMs = 5_000;
const setgid = 0o2000;

export class SocketServer {
  readonly #server: Server;
  readonly #socketPath: string;

  constructor(app: ServiceFace, socketPath: string) {
    this.#socketPath = socketPath;
    const listener = getRequestListener((request) => app.fetch(request));
    this.#server = createServer(
      { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, maxHeaderSize: 32_768 },
      (incoming, outgoing) => {
        void listener(incoming, outgoing);
      },
    );
    this.#server.maxConnections = connectionsMax;
    this.#server.keepAliveTimeout = keepAliveMs;
  }

  async start(): Promise<void> {
    rmSync(this.#socketPath, { force: true });
    const mode = modeIn(path.dirname(this.#socketPath));
    const before = process.umask(0o777 & ~mode);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(this.#socketPath, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } finally {
      process.umask(before);
    }
    chmodSync(this.#socketPath, mode);
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const cut = setTimeout(() => this.#server.closeAllConnections(), stopWithinMs);
    await new Promise<void>((resolve, reject) => {
      this.#server.close((error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
      this.#server.closeIdleConnections();
    });
    clearTimeout(cut);
  }
}

function modeIn(folder: string): number {
  return (statSync(folder).mode & setgid) === 0 ? 0o600 : 0o660;
}
