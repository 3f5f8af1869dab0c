/**
 * From a configuration file to an agent on the bus: reads and checks the configuration, the trust
 * bundle against the pinned root, the agent's keys, connects, and arranges a graceful end. Everything
 * that can be wrong with a set-up ends here with a code and a remedy.
 */

import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { agentConfigCheck, agentConfigFaults, type AgentConfig } from '#schemas/config.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { connectNatsBus } from '#shared/bus/nats-bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { archiveChannel, channelsOf } from '#shared/core/channels.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import type { Disk } from './disk.ts';
import { heldForDocuments } from './document-gate.ts';
import { DocumentQuestions } from './document-questions.ts';
import { gatedBus, type GatePorts } from './epoch-gate.ts';
import { EpochMember } from './epoch-member.ts';
import { Notices } from './notices.ts';
import { Principal } from './principal.ts';
import type { Clock, Log } from './ports.ts';
import { preferenceDefault, suiteFault, testedProvider, type TestedProvider } from './providers.ts';
import { SystemDisk } from './system-disk.ts';
import { processLog, systemClock } from './system.ts';
import { TrustDesk } from './trust-desk.ts';
import { TrustStateError, TrustStore, type TrustStoreOptions } from './trust-store.ts';

export type BootErrorCode =
  | 'CONFIG_UNREADABLE'
  | 'CONFIG_INVALID'
  | 'SECRET_UNREADABLE'
  | 'TRUST_REFUSED'
  /** A stored document is not what was adopted once. */
  | 'ORCH-8010'
  | 'ORCH-8011'
  | 'NOT_ENROLLED'
  /** No listed provider passed its self-tests. */
  | 'PROVIDER_REFUSED'
  /** What a token answered, or that none is configured where keys are in one. */
  | `TOKEN_${string}`
  /** The token is there, and the key that it should have is not. */
  | 'ROOT_KEY_MISSING'
  /** The provider lacks what the mesh needs, or the policy forbids it. */
  | 'ORCH-8002'
  | 'ORCH-8003';

export class BootError extends Error {
  readonly code: BootErrorCode;
  /** What the operator can do about it. */
  readonly remedy: string;

  constructor(code: BootErrorCode, message: string, remedy: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'BootError';
    this.code = code;
    this.remedy = remedy;
  }
}

/** What an agent has before it is on the bus. */
export interface Identity {
  readonly config: AgentConfig;
  /** Folder of the configuration file; paths in it are relative to this. */
  readonly folder: string;
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly signingKey: SigningKey;
  /** Without a secret yet but that of the notices: secrets are not kept, they are asked for. */
  readonly keyring: EpochKeyring;
  readonly clock: Clock;
  readonly log: Log;
  /** Absolute path of a path in the configuration. */
  readonly resolve: (relative: string) => string;
}

export interface BootedAgent extends Identity {
  readonly bus: Bus;
  readonly exchange: Principal;
  /** Takes documents that are offered. */
  readonly trustDesk: TrustDesk;
  /** The secrets of its channels. Not started: it needs the notices first, and the signer its vault. */
  readonly epochs: EpochMember;
  /** Not started: whoever wants a type of notice registers first. */
  readonly notices: Notices;
  /** All that it keeps: its state folder, mode 0700. */
  readonly disk: Disk;
}

export interface BootOptions {
  readonly observesAll?: boolean;
  /** How long the bus may take to answer; what `connectNatsBus` allows unless told. */
  readonly connectTimeoutMs?: number;
  /** How to learn of newer documents, for those who may not read what is kept for late comers. */
  readonly catchUp?: () => Promise<void>;
}

