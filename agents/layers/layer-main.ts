/**
 * The wiring of a layer agent's process: configuration, bus and identity from `bootAgent`, the two
 * databases, the adapter, the key service on its socket, the agent itself. SIGTERM ends it after the
 * step that is running; a crash ends it anywhere, and the next start finds what was interrupted.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { HealingActionRequested } from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { BootError, bootAgent, runAgent, type BootedAgent } from '#shared/runtime/boot.ts';
import { BulkSender } from '#shared/runtime/bulk-sender.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { LayerAdapter } from './adapter.ts';
import type { EmbeddedAdapter, EmbeddedOptions } from './embedded/embedded-adapter.ts';
import { EmbeddedWorkload } from './embedded/embedded-workload.ts';
import { algorithmClaims } from './algorithm-capabilities.ts';
import { KeyService } from './key-service.ts';
import { openAttached } from './attached/open-attached.ts';
import { LayerAgent } from './layer-agent.ts';
import { ReportOutbox } from './report-outbox.ts';
import { Negotiator } from './negotiator.ts';
import { openDatabase } from './sqlite.ts';
import type { CertifiedSystem } from './service/certificate-authority.ts';
import { ServiceLink } from './service/service-link.ts';
import { StepStore } from './step-store.ts';
import { AgentTelemetry, type AgentTelemetryPorts } from './telemetry.ts';

export interface LayerProcess {
  readonly layer: LayerNumber;
  readonly openAdapter: (options: Omit<EmbeddedOptions, 'layer'>) => EmbeddedAdapter;
  readonly configPath: string | undefined;
  /** What runs beside the agent, where a layer has such a thing: it may ask for healing. */
  readonly beside?: (
    booted: BootedAgent,
    request: (body: HealingActionRequested) => void,
  ) => Promise<Beside>;
  /** What stands between the agent and its system, where turning a key needs somebody to certify it. */
  readonly attach?: (booted: BootedAgent, remote: CertifiedSystem) => Attached;
}

interface Attached extends LayerAdapter {
  start(): void;
  stop(): Promise<void>;
}

