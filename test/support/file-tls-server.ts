/**
 * A TLS server as somebody else runs one: its own process, key and chain from files, read again at SIGHUP.
 * Started as a program: the directory of the files, and `restless` where it reads them again and again by
 * itself. Each line of its output is a JSON document: `{ port }` at first, `{ looks, mismatches }` at
 * SIGUSR2. While there is a file `deaf` in the directory, SIGHUP changes nothing.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createSecureContext } from 'node:tls';

export class FileTlsServer {
  readonly port: number;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, port: number) {
    this.#child = child;
    this.#lines = lines;
    this.port = port;
    this.pid = child.pid ?? 0;
  }

  static async start(directory: string, ...words: 'restless'[]): Promise<FileTlsServer> {
    const child = spawn(process.execPath, [import.meta.filename, directory, ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { port } = (await nextOf(lines)) as { port: number };
    return new FileTlsServer(child, lines, port);
  }

  /** What the restless one has found so far. */
  async looked(): Promise<{ looks: number; mismatches: number }> {
    this.#child.kill('SIGUSR2');
    return (await nextOf(this.#lines)) as { looks: number; mismatches: number };
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

async function nextOf(lines: AsyncIterator<string>): Promise<unknown> {
  const line = await lines.next();
  if (line.done === true) throw new Error('the server ended');
  return JSON.parse(line.value);
}

function serve(directory: string, isRestless: boolean): void {
  const server = createServer(
    { minVersion: 'TLSv1.3', ecdhCurve: 'SecP384r1MLKEM1024' },
    (_, answer) => answer.end('{}'),
  );
  server.keepAliveTimeout = 60_000;
  const counts = { looks: 0, mismatches: 0 };
  const read = () => {
    // The link once: what belongs together is in one folder.
    const folder = realpathSync(join(directory, 'current'));
    const [key, cert] = ['key.pem', 'chain.pem'].map((file) => readFileSync(join(folder, file)));
    return { key, cert, minVersion: 'TLSv1.3', ecdhCurve: 'SecP384r1MLKEM1024' } as const;
  };
  const load = (): void => {
    if (!existsSync(join(directory, 'current')) || existsSync(join(directory, 'deaf'))) return;
    server.setSecureContext(read());
  };
  const look = (): void => {
    if (!existsSync(join(directory, 'current'))) return;
    counts.looks += 1;
    try {
      createSecureContext(read());
    } catch {
      counts.mismatches += 1;
    }
  };
  process.on('SIGHUP', load);
  process.on('SIGUSR2', () => process.stdout.write(`${JSON.stringify(counts)}\n`));
  load();
  if (isRestless) setInterval(look, 2);
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    process.stdout.write(`${JSON.stringify({ port })}\n`);
  });
}

if (import.meta.main) serve(process.argv[2] ?? '', process.argv.includes('restless'));