/** @throws BootError */
export async function loadIdentity(configPath: string): Promise<Identity> {
  const config = readConfig(configPath);
  const folder = path.dirname(path.resolve(configPath));
  const resolve = (relative: string): string => path.resolve(folder, relative);
  const provider = await requireProvider(config);
  const { crypto } = provider;
  const trust = readTrust(crypto, config, resolve(config.trustBundle));
  requireSuite(provider, trust);
  const seed = readSecret(resolve(config.identitySeedFile), 32);
  const signingKey = crypto.importSigningSeed(seed);
  seed.fill(0);
  const enrolled = trust.agent(config.agentId);
  const { keyIdHex } = signingKey.publicKey;
  if (enrolled === undefined || enrolled.keyId !== keyIdHex || enrolled.kind !== config.agentKind) {
    throw new BootError(
      'NOT_ENROLLED',
      `${config.agentId} is not enrolled with this identity key`,
      'enrol the agent, or restore its identity seed',
    );
  }
  const keyring = new EpochKeyring(crypto, trust.mesh);
  const log = processLog(config.agentId, config.logLevel);
  for (const name of provider.passedOver) {
    log.warn({ provider: name }, 'a preferred provider failed its self-tests and is passed over');
  }
  return { config, folder, crypto, trust, signingKey, keyring, clock: systemClock, log, resolve };
}

/** @throws BootError, BusError */
export async function bootAgent(
  configPath: string,
  options: BootOptions = {},
): Promise<BootedAgent> {
  const identity = await loadIdentity(configPath);
  const { config, trust, log, resolve } = identity;
  const disk = openDisk(resolve(config.stateDirectory));
  const store = openTrustStore({ disk, crypto: identity.crypto, trust });
  warnOfStale(identity);
  const seed = readSecret(resolve(config.nkeySeedFile), undefined);
  const { connectTimeoutMs, catchUp: ownCatchUp, ...principalOptions } = options;
  const connected = await connectNatsBus({
    servers: config.natsUrl,
    mesh: trust.mesh,
    principal: {
      id: config.agentId,
      kind: config.agentKind,
      ...(config.layer === undefined ? {} : { layer: config.layer }),
    },
    seed,
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    onTrouble: (error) => log.warn({ code: error.code }, 'trouble on the bus'),
  });
  seed.fill(0);
  const { agentId, agentKind: kind } = config;
  const readable = gatedBus(connected, { ...identity, epochs: lateEpochs(() => epochs) });
  const bus = heldForDocuments(readable, { ...identity, catchUp: () => catchUp() });
  const trustDesk = new TrustDesk({ ...identity, agentId, kind, bus, store });
  const catchUp = ownCatchUp ?? ((): Promise<void> => questions.catchUp());
  const exchange = new Principal({
    ...identity,
    ...principalOptions,
    agentId,
    bus,
    isLockedOut: (sender) => trustDesk.isLockedOut(sender),
    catchUp,
  });
  const questions = new DocumentQuestions({ ...identity, agentId, trustDesk, exchange });
  const subjects = subjectsOf(trust.mesh);
  const channels = channelsOf({
    kind,
    ...(config.layer === undefined ? {} : { layer: config.layer }),
  });
  const hasPrekeys = kind !== 'operator';
  const needsArchive = kind === 'auditor' && trust.policy.policies.channels.archive_control_events;
  const member = {
    ...identity,
    agentId,
    exchange,
    subjects,
    channels,
    hasPrekeys,
    needed: needsArchive ? [...channels, archiveChannel] : channels,
  };
  const epochs = new EpochMember(member);
  const notices = new Notices({
    ...identity,
    agentId,
    kind,
    exchange,
    bus,
    subjects,
    catchUp,
    admits: (sender, storedAtMs) => trustDesk.admits(sender, storedAtMs),
  });
  notices.on('document-offered', (event, storedAtMs) => trustDesk.offered(event, storedAtMs));
  // Orchestrators hand over what they follow by themselves, from its beginning.
  if (kind !== 'orchestrator') notices.on('epoch-entry', (event) => epochs.onEntry(event));
  return { ...identity, bus, exchange, trustDesk, epochs, notices, disk };
}

/** The gate stands before the member does: what passes it is asked for later. */
function lateEpochs(member: () => EpochMember): GatePorts['epochs'] {
  return {
    whenReadable: (name, sender) => member().whenReadable(name, sender),
    unanswered: () => member().unanswered(),
  };
}

/**
 * Runs an agent until it is told to stop: SIGTERM and SIGINT end it gracefully, a broken invariant
 * ends it at once with exit code 1, so that its supervisor starts it again from what is durable.
 */
