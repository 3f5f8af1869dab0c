/** The services of layers 4 and 5 over their control sockets, against the adapter contract. */
import { afterAll, describe } from 'vitest';
import { openService as openEncryption } from '#agents/layers/4-encryption/service.ts';
import type { Database } from '#agents/layers/5-database/database.ts';
import { PgliteDatabase } from '#agents/layers/5-database/pglite.ts';
import { serviceOn } from '#agents/layers/5-database/service.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { makeRootToken, rootTokenConfig } from '../../support/root-token.ts';
import { removeOriginals, softHsm } from '../../support/softhsm.ts';
import { adapterContract } from './adapter-contract.ts';
import { serviceWorld } from './service-world.ts';

adapterContract('service of layer 4', async () => {
  const running = await RunningService.start({ layer: 4, open: openEncryption });
  return serviceWorld(running);
});

describe.skipIf('missing' in softHsm)('with its root KEK in a token', () => {
  afterAll(removeOriginals);
  adapterContract('service of layer 4', async () => {
    const hsm = await makeRootToken('root');
    const config = { token: rootTokenConfig(hsm) };
    const running = await RunningService.start({ layer: 4, open: openEncryption, config });
    const world = await serviceWorld(running);
    return {
      ...world,
      close: async () => {
        await world.close();
        await hsm.remove();
      },
    };
  });
});

/** One for all: it takes seconds to start. Every world has tables of its own. */
let embedded: Promise<PgliteDatabase> | undefined;
afterAll(async () => (await embedded)?.close());

adapterContract('service of layer 5', async () => {
  const database = await (embedded ??= PgliteDatabase.startInMemory());
  await database.transactAsOwner((on) => on.script('DROP SCHEMA IF EXISTS gyre CASCADE'));
  const kept: Database = {
    kind: database.kind,
    transact: (actor, work) => database.transact(actor, work),
    transactAsOwner: (work) => database.transactAsOwner(work),
    close: async () => undefined,
  };
  const folder = serviceFolder();
  const encryption = await RunningService.start({ layer: 4, open: openEncryption, folder });
  const open = (ports: Parameters<typeof serviceOn>[0]) => serviceOn(ports, kept);
  return serviceWorld(await RunningService.start({ layer: 5, open, folder }), [encryption]);
});