interface Beside {
  /** Joins what the agent measures. */
  measure(): Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

/** How long an old key counts as used after its last use, unless the configuration says otherwise. */
const recentUseMsDefault = 1_000;
/** What every system takes as the name of a unix socket. */
const socketPathBytesMax = 103;
/** Between two heartbeats, unless the configuration says otherwise. */
export const heartbeatMsDefault = 1_000;
/** Batches that wait for the bus; what comes when it is full is dropped. */
const telemetryLimits = { rowsMax: 128, bytesMax: 8 * 1024 * 1024, windowMax: 8 };

/** Runs until SIGTERM or SIGINT; exit code 1 where it cannot begin. */
export function runLayerAgent(processOf: LayerProcess): void {
  runAgent(() => startLayerAgent(processOf));
}

async function startLayerAgent(processOf: LayerProcess) {
  const { layer, configPath, beside } = processOf;
  if (configPath === undefined) {
    throw new BootError('CONFIG_UNREADABLE', 'no configuration file was named', 'name one');
  }
  const booted = await bootAgent(configPath);
  const { config, crypto, clock, log, trust, exchange, bus, disk } = booted;
  if (config.layer !== layer) {
    const remedy = `use the configuration of a layer ${layer} agent`;
    throw new BootError('CONFIG_INVALID', `the configuration is not for layer ${layer}`, remedy);
  }
  const keys = await openKeys(booted, processOf);
  const { adapter } = keys;
  const database = openDatabase(disk, 'store.db');
  const outbox = reportOutboxOf(booted, database);
  const store = new StepStore(database);
  const claims = await algorithmClaims({ layer, crypto, trust, ...config.negotiation });
  new Negotiator({
    ...booted,
    agentId: config.agentId,
    subjects: subjectsOf(trust.mesh),
    claims,
    isLockedOut: (agentId) => booted.trustDesk.isLockedOut(agentId),
  }).listen(booted.notices);
  const agent = new LayerAgent({
    layer,
    claims,
    exchange,
    bus,
    outbox,
    store,
    adapter,
    trust,
    trustDesk: booted.trustDesk,
    crypto,
    clock,
    log,
  });
  await booted.notices.start();
  await booted.epochs.start();
  await booted.epochs.ready();
  await outbox.start();
  await agent.start();
  keys.start?.();
  const besides = await beside?.(booted, (body) => agent.requestHealing(body));
  const measure = async () => ({ ...(await keys.measure()), ...besides?.measure() });
  const telemetry = startTelemetry(booted, { ...keys, measure }, layer);
  log.info({ layer, adapter: adapter.name }, 'the layer agent is ready');
  return {
    stop: async (): Promise<void> => {
      await booted.notices.stop();
      await besides?.stop();
      await agent.stop();
      await telemetry.stop();
      await outbox.stop();
      await booted.epochs.stop();
      await bus.close();
      await keys.stop();
      database.close();
    },
  };
}

/** The layer's keys: in its service, where one is configured, otherwise in the agent itself. */
interface LayerKeys {
  readonly adapter: LayerAdapter;
  readonly usage: AgentTelemetryPorts['usage'];
  readonly measure: AgentTelemetryPorts['measure'];
  /** Once the agent can ask others. */
  start?(): void;
  stop(): Promise<void>;
}

/** What else held the keys would serve on with some that nobody turns. */
function requireOneHolder({ serviceControlSocket, attached }: BootedAgent['config']): void {
  if (serviceControlSocket === undefined || attached === undefined) return;
  const what = 'serviceControlSocket and attached both name who holds the keys';
  const remedy = "keep one of them, and end the layer's service where something else is attached";
  throw new BootError('CONFIG_INVALID', what, remedy);
}

/** @throws BootError CONFIG_INVALID, AdapterError */
export async function openKeys(
  booted: BootedAgent,
  { layer, openAdapter, attach }: LayerProcess,
): Promise<LayerKeys> {
  const { config, disk, crypto, clock, log } = booted;
  requireOneHolder(config);
  if (config.serviceControlSocket !== undefined) {
    const controlSocket = booted.resolve(config.serviceControlSocket);
    const link = await ServiceLink.open({ ...booted, controlSocket });
    const { adapter: remote } = link;
    const attached = attach?.(booted, remote);
    return {
      adapter: attached ?? remote,
      usage: remote,
      measure: () => remote.measure(),
      start: () => attached?.start(),
      stop: async (): Promise<void> => {
        await attached?.stop();
        await link.stop();
      },
    };
  }
  const usageWindowMs = config.recentUseMs ?? recentUseMsDefault;
  if (config.attached !== undefined) {
    const { resolve } = booted;
    if (config.attached.kind === 'certificate-files' && attach === undefined) {
      const remedy = "attach certificate files to layer 3's agent";
      throw new BootError('CONFIG_INVALID', `layer ${layer} has no certificates`, remedy);
    }
    const options = { layer, disk, crypto, clock, log, usageWindowMs, resolve };
    const opened = await openAttached(config.attached, options);
    const { takeCounts, close, certified, measure } = opened;
    const attached = certified === undefined ? undefined : attach?.(booted, certified);
    return {
      adapter: attached ?? opened.adapter,
      usage: { takeCounts },
      measure: () => measure?.() ?? {},
      start: () => attached?.start(),
      stop: async (): Promise<void> => {
        await attached?.stop();
        close();
      },
    };
  }
  const adapter = openAdapter({ disk, crypto, clock, usageWindowMs });
  const service = keyServiceOf(booted, adapter, layer);
  await service?.start();
  return {
    adapter,
    usage: adapter.usage,
    measure: () => ({}),
    stop: async (): Promise<void> => {
      await service?.stop();
      adapter.close();
    },
  };
}

function reportOutboxOf(
  { bus, exchange, clock, log }: BootedAgent,
  database: DatabaseSync,
): ReportOutbox {
  const outbox = new Outbox({
    database,
    clock,
    onConflict: ({ messageId }) => invariant(false, `report ${messageId} expects no place`),
    onTrouble: (error) => log.warn({ code: error.code }, 'a report waits in the outbox'),
  });
  return new ReportOutbox({ outbox, bus, exchange, log });
}

/** An outbox of its own: telemetry never takes the room of a report. */
function startTelemetry(booted: BootedAgent, keys: LayerKeys, layer: LayerNumber) {
  const { config, trust, bus, clock, log, disk } = booted;
  const { agentId } = config;
  const database = openDatabase(disk, 'telemetry.db');
  const outbox = new Outbox({
    database,
    clock,
    limits: telemetryLimits,
    settledBy: 'bus',
    onConflict: ({ messageId }) => invariant(false, `batch ${messageId} expects no place`),
    onTrouble: (error) => log.debug({ code: error.code }, 'telemetry waits in its outbox'),
  });
  const drain = outbox.drain(bus);
  const subject = subjectsOf(trust.mesh).telemetry(layer, agentId);
  const sender = new BulkSender({ ...booted, agentId, subject, outbox });
  const telemetry = new AgentTelemetry({
    sender,
    usage: keys.usage,
    adapter: keys.adapter,
    measure: async () => ({
      'resident-bytes': process.memoryUsage.rss(),
      ...(await keys.measure()),
    }),
    heartbeatMs: config.heartbeatMs ?? heartbeatMsDefault,
    clock,
    log,
  });
  telemetry.start();
  return {
    stop: async (): Promise<void> => {
      await telemetry.stop();
      await sender.stop();
      await drain.stop();
      database.close();
    },
  };
}

function keyServiceOf(
  booted: BootedAgent,
  { store, usage }: EmbeddedAdapter,
  layer: LayerNumber,
): KeyService | undefined {
  const { config, crypto, clock, log } = booted;
  if (config.keyServiceSocket === undefined) return undefined;
  const socketPath = booted.resolve(config.keyServiceSocket);
  if (Buffer.byteLength(socketPath) > socketPathBytesMax) {
    const remedy = 'use a folder with a shorter path';
    throw new BootError('CONFIG_INVALID', `${socketPath} is too long for a unix socket`, remedy);
  }
  const workload = new EmbeddedWorkload({ layer, store, usage, crypto, clock });
  return new KeyService({ workload, socketPath, log });
}