export function runAgent(start: () => Promise<{ stop(): Promise<void> }>): void {
  const fail = (error: unknown): never => {
    const fields = error instanceof BootError ? { code: error.code, remedy: error.remedy } : {};
    processLog('boot').error({ ...fields, err: error }, 'the agent ends');
    process.exit(1);
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  start().then((agent) => {
    let stopping = false;
    const stop = (): void => {
      if (stopping) return;
      stopping = true;
      agent.stop().then(() => process.exit(0), fail);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    // The supervisor's pipe: when it is gone, so is the reason to run.
    if (process.send !== undefined) {
      process.send('ready');
      process.on('disconnect', stop);
    }
  }, fail);
}

async function requireProvider({ providers }: AgentConfig): Promise<TestedProvider> {
  const preference = providers ?? preferenceDefault;
  const provider = await testedProvider(preference);
  if (provider !== undefined) return provider;
  throw new BootError(
    'PROVIDER_REFUSED',
    `the self-tests of ${preference.join(' and ')} failed: the runtime lacks an algorithm or is broken`,
    'use Node 26 or newer with OpenSSL 3.5, or list "noble" in `providers` of the configuration',
  );
}

function requireSuite(provider: TestedProvider, trust: TrustView): void {
  const fault = suiteFault(provider, trust);
  if (fault === undefined) return;
  const remedy = 'amend the policy or the registry, or change `providers` of the configuration';
  throw new BootError(fault.code, `the mesh cannot be taken part in: ${fault.reason}`, remedy);
}

function readConfig(configPath: string): AgentConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(configPath, 'utf8'));
  } catch (error) {
    throw new BootError(
      'CONFIG_UNREADABLE',
      `the configuration ${configPath} cannot be read as JSON`,
      'name an existing configuration file',
      error,
    );
  }
  if (!agentConfigCheck.check(parsed)) {
    throw new BootError(
      'CONFIG_INVALID',
      `the configuration ${configPath} does not hold: ${agentConfigFaults(parsed).join('; ')}`,
      'correct the named fields',
    );
  }
  return parsed;
}

function readTrust(crypto: CryptoProvider, config: AgentConfig, bundlePath: string): TrustView {
  const opening = openTrust(crypto, {
    bundle: parsedBundle(readSecret(bundlePath, undefined).toString()),
    rootDigest: config.rootDigest,
    nowMs: systemClock.nowMs(),
  });
  if (opening.status === 'ok') return opening.trust;
  throw new BootError(
    'TRUST_REFUSED',
    `the trust bundle is refused (${opening.code}): ${opening.reason}`,
    'restore the bundle that belongs to the pinned root',
  );
}

/** Undefined, which is no bundle, for what is not JSON. */
function parsedBundle(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function openDisk(directory: string): Disk {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  return new SystemDisk(directory);
}

function openTrustStore(options: TrustStoreOptions): TrustStore {
  try {
    return TrustStore.open(options);
  } catch (error) {
    if (!(error instanceof TrustStateError)) throw error;
    throw new BootError(
      error.code,
      `the stored documents are refused: ${error.message}`,
      `move ${error.file} away; the agent then begins with its bundle and fetches the documents that the mesh keeps`,
      error,
    );
  }
}

/** Expired documents end nothing that runs: they permit nothing new. */
function warnOfStale({ trust, clock, log }: Identity): void {
  const stale = trust.staleness(clock.nowMs());
  if (stale.length > 0) log.warn({ stale }, 'documents have expired: nothing new is begun');
}

function readSecret(file: string, bytes: number | undefined): Buffer {
  let content: Buffer;
  try {
    content = readFileSync(file);
  } catch (error) {
    throw new BootError('SECRET_UNREADABLE', `${file} cannot be read`, 'restore the file', error);
  }
  if (bytes === undefined || content.length === bytes) return content;
  throw new BootError(
    'SECRET_UNREADABLE',
    `${file} has ${content.length} bytes instead of ${bytes}`,
    'restore the file',
  );
}
