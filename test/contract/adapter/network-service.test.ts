/** Layer 3's service, with a listener of its own, against the adapter contract. */
import { openService } from '#agents/layers/3-network/service.ts';
import { RunningService } from '../../support/layer-service.ts';
import { adapterContract } from './adapter-contract.ts';
import { serviceWorld } from './service-world.ts';

adapterContract('layer 3, which shows its certificate to clients', async () => {
  const listen = { host: '127.0.0.1', port: 0, names: ['localhost'] };
  const running = await RunningService.start({ layer: 3, open: openService, config: { listen } });
  return serviceWorld(running);
});
