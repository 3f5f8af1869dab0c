/** A service, over its control socket, as a world of the adapter contract. */
import type { RunningService } from '../../support/layer-service.ts';
import type { AdapterWorld } from './adapter-contract.ts';

/** `others`: those that it needs, in its folder; they end after it. */
export async function serviceWorld(
  running: RunningService,
  others: readonly RunningService[] = [],
): Promise<AdapterWorld> {
  return {
    adapter: await running.adapter(),
    reopen: async () => {
      await running.stop();
      await running.start();
      return running.adapter();
    },
    close: async () => {
      await running.end();
      for (const other of others) await other.end();
    },
  };
}
