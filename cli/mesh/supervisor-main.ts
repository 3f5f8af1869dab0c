/**
 * The process of `gyre up --detach`: supervises a mesh until SIGTERM or SIGINT. Arguments: the mesh
 * directory and the path of the nats-server. If the command that started it goes away before the mesh
 * is ready, so does everything here.
 */
import { translateFault } from '../translate-fault.ts';
import { layoutOf } from './layout.ts';
import { requireMesh } from './mesh-file.ts';
import type { SupervisorMessage } from './supervisor-messages.ts';
import { Supervisor } from './supervisor.ts';

const [root, natsServer] = process.argv.slice(2);
if (root === undefined || natsServer === undefined) {
  throw new Error('assertion: the supervisor is given a directory and a nats-server');
}
process.umask(0o077);

const interruption = new AbortController();
const stopAsked = Promise.withResolvers<void>();
const interrupt = (): void => {
  interruption.abort();
  stopAsked.resolve();
};
let isReady = false;
process.on('SIGTERM', interrupt);
process.on('SIGINT', interrupt);
process.on('SIGHUP', () => undefined);
process.on('disconnect', () => {
  if (!isReady) interrupt();
});

await run(root, natsServer);

async function run(directory: string, server: string): Promise<void> {
  const keepAlive = setInterval(() => undefined, 60_000);
  try {
    const mesh = await requireMesh(directory);
    const supervisor = await Supervisor.start({
      layout: layoutOf(directory),
      mesh,
      natsServer: server,
      signal: interruption.signal,
      onProgress: (line) => {
        console.error(`${new Date().toISOString()} ${line}`);
        tell({ type: 'progress', line });
      },
    });
    isReady = true;
    tell({ type: 'ready' });
    await stopAsked.promise;
    await supervisor.stop();
  } catch (error) {
    const { code, reason, hint, exitCode } = translateFault(error);
    console.error(`${new Date().toISOString()} ${code}: ${reason}`);
    tell({ type: 'fault', code, reason, hint, exitCode });
    process.exitCode = exitCode;
  } finally {
    clearInterval(keepAlive);
    if (process.connected) process.disconnect?.();
  }
}

function tell(message: SupervisorMessage): void {
  if (process.connected) process.send?.(message);
}
