/**
 * The service of layer 5: records with encrypted columns, signed and chained, in PostgreSQL or in the
 * embedded PGlite. Turning the signature key signs every entry anew, turning the column key
 * encrypts every cell anew, both in the background; a key goes only when nothing is under it any more.
 */

import { readFileSync } from 'node:fs';
import { AdapterError } from '../adapter.ts';
import { BackgroundWork } from '../service/background-work.ts';
import { breakerMetrics } from '../service/circuit-breaker.ts';
import { healthOf, metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { LayerService, OpenService, ServicePorts } from '../service/service.ts';
import { layer, openAdapter } from './adapter.ts';
import { ChainAnchor } from './chain-anchor.ts';
import { ChainCheck } from './chain-check.ts';
import { ChainEnd } from './chain-end.ts';
import { ChainPass } from './chain-pass.ts';
import { asStep, ColumnKeys, columnSlot } from './column-keys.ts';
import type { Database } from './database.ts';
import { GuardedDatabase } from './guarded-database.ts';
import { HeldVersions } from './held-versions.ts';
import { PgliteDatabase } from './pglite.ts';
import { PostgresqlDatabase } from './postgresql.ts';
import { RecordColumns } from './record-columns.ts';
import { RecordHeads } from './record-heads.ts';
import { RecordSignatures, signatureSlot } from './record-signatures.ts';
import { Records } from './records.ts';
import { databaseRoutes } from './routes.ts';
import { prepareSchema } from './schema.ts';
import { Upkeep, type UpkeepSlot } from './upkeep.ts';

const recentUseMsDefault = 1_000;
const folderName = 'pglite';
/** Of the chain's verification: requests go first. */
const passPauseMs = 20;

/** @throws AdapterError */
export const openService: OpenService = async (ports) => serviceOn(ports, await databaseOf(ports));

/** The service on a database, which it closes in the end. @throws AdapterError */
export async function serviceOn(ports: ServicePorts, database: Database): Promise<LayerService> {
  const guarded = new GuardedDatabase(database, ports);
  const { disk, crypto, clock, config } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseMsDefault;
  let keys: ReturnType<typeof openAdapter> | undefined;
  try {
    keys = openAdapter({ disk, crypto, clock, usageWindowMs });
    await prepareSchema(guarded);
    return serviceOf(ports, keys, guarded);
  } catch (error) {
    await guarded.close();
    keys?.close();
    throw error;
  }
}

async function databaseOf({ config, disk, resolve, log }: ServicePorts): Promise<Database> {
  const { databaseUrlFile } = config;
  if (databaseUrlFile === undefined) return await PgliteDatabase.start(disk.place(folderName));
  return new PostgresqlDatabase(readUrl(resolve(databaseUrlFile)), log);
}

function readUrl(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new AdapterError('STORE_FAILED', 'the URL of the database cannot be read', { cause });
  }
}

interface Parts {
  readonly keys: ReturnType<typeof openAdapter>;
  readonly columnKeys: ColumnKeys;
  readonly held: HeldVersions;
  readonly upkeep: Upkeep;
  readonly work: Readonly<Record<UpkeepSlot, BackgroundWork>>;
}

function serviceOf(
  ports: ServicePorts,
  keys: ReturnType<typeof openAdapter>,
  database: GuardedDatabase,
): LayerService {
  const { crypto, clock, log, disk } = ports;
  const settings = KeptSettings.open(disk);
  const encryption = () => ports.peer(4);
  const columnKeys = new ColumnKeys({ keys, crypto, clock, log, database, encryption });
  const signatures = new RecordSignatures(keys, crypto, clock);
  const anchor = new ChainAnchor(disk, clock, log);
  const heads = RecordHeads.open({ disk, crypto, clock, log });
  const held = new HeldVersions();
  const shared = { database, keys, columnKeys, signatures, held, crypto };
  const columns = new RecordColumns({ keys, columnKeys, crypto, clock });
  const end = new ChainEnd({ database, signatures, anchor });
  const records = new Records({ ...shared, columns, anchor, end, heads, clock });
  const check = new ChainCheck({ database, columns, signatures, anchor, heads, crypto });
  const pass = new ChainPass({ check, heads, disk, clock, log });
  const upkeep = new Upkeep(shared);
  const work = workOf(upkeep, ports);
  const inBackground = [...Object.values(work), ...passWorkOf(pass, ports)];
  const { app, refusals, peerRoutes, adminRoutes } = databaseRoutes({
    records,
    check,
    desk: { authorization: () => ports.peer(2) },
    health: () => healthOf(layer, keys, settings),
    log,
  });
  const parts = { keys, columnKeys, held, upkeep, work };
  return {
    adapter: new HookedAdapter(`database-service-${database.kind}`, keys, {
      [signatureSlot]: hooksOf(parts, signatureSlot),
      [columnSlot]: { ...hooksOf(parts, columnSlot), ...columnHooks(parts) },
    }),
    routes: app,
    peerRoutes,
    adminRoutes,
    configure: async (told) => settings.adopt(told),
    measure: () => metricsOf(measured({ upkeep, pass, anchor, settings, database }), refusals),
    takeCounts: () => keys.usage.takeCounts(),
    start: async () => {
      for (const each of inBackground) each.start();
    },
    stop: async () => {
      for (const each of inBackground) await each.stop();
      anchor.write();
      heads.close();
      columnKeys.close();
      await database.close();
      keys.close();
    },
  };
}

