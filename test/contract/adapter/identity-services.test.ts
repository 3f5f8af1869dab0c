/** Layers 1 and 2 as services, over their control sockets, against the adapter contract. */
import { openService as openIdentity } from '#agents/layers/1-identity/service.ts';
import { openService as openAuthorization } from '#agents/layers/2-authorization/service.ts';
import { capabilityKeysCheck } from '#schemas/authorization.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { adapterContract } from './adapter-contract.ts';
import { serviceWorld } from './service-world.ts';

adapterContract('service of layer 1', async () => {
  const running = await RunningService.start({ layer: 1, open: openIdentity });
  return serviceWorld(running);
});

adapterContract('service of layer 2, certified by layer 1', async () => {
  const folder = serviceFolder();
  const identity = await RunningService.start({ layer: 1, open: openIdentity, folder });
  const running = await RunningService.start({ layer: 2, open: openAuthorization, folder });
  while (!(await isCertified(running))) await new Promise((resolve) => setTimeout(resolve, 20));
  return serviceWorld(running, [identity]);
});

async function isCertified({ client }: RunningService): Promise<boolean> {
  const answer = await client.ask({ method: 'GET', path: '/v1/capability-keys' });
  if (answer.status === 'refused' || !capabilityKeysCheck.check(answer.body)) return false;
  return answer.body.certificates.length > 0;
}
