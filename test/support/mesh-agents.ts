/**
 * The agents of a mesh in one process, put together as their processes put them together: real databases
 * in a folder each, the signer with its vault, channels' secrets by epochs behind the gate. Where a test
 * is about something else the secrets may be fixed, which saves the seconds in which first epochs begin.
 */

import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Auditor } from '#agents/auditor/auditor.ts';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import { algorithmClaims } from '#agents/layers/algorithm-capabilities.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { LayerAgent } from '#agents/layers/layer-agent.ts';
import { Negotiator } from '#agents/layers/negotiator.ts';
import { ReportOutbox } from '#agents/layers/report-outbox.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { Orchestrator } from '#agents/orchestrator/orchestrator.ts';
import { TelemetryDesk } from '#agents/orchestrator/telemetry-desk.ts';
import { CheckpointMemory } from '#agents/signer/checkpoint-memory.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault } from '#agents/signer/epoch-vault.ts';
import { Signer } from '#agents/signer/signer.ts';
import type { AgentConfig } from '#schemas/config.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { archiveChannel, channelsOf } from '#shared/core/channels.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { gatedBus } from '#shared/runtime/epoch-gate.ts';
import { EpochMember } from '#shared/runtime/epoch-member.ts';
import { Notices } from '#shared/runtime/notices.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { TrustStore } from '#shared/runtime/trust-store.ts';
import { KeysInMemory } from './keys-in-memory.ts';
import { crypto, quiet, type World } from './world.ts';

export interface AgentChoices {
  /** 0 makes both orchestrators act on everything at once. */
  readonly takeoverMs?: number;
  /** Wraps the adapter of a layer: a fake with behaviour, to make a system fail. */
  readonly adapterOf?: (layer: number, adapter: EmbeddedAdapter) => LayerAdapter;
  /** What layer agents ask of negotiations. */
  readonly negotiation?: AgentConfig['negotiation'];
  /** Secrets of channels are drawn, renewed and wiped as in production; else they are fixed. */
  readonly hasEpochs?: boolean;
}

export interface Running {
  stop(): Promise<void>;
}

export type Booted = ReturnType<typeof bootInMemory>;

/** What `bootAgent` does for a process. */
export function bootInMemory(
  world: World,
  agentId: string,
  { directory, hasEpochs = false }: { readonly directory: string; readonly hasEpochs?: boolean },
) {
  const { clock } = world;
  const trust = world.newTrust();
  const agent = trust.agent(agentId);
  if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
  const { kind } = agent;
  const { bus, keyring, memberOf } = secretsIn(world, agent, { trust, hasEpochs });
  const store = TrustStore.open({ directory, crypto, trust });
  const trustDesk = new TrustDesk({ agentId, kind, trust, store, crypto, bus, clock, log: quiet });
  const catchUp = (): Promise<void> => trustDesk.catchUp();
  const isLockedOut = (id: string): boolean => trustDesk.isLockedOut(id);
  const observesAll = kind === 'auditor';
  const choices = { bus, keyring, observesAll, trust, catchUp, isLockedOut };
  const exchange = world.principal(agentId, choices);
  const epochs = memberOf(exchange);
  const subjects = subjectsOf(world.mesh);
  const shared = { agentId, bus, exchange, trust, crypto, clock, log: quiet, subjects, keyring };
  const admits = (id: string, atMs: number): boolean => trustDesk.admits(id, atMs);
  const notices = new Notices({ ...shared, kind, catchUp, admits });
  notices.on('document-offered', (event, storedAtMs) => trustDesk.offered(event, storedAtMs));
  if (epochs !== undefined && kind !== 'orchestrator') {
    notices.on('epoch-entry', (event) => epochs.onEntry(event));
  }
  return { ...shared, kind, trustDesk, notices, epochs, isLockedOut, directory };
}

/** An operator keeps nothing: as the command line does, it asks for secrets when it joins. */
export function bootOperator(
  world: World,
  operatorId: string,
  ports: {
    readonly trust: TrustView;
    readonly catchUp: () => Promise<void>;
    readonly hasEpochs?: boolean;
  },
) {
  const { trust, catchUp, hasEpochs = false } = ports;
  const agent = { agentId: operatorId, kind: 'operator' } as const;
  const { bus, keyring, memberOf } = secretsIn(world, agent, { trust, hasEpochs });
  const exchange = world.principal(operatorId, { trust, catchUp, bus, keyring });
  const epochs = memberOf(exchange);
  return {
    exchange,
    keyring,
    join: async () => {
      await epochs?.start();
      await epochs?.ready();
    },
    stop: async () => {
      await epochs?.stop();
      await bus.close();
    },
  };
}