/** Under 16: what is left are the most frequent refusals. */
function measured(of: {
  readonly upkeep: Upkeep;
  readonly pass: ChainPass;
  readonly anchor: ChainAnchor;
  readonly settings: KeptSettings;
  readonly database: GuardedDatabase;
}): Record<string, number> {
  const { toResign, toRekey, tampered } = of.upkeep.progress;
  const { checked, standing, found, ageMs } = of.pass.progress;
  return {
    'chain-length': of.anchor.current?.sequence ?? 0,
    'chain-checked': checked,
    'chain-pass-age-ms': ageMs,
    'chain-faults': standing,
    'integrity-faults': found,
    'entries-to-resign': toResign,
    'cells-to-rekey': toRekey,
    'rows-tampered': tampered,
    'policy-version': of.settings.current.policyVersion,
    ...breakerMetrics([['database', of.database.breaker]]),
  };
}

function workOf(upkeep: Upkeep, { clock, log }: ServicePorts): Parts['work'] {
  const common = { clock, log };
  return {
    [signatureSlot]: new BackgroundWork({
      ...common,
      name: 'sign anew',
      batch: () => upkeep.resignBatch(),
    }),
    [columnSlot]: new BackgroundWork({
      ...common,
      name: 'encrypt anew',
      batch: () => upkeep.rekeyBatch(),
    }),
  };
}

function passWorkOf(pass: ChainPass, { clock, log }: ServicePorts): BackgroundWork[] {
  const batch = () => pass.batch();
  const again = () => pass.lookAgain();
  return [
    new BackgroundWork({ clock, log, name: 'verify', batch, pauseMs: passPauseMs }),
    new BackgroundWork({ clock, log, name: 'verify faults', batch: again }),
  ];
}

/** Of either slot. */
function hooksOf({ keys, held, upkeep, work }: Parts, slot: UpkeepSlot): SlotHooks {
  /** Nothing is asked of the database: whether it answers or not, the key is turned. */
  const wake = async (): Promise<void> => {
    work[slot].wake();
  };
  /** What is about to be committed first: whoever is done with that is in the count. */
  const users = async (version: number): Promise<number> => {
    const underWay = held.count(slot, version);
    return underWay + (await upkeep.users(slot, [version]));
  };
  return {
    activated: wake,
    rolledBack: wake,
    users,
    retiring: async (version) => {
      const count = keys.store.primary(slot)?.version === version ? 0 : await users(version);
      if (count === 0) return;
      const what = `${count} rows are still under version ${version} of ${slot}`;
      throw new AdapterError('STATE_CONFLICT', what, { retryable: true });
    },
  };
}

/** A column key has a half at layer 4, which comes and goes with it. */
function columnHooks(parts: Parts): SlotHooks {
  const { keys, columnKeys } = parts;
  const whole = hooksOf(parts, columnSlot);
  return {
    prepared: async (version) => {
      await asStep(() => columnKeys.open(version));
    },
    verify: async (version) => {
      await asStep(() => columnKeys.open(version));
      return { ok: true };
    },
    rolledBack: async (version) => {
      for (const stored of keys.store.versions(columnSlot)) {
        if (stored.state === 'destroyed') columnKeys.forget(stored.version);
      }
      await whole.rolledBack?.(version);
    },
    retiring: async (version) => {
      await whole.retiring?.(version);
      const state = keys.store.version(columnSlot, version)?.state;
      // The key store refuses to destroy a primary key, but only after this.
      if (state !== undefined && state !== 'primary') await columnKeys.destroy(version);
    },
  };
}
