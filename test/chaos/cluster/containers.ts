/**
 * The servers of the cluster in containers instead of processes: same configuration, same ports, same
 * store folders, through the network of this machine. The image comes from GYRE_NATS_IMAGE.
 */
import {
  GenericContainer,
  getContainerRuntimeClient,
  type StartedTestContainer,
} from 'testcontainers';
import type { Launch } from './nodes.ts';

export const imageDefault = 'nats:2';

const startMs = 60_000;
/** Leave to end by itself is given in whole seconds; without any, the engine kills at once. */
const secondMs = 1_000;

/** Why no container can run here; undefined where one can. */
export async function lacksEngine(): Promise<string | undefined> {
  try {
    await getContainerRuntimeClient();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : 'no container engine answers';
  }
}

export function serverContainers(image: string): Launch {
  return async ({ id, configFile, folder }) => {
    const container: StartedTestContainer = await new GenericContainer(image)
      .withEntrypoint(['nats-server'])
      .withCommand(['-c', configFile])
      .withNetworkMode('host')
      .withBindMounts([{ source: folder, target: folder, mode: 'rw' }])
      .withLabels({ 'gyre.chaos': id })
      .withStartupTimeout(startMs)
      .start();
    return {
      pid: null,
      end: async (graceMs) => {
        await container.stop({ timeout: Math.ceil(graceMs / secondMs) * secondMs, remove: true });
      },
    };
  };
}