/** A member's bus, its keyring, and its membership in epochs once it has an exchange. */
function secretsIn(
  world: World,
  agent: Pick<Enrolled, 'agentId' | 'kind' | 'layer'>,
  { trust, hasEpochs }: { readonly trust: TrustView; readonly hasEpochs: boolean },
) {
  const { agentId, kind } = agent;
  const connected = world.bus(agentId);
  if (!hasEpochs) {
    const keyring: ChannelKeyring = world.keyring(agentId);
    return { bus: connected, keyring, memberOf: () => undefined };
  }
  const keyring = new EpochKeyring(crypto, world.mesh);
  let member: EpochMember | undefined;
  const whenReadable = (name: { channel: string; epoch: number }): Promise<boolean> =>
    member?.whenReadable(name) ?? Promise.resolve(false);
  const unanswered = (): void => member?.unanswered();
  const bus = gatedBus(connected, { crypto, trust, keyring, epochs: { whenReadable, unanswered } });
  const memberOf = (exchange: Principal): EpochMember => {
    const channels = channelsOf(agent);
    const needed = kind === 'auditor' ? [...channels, archiveChannel] : channels;
    const { clock, mesh } = world;
    const ports = { agentId, exchange, trust, crypto, clock, keyring, channels, needed };
    const hasPrekeys = kind !== 'operator';
    member = new EpochMember({ ...ports, log: quiet, subjects: subjectsOf(mesh), hasPrekeys });
    return member;
  };
  return { bus, keyring, memberOf };
}

export async function startOrchestrator(
  booted: Booted,
  { takeoverMs = 500 }: AgentChoices,
): Promise<Running> {
  const telemetry = new TelemetryDesk({ ...booted, receiver: new BulkReceiver(booted) });
  const { epochs, keyring, ...parts } = booted;
  const secrets = keyring instanceof EpochKeyring && epochs ? { epochs, keyring } : {};
  const orchestrator = new Orchestrator({ ...parts, ...secrets, telemetry, takeoverMs });
  await booted.notices.start();
  await orchestrator.start();
  return orchestrator;
}

export async function startSigner(booted: Booted, world: World): Promise<Running> {
  const { directory, trust, epochs, keyring, log } = booted;
  const database = new DatabaseSync(path.join(directory, 'signer.db'));
  const record = new EpochRecord(database);
  const token = new KeysInMemory(world);
  const vault = await EpochVault.open({
    directory: path.join(directory, 'epochs'),
    mesh: trust.mesh,
    token,
    record,
    log,
  });
  (await vault.archiveKey(() => crypto.randomBytes(32))).fill(0);
  const signer = new Signer({
    ...booted,
    outbox: outboxOf(booted, database),
    checkpoints: new CheckpointMemory(database, crypto),
    epochRecord: record,
    token,
    ...(keyring instanceof EpochKeyring && epochs
      ? {
          secrets: {
            keyring,
            known: epochs.announcements,
            onOrchestrator: () => epochs.offerAgain(),
          },
        }
      : {}),
    childRestarts: () => 0,
  });
  await booted.notices.start();
  await epochs?.start(vault);
  await signer.start();
  return {
    stop: async () => {
      await booted.notices.stop();
      await signer.stop();
      await epochs?.stop();
      database.close();
    },
  };
}

export async function startAuditor(booted: Booted): Promise<Running> {
  const { notices, epochs, directory: stateDirectory } = booted;
  await notices.start();
  await epochs?.start();
  await epochs?.ready();
  const auditor = await Auditor.open({ ...booted, stateDirectory, lookMs: 200 });
  await auditor.start();
  return {
    stop: async () => {
      await notices.stop();
      await auditor.stop();
      await epochs?.stop();
    },
  };
}

export async function startLayer(
  booted: Booted,
  layer: 1 | 2 | 3 | 4 | 5 | 6 | 7,
  choices: AgentChoices,
): Promise<Running> {
  const { directory, notices, epochs, bus } = booted;
  const embedded = EmbeddedAdapter.open({
    layer,
    databasePath: path.join(directory, 'keystore.db'),
    storeKeyPath: path.join(directory, 'keystore.key'),
    crypto,
    clock: booted.clock,
    usageWindowMs: 100,
  });
  const adapter = choices.adapterOf?.(layer, embedded) ?? embedded;
  const database = openDatabase(path.join(directory, 'store.db'));
  const reports = new ReportOutbox({ ...booted, outbox: outboxOf(booted, database) });
  const claims = await algorithmClaims({ ...booted, layer, ...choices.negotiation });
  new Negotiator({ ...booted, claims }).listen(notices);
  const store = new StepStore(database);
  const agent = new LayerAgent({ ...booted, layer, claims, outbox: reports, store, adapter });
  await notices.start();
  await epochs?.start();
  await epochs?.ready();
  await reports.start();
  await agent.start();
  return {
    stop: async () => {
      await notices.stop();
      await agent.stop();
      await reports.stop();
      await epochs?.stop();
      await bus.close();
      embedded.close();
      database.close();
    },
  };
}

function outboxOf({ clock }: Booted, database: DatabaseSync): Outbox {
  const ignore = (): void => undefined;
  return new Outbox({ database, clock, onConflict: ignore, onTrouble: ignore });
}
