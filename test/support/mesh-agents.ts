/**
 * The agents of a mesh in one process, put together as their processes put them together: the signer with
 * its vault, channels' secrets by epochs behind the gate. What is outside of an agent comes from its host:
 * time, cryptography, the bus, the disk. Where a test is about something else the secrets may be fixed,
 * which saves the seconds in which first epochs begin.
 */

import type { DatabaseSync } from 'node:sqlite';
import { Auditor, type AuditorPorts } from '#agents/auditor/auditor.ts';
import { embeddedSigning } from '#agents/layers/7-self-healing/claim-signing.ts';
import { Healer } from '#agents/layers/7-self-healing/healer.ts';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import { algorithmClaims, type AlgorithmClaims } from '#agents/layers/algorithm-capabilities.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { LayerAgent } from '#agents/layers/layer-agent.ts';
import { Negotiator } from '#agents/layers/negotiator.ts';
import { ReportOutbox } from '#agents/layers/report-outbox.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { AgentTelemetry } from '#agents/layers/telemetry.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { Orchestrator } from '#agents/orchestrator/orchestrator.ts';
import { TelemetryDesk } from '#agents/orchestrator/telemetry-desk.ts';
import { CertificateOffice } from '#agents/signer/certificate-office.ts';
import { CheckpointMemory } from '#agents/signer/checkpoint-memory.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault } from '#agents/signer/epoch-vault.ts';
import { Signer } from '#agents/signer/signer.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import type { AgentConfig } from '#schemas/config.ts';
import { healingLayer } from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { archiveChannel, channelsOf } from '#shared/core/channels.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { BulkSender } from '#shared/runtime/bulk-sender.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { heldForDocuments } from '#shared/runtime/document-gate.ts';
import { DocumentQuestions } from '#shared/runtime/document-questions.ts';
import { gatedBus } from '#shared/runtime/epoch-gate.ts';
import { EpochMember } from '#shared/runtime/epoch-member.ts';
import { Notices } from '#shared/runtime/notices.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { Principal } from '#shared/runtime/principal.ts';
import { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { TrustStore } from '#shared/runtime/trust-store.ts';

export interface AgentChoices {
  /** 0 makes both orchestrators act on everything at once. */
  readonly takeoverMs?: number;
  /** Wraps the adapter of a layer: a fake with behaviour, to make a system fail. */
  readonly adapterOf?: (layer: number, adapter: EmbeddedAdapter, booted: Booted) => LayerAdapter;
  /** The signer is an authority for these names; its token has the key for it. */
  readonly certificateNames?: readonly string[];
  /** What layer agents ask of negotiations. */
  readonly negotiation?: AgentConfig['negotiation'];
  /** What layer agents can do; unless told, what the provider shows in self-tests that it can. */
  readonly claimsOf?: (layer: LayerNumber) => () => AlgorithmClaims;
  /** How far back a use of an old key holds it; 100 ms unless told. */
  readonly usageWindowMs?: number;
  /** Layer agents send telemetry, with so long between two heartbeats, and layer 7 heals by it. */
  readonly heartbeatMs?: number;
  /** How long layer 7 gathers anomalies; 2,000 unless told. */
  readonly gatherMs?: number;
  /** Told of each layer agent that runs, and of its keys. */
  readonly layerBegun?: (agent: LayerAgent, embedded: EmbeddedAdapter) => void;
  readonly auditor?: Pick<AuditorPorts, 'checkpointLeaves' | 'checkpointMs' | 'lookMs'>;
}

export interface Running {
  stop(): Promise<void>;
}

export type Booted = ReturnType<typeof bootInMemory>;

/** What stands around one agent in one of its lives. */
export interface Host {
  readonly agentId: string;
  readonly clock: Clock;
  readonly crypto: CryptoProvider;
  readonly log: Log;
  /** Its own, at genesis. */
  readonly trust: TrustView;
  readonly signingKey: SigningKey;
  /** Connected. */
  readonly bus: Bus;
  /** An `EpochKeyring` has secrets drawn, renewed and wiped as in production; others are fixed. */
  readonly keyring: ChannelKeyring;
  readonly disk: Disk;
}

/** What `bootAgent` does for a process. */
export function bootInMemory(host: Host) {
  const { agentId, clock, crypto, disk, keyring, log, trust } = host;
  const agent = trust.agent(agentId);
  if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
  const { kind } = agent;
  const { readable, memberOf } = secretsOf(host, agent);
  const catchUp = (): Promise<void> => questions.catchUp();
  const isLockedOut = (id: string): boolean => trustDesk.isLockedOut(id);
  const bus = heldForDocuments(readable, { crypto, trust, clock, catchUp });
  const store = TrustStore.open({ disk, crypto, trust });
  const trustDesk = new TrustDesk({ agentId, kind, trust, store, crypto, bus, clock, log });
  const observesAll = kind === 'auditor';
  const exchange = new Principal({ ...host, bus, observesAll, catchUp, isLockedOut });
  const questions = new DocumentQuestions({ ...host, trustDesk, exchange });
  const epochs = memberOf(exchange);
  const subjects = subjectsOf(trust.mesh);
  const shared = { agentId, bus, exchange, trust, crypto, clock, log, subjects, keyring };
  const admits = (id: string, atMs: number): boolean => trustDesk.admits(id, atMs);
  const notices = new Notices({ ...shared, kind, catchUp, admits });
  notices.on('document-offered', (event, storedAtMs) => trustDesk.offered(event, storedAtMs));
  if (epochs !== undefined && kind !== 'orchestrator') {
    notices.on('epoch-entry', (event) => epochs.onEntry(event));
  }
  const { signingKey } = host;
  return { ...shared, kind, trustDesk, notices, epochs, isLockedOut, disk, signingKey };
}

/** An operator keeps nothing: as the command line does, it asks for secrets when it joins. */
export function bootOperator(host: Omit<Host, 'disk'>, catchUp: () => Promise<void>) {
  const { readable: bus, memberOf } = secretsOf(host, { kind: 'operator' });
  const exchange = new Principal({ ...host, bus, catchUp });
  const epochs = memberOf(exchange);
  return {
    exchange,
    keyring: host.keyring,
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

/** A member's bus behind the gate, and its membership in epochs once it has an exchange. */
function secretsOf(host: Omit<Host, 'disk'>, agent: Pick<Enrolled, 'kind' | 'layer'>) {
  const { bus, crypto, keyring, trust } = host;
  if (!(keyring instanceof EpochKeyring)) return { readable: bus, memberOf: () => undefined };
  let member: EpochMember | undefined;
  const whenReadable = (
    name: { channel: string; epoch: number },
    sender: string,
  ): Promise<boolean> => member?.whenReadable(name, sender) ?? Promise.resolve(false);
  const unanswered = (): void => member?.unanswered();
  const readable = gatedBus(bus, { crypto, trust, keyring, epochs: { whenReadable, unanswered } });
  const memberOf = (exchange: Principal): EpochMember => {
    const { kind } = agent;
    const channels = channelsOf(agent);
    const needed = kind === 'auditor' ? [...channels, archiveChannel] : channels;
    const subjects = subjectsOf(trust.mesh);
    const hasPrekeys = kind !== 'operator';
    member = new EpochMember({
      ...host,
      exchange,
      keyring,
      subjects,
      channels,
      needed,
      hasPrekeys,
    });
    return member;
  };
  return { readable, memberOf };
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

export async function startSigner(
  booted: Booted,
  token: Token,
  { certificateNames: names }: AgentChoices = {},
): Promise<Running> {
  const { crypto, disk, trust, epochs, keyring, log } = booted;
  const database = disk.database('signer.db');
  const outbox = outboxOf(booted, database);
  const record = new EpochRecord(database);
  const vault = await EpochVault.open({ disk, mesh: trust.mesh, token, record, log });
  (await vault.archiveKey(() => crypto.randomBytes(32))).fill(0);
  const certificates =
    names === undefined
      ? {}
      : { certificates: await CertificateOffice.open({ ...booted, token, database, names }) };
  const signer = new Signer({
    ...booted,
    ...certificates,
    outbox,
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

export async function startAuditor(booted: Booted, choices: AgentChoices): Promise<Running> {
  const { notices, epochs } = booted;
  await notices.start();
  await epochs?.start();
  await epochs?.ready({ withOlder: true });
  const auditor = await Auditor.open({ ...booted, lookMs: 200, ...choices.auditor });
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
  layer: LayerNumber,
  choices: AgentChoices,
): Promise<Running> {
  const { notices, epochs, bus, disk } = booted;
  const embedded = EmbeddedAdapter.open({ usageWindowMs: 100, ...booted, ...choices, layer });
  const adapter = choices.adapterOf?.(layer, embedded, booted) ?? embedded;
  const database = openDatabase(disk, 'store.db');
  const reports = new ReportOutbox({ ...booted, outbox: outboxOf(booted, database) });
  const claims =
    choices.claimsOf?.(layer) ??
    (await algorithmClaims({ ...booted, layer, ...choices.negotiation }));
  new Negotiator({ ...booted, claims }).listen(notices);
  const store = new StepStore(database);
  const agent = new LayerAgent({ ...booted, layer, claims, outbox: reports, store, adapter });
  await notices.start();
  await epochs?.start();
  await epochs?.ready();
  await reports.start();
  await agent.start();
  choices.layerBegun?.(agent, embedded);
  const besides =
    choices.heartbeatMs === undefined
      ? []
      : [
          startTelemetry(booted, { layer, embedded, heartbeatMs: choices.heartbeatMs }),
          ...(layer === healingLayer
            ? [await startHealer(booted, { agent, embedded, ...choices })]
            : []),
        ];
  return {
    stop: async () => {
      await notices.stop();
      for (const beside of besides) await beside.stop();
      await agent.stop();
      await reports.stop();
      await epochs?.stop();
      await bus.close();
      embedded.close();
      database.close();
    },
  };
}

/** As `layer-main.ts` does, but for the outbox of its own: what the bus does not take is lost. */
function startTelemetry(
  booted: Booted,
  parts: { layer: LayerNumber; embedded: EmbeddedAdapter; heartbeatMs: number },
): Running {
  const { agentId, bus, subjects } = booted;
  const { layer, embedded, heartbeatMs } = parts;
  const outbox = {
    enqueue: ({ subject, data, messageId }: Parameters<Outbox['enqueue']>[0]) =>
      void bus.publish({ subject, data, messageId }).catch(() => undefined),
  };
  const subject = subjects.telemetry(layer, agentId);
  const sender = new BulkSender({ ...booted, subject, outbox });
  const telemetry = new AgentTelemetry({
    ...booted,
    sender,
    usage: embedded.usage,
    adapter: embedded,
    measure: () => ({ 'resident-bytes': process.memoryUsage.rss() }),
    heartbeatMs,
  });
  telemetry.start();
  return {
    stop: async () => {
      await telemetry.stop();
      await sender.stop();
    },
  };
}

async function startHealer(
  booted: Booted,
  parts: { agent: LayerAgent; embedded: EmbeddedAdapter; gatherMs?: number },
): Promise<Running> {
  const { agent, embedded, gatherMs = 2_000 } = parts;
  const healer = new Healer({
    ...booted,
    receiver: new BulkReceiver(booted),
    sign: embeddedSigning(embedded, booted),
    gatherMs,
    request: (body) => agent.requestHealing(body),
  });
  await healer.start();
  return healer;
}

function outboxOf({ clock }: Booted, database: DatabaseSync): Outbox {
  const ignore = (): void => undefined;
  return new Outbox({ database, clock, onConflict: ignore, onTrouble: ignore });
}
