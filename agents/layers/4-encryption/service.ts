/**
 * The service of layer 4: root KEK, in a token where one is configured, KEK and single-use data keys,
 * each wrapped by the one above it. It
 * serves data keys to the other services, and encrypts and decrypts whole objects for whoever has a
 * capability. Turning the KEK wraps data keys anew in the background, turning the root KEK the shares
 * of the KEK; no data is touched, and a key goes only when nothing is under it any more.
 */

import { openDatabase } from '../sqlite.ts';
import { BackgroundWork } from '../service/background-work.ts';
import { healthOf, metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { KeyCustody, LayerService, OpenService, ServicePorts } from '../service/service.ts';
import { layer, openAdapter } from './adapter.ts';
import { DataKeyStore } from './data-key-store.ts';
import { DataKeys } from './data-keys.ts';
import { KekShares, kekSlot } from './kek-shares.ts';
import { Objects } from './objects.ts';
import { custodyOf, openRootToken, requireRoot } from './root-custody.ts';
import { RootKey, rootSlot } from './root-key.ts';
import type { RootToken } from './root-token.ts';
import { refuseUsed, RootTurns } from './root-turns.ts';
import { encryptionRoutes } from './routes.ts';

const recentUseMsDefault = 1_000;
const databaseName = 'data-keys.db';

/** @throws AdapterError, BootError */
export const openService: OpenService = async (ports) => {
  const token = await openRootToken(ports);
  try {
    return await openWith(ports, token);
  } catch (error) {
    await token?.close();
    throw error;
  }
};

async function openWith(ports: ServicePorts, token: RootToken | undefined): Promise<LayerService> {
  const { disk, crypto, clock, config, log } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseMsDefault;
  const elsewhere = token === undefined ? {} : { elsewhere: { [rootSlot]: token } };
  const keys = openAdapter({ disk, crypto, clock, usageWindowMs, ...elsewhere });
  const settings = KeptSettings.open(disk);
  const database = openDatabase(disk, databaseName);
  try {
    const held = token === undefined ? {} : { token };
    const root = new RootKey({ keys, crypto, clock, ...held });
    const shares = new KekShares({
      database,
      store: keys.store,
      crypto,
      root,
      onDamage: (kekVersion) => log.error({ kekVersion }, 'the share of a KEK does not open'),
    });
    const store = new DataKeyStore(database);
    const dataKeys = new DataKeys({ keys, store, shares, crypto, clock });
    const objects = new Objects({ dataKeys, store, settings, crypto });
    await requireRoot({ keys, root, shares }, token);
    const custody = (): KeyCustody => custodyOf({ root, shares }, token);
    log.info({ ...custody() }, 'the root KEK is there');
    return serviceOf({
      ports,
      keys,
      settings,
      shares,
      store,
      dataKeys,
      objects,
      custody,
      close: async () => {
        store.close();
        keys.close();
        await token?.close();
      },
    });
  } catch (error) {
    database.close();
    keys.close();
    throw error;
  }
}

interface Parts {
  readonly ports: ServicePorts;
  readonly keys: ReturnType<typeof openAdapter>;
  readonly settings: KeptSettings;
  readonly shares: KekShares;
  readonly store: DataKeyStore;
  readonly dataKeys: DataKeys;
  readonly objects: Objects;
  readonly custody: () => KeyCustody;
  /** Stores and token. */
  readonly close: () => Promise<void>;
}

function serviceOf(parts: Parts): LayerService {
  const { ports, keys, settings, shares, store, dataKeys, objects, custody } = parts;
  const { clock, log } = ports;
  const rootTurns = new RootTurns({ keys, shares, dataKeys, log });
  const work = {
    root: new BackgroundWork({
      name: 'bring the root KEK to rest',
      clock,
      log,
      batch: () => rootTurns.bringToRest(),
    }),
    dataKeys: new BackgroundWork({
      name: 'wrap data keys anew',
      clock,
      log,
      batch: () => dataKeys.rewrapBatch(),
    }),
  };
  const { app, refusals, peerRoutes } = encryptionRoutes({
    dataKeys,
    objects,
    desk: { authorization: () => ports.peer(2) },
    health: () => healthOf(layer, keys, settings),
    log,
  });
  const wake = async (): Promise<void> => {
    work.root.wake();
    work.dataKeys.wake();
  };
  return {
    custody,
    adapter: new HookedAdapter('encryption-service', keys, {
      [rootSlot]: rootTurns.hooks(wake),
      [kekSlot]: kekHooks(parts, wake),
    }),
    routes: app,
    peerRoutes,
    configure: async (told) => settings.adopt(told),
    measure: () =>
      metricsOf(
        {
          objects: store.count(),
          'objects-to-rewrap': dataKeys.waiting(),
          'objects-rewrapped': dataKeys.rewrapped,
          'objects-damaged': store.countDamaged(),
          'policy-version': settings.current.policyVersion,
        },
        refusals,
      ),
    takeCounts: () => keys.usage.takeCounts(),
    start: async () => {
      work.root.start();
      work.dataKeys.start();
    },
    stop: async () => {
      await work.root.stop();
      await work.dataKeys.stop();
      shares.close();
      await parts.close();
    },
  };
}

function kekHooks({ keys, shares, store, dataKeys }: Parts, wake: () => Promise<void>): SlotHooks {
  return {
    prepared: (version) => shares.ensure(version),
    activated: wake,
    verify: async (version) =>
      (await dataKeys.probe(version))
        ? { ok: true }
        : { ok: false, reason: `a data key under version ${version} of ${kekSlot} does not open` },
    rolledBack: async () => {
      await shares.reconcile();
      await wake();
    },
    users: async (version) => store.countUnder(version),
    retiring: async (version) => {
      refuseUsed(kekSlot, version, { users: store.countUnder(version), are: 'objects' });
      // The key store refuses to destroy a primary key, but only after this.
      if (keys.store.primary(kekSlot)?.version !== version) shares.forget(version);
    },
  };
}
