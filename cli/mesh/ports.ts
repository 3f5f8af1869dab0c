/** Ports of this machine: whether one is free, and one that is. Everything binds 127.0.0.1. */
import { createServer } from 'node:net';
import { CliFault } from '../fault.ts';
import { systemErrorCode } from './durable-files.ts';

const loopback = '127.0.0.1';

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const port = await tryPort(0);
  if (port !== null) return port;
  throw new CliFault({
    code: 'PORT_IN_USE',
    reason: 'this machine has no free port left',
    hint: 'Stop something that listens on 127.0.0.1, then try again.',
  });
}

/** Faults with PORT_IN_USE where somebody listens on `port`. */
export async function requireFreePort(port: number): Promise<void> {
  if ((await tryPort(port)) !== null) return;
  throw new CliFault({
    code: 'PORT_IN_USE',
    reason: `port ${port} of 127.0.0.1 is in use`,
    hint: 'Stop what listens there, or choose another one: gyre up --port P (0 takes any free one).',
  });
}

/** The port that could be bound, or null where it is taken or not ours to bind. */
export function tryPort(port: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      const code = systemErrorCode(error);
      if (code === 'EADDRINUSE' || code === 'EACCES') resolve(null);
      else reject(error);
    });
    server.listen({ host: loopback, port, exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      server.close(() => resolve(bound));
    });
  });
}
