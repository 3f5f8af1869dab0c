/** The process of layer 7's agent (self-healing). One argument: the path of its configuration file. */

import { subjectsOf } from '#shared/bus/subjects.ts';
import type { BootedAgent } from '#shared/runtime/boot.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { heartbeatMsDefault, runLayerAgent } from '../layer-main.ts';
import { ServiceClient } from '../service/service-client.ts';
import { heartbeatsPerReport } from '../telemetry.ts';
import { layer, openAdapter } from './adapter.ts';
import { embeddedSigning, serviceSigning } from './claim-signing.ts';
import { Healer } from './healer.ts';

let keys: EmbeddedAdapter | undefined;

runLayerAgent({
  layer,
  openAdapter: (options) => (keys = openAdapter(options)),
  configPath: process.argv[2],
  beside: async (booted, request) => {
    const { trust } = booted;
    const signing = signingOf(booted);
    const healer = new Healer({
      ...booted,
      subjects: subjectsOf(trust.mesh),
      receiver: new BulkReceiver(booted),
      sign: signing.sign,
      gatherMs: heartbeatsPerReport * (booted.config.heartbeatMs ?? heartbeatMsDefault),
      request,
    });
    await healer.start();
    return {
      measure: () => healer.measure(),
      stop: async (): Promise<void> => {
        await healer.stop();
        signing.close();
      },
    };
  },
});

/** The keys are the agent's own, or its service's. */
function signingOf({ config, crypto, clock, resolve }: BootedAgent) {
  if (keys !== undefined) {
    return { sign: embeddedSigning(keys, { crypto, clock }), close: (): void => undefined };
  }
  const client = new ServiceClient({ socketPath: resolve(config.serviceControlSocket ?? '') });
  return { sign: serviceSigning(client), close: (): void => client.close() };
}
