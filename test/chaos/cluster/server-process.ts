/** A server of the cluster as a plain process, started again when it ends by itself. */
import type { MeshLayout } from '#cli/mesh/layout.ts';
import { signalProcess } from '#cli/mesh/process-identity.ts';
import { SupervisedProcess } from '#cli/mesh/supervised-process.ts';
import type { Launch } from './nodes.ts';

export interface ServerProcessOptions {
  readonly layout: MeshLayout;
  /** Path of the nats-server. */
  readonly natsServer: string;
  readonly onExit: (nodeId: string) => void;
}

export function serverProcesses({ layout, natsServer, onExit }: ServerProcessOptions): Launch {
  return async ({ id, configFile }) => {
    const supervised = new SupervisedProcess(
      {
        id,
        command: natsServer,
        arguments: ['-c', configFile],
        logFile: layout.logFile(id),
        saysReady: false,
      },
      { onChange: () => undefined, onExit: () => onExit(id) },
    );
    // However this process ends, the server does not outlive it.
    const breakOff = (): void => {
      if (supervised.pid !== null) signalProcess(supervised.pid, 'SIGKILL', true);
    };
    process.on('exit', breakOff);
    await supervised.start();
    return {
      get pid() {
        return supervised.pid;
      },
      async end(graceMs) {
        const { pid } = supervised;
        const stopping = supervised.stop(Math.max(1, graceMs));
        if (graceMs === 0 && pid !== null) signalProcess(pid, 'SIGKILL', false);
        await stopping;
        process.off('exit', breakOff);
      },
    };
  };
}
