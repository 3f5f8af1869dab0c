/**
 * A simulated world: a whole mesh with its bus, disks, clocks and token, made from one seed. The agents
 * are those of production, put together as in a mesh in memory; what is outside of them is simulated. The
 * observer sees everything, and the checkers look at what it sees.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import type { Bus, Subscription } from '#shared/bus/bus.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { parseFrame, statementHashOf } from '#shared/crypto/envelope.ts';
import { EpochKeyring, type HeldSecret } from '#shared/crypto/epoch-keyring.ts';
import { noticesSecret, type ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { algorithmCapabilities } from '#agents/layers/algorithm-capabilities.ts';
import { learnFrom } from '../support/documents.ts';
import {
  bootInMemory,
  bootOperator,
  startAuditor,
  startLayer,
  startOrchestrator,
  startSigner,
  type AgentChoices,
  type Host,
} from '../support/mesh-agents.ts';
import type { ActivityPorts } from './activities.ts';
import { Amendments } from './amendments.ts';
import { Checks } from './checks/all.ts';
import { bodyOf } from './checks/check.ts';
import { simulatedCrypto } from './cheap-crypto.ts';
import { SimulatedClock } from './clock.ts';
import { DatabasePool, SimulatedDisk } from './disk.ts';
import { FrameMessage } from './frame-reader.ts';
import { genesisOf, type Genesis, type SecondAgents } from './genesis.ts';
import { SimulatedLife } from './lives.ts';
import { SimulatedNetwork } from './network.ts';
import { DiskWatch } from './observed-disk.ts';
import { Observer } from './observer.ts';
import { Operator } from './operator.ts';
import { Processes, type Started } from './processes.ts';
import type { Finding } from './results.ts';
import { drawsFrom } from './seed.ts';
import { SimulatedTime } from './time.ts';
import { TokenDevice } from './token.ts';
import { WorldTrace } from './trace.ts';
import type { Draws } from './model.ts';

/** Databases of worlds that are over, for those that come. */
const pool = new DatabasePool();
const outboxQuery = 'SELECT row_count FROM outbox_totals';

export interface WorldChoices {
  readonly seed: number;
  readonly second: SecondAgents;
  /** Secrets of channels are drawn, renewed and wiped; else they are fixed, which is cheaper. */
  readonly hasEpochs: boolean;
  readonly takeoverMs: number;
  readonly print?: ((line: string) => void) | undefined;
}

export class SimulatedWorld {
  readonly choices: WorldChoices;
  readonly genesis: Genesis;
  readonly draws: Draws;
  readonly time: SimulatedTime;
  readonly trace: WorldTrace;
  readonly network: SimulatedNetwork;
  readonly processes: Processes;
  readonly observer: Observer;
  readonly checks: Checks;
  readonly findings: Finding[] = [];
  readonly operators: Operator[] = [];
  readonly token: TokenDevice;
  readonly #disks = new Map<string, SimulatedDisk>();
  /** Of the agents that run, in the order of their names. */
  readonly agents: readonly Enrolled[];
  readonly #crypto: CryptoProvider;
  readonly #amendments: Amendments;
  readonly #secrets = new Map<string, Uint8Array>();

  private constructor(choices: WorldChoices, genesis: Genesis) {
    this.choices = choices;
    this.genesis = genesis;
    this.draws = drawsFrom(choices.seed);
    this.time = new SimulatedTime();
    this.#crypto = simulatedCrypto(this.draws.fork('crypto of the world'));
    const { print } = choices;
    this.trace = new WorldTrace({ time: this.time, ...(print === undefined ? {} : { print }) });
    const enrolled = genesis.trust.agents();
    this.agents = enrolled.filter(({ kind }) => kind !== 'operator');
    this.observer = this.#newObserver();
    this.checks = new Checks(this.observer);
    this.observer.onChange((change) => this.checks.after(change));
    this.processes = new Processes(
      {
        time: this.time,
        trace: this.trace,
        draws: this.draws.fork('processes'),
        start: (life, clock) => this.#start(life, clock),
        onLife: (agentId, event) => this.observer.life(agentId, event),
        onFault: (agentId, error) => this.#fault(agentId, error),
      },
      this.agents.map(({ agentId }) => agentId),
    );
    this.network = this.#newNetwork();
    const { trace } = this;
    const { keys } = genesis;
    this.token = new TokenDevice({
      crypto: this.#crypto,
      keys,
      draws: this.draws.fork('token'),
      trace,
      crashes: this.processes,
    });
    this.#amendments = new Amendments({ genesis, crypto: this.#crypto, time: this.time });
    this.#newDisks();
  }

  static async make(choices: WorldChoices): Promise<SimulatedWorld> {
    return new SimulatedWorld(choices, await genesisOf(choices.second));
  }

  /** Starts every process, and every operator's session. */
  start(): void {
    for (const { agentId } of this.agents) this.processes.start(agentId);
    for (const { agentId, kind } of this.genesis.trust.agents()) {
      if (kind === 'operator') this.operators.push(this.#operator(agentId));
    }
  }

  hasJoined(): boolean {
    return this.operators.every(({ isReady }) => isReady);
  }

  /** Nothing is cut, slow or full any more. */
  heal(): void {
    for (const { agentId } of this.agents) {
      this.processes.resume(agentId);
      this.processes.jumpClock(agentId, -this.processes.skewOf(agentId));
    }
    this.processes.disarm();
    this.network.calm();
  }

  activityPorts(draws: Draws): ActivityPorts {
    return {
      draws,
      operators: this.operators,
      amend: async (kind) => {
        const document =
          kind === 'policy'
            ? await this.#amendments.policy(draws)
            : await this.#amendments.registry();
        await draws.pick(this.operators).offer(document);
      },
      rotateEpochs: (operator) => operator.rotateEpochs(),
    };
  }

  /** Whether nothing waits to be sent. */
  isQuiet(): boolean {
    return this.#waiting().length === 0;
  }

  /** What keeps the world from being at rest, for a report. */
  unrest(): string {
    const waiting = this.#waiting().map(
      ({ agentId, rows }) => `${rows} in the outbox of ${agentId}`,
    );
    return [JSON.stringify(this.rotations()), ...waiting].join(', ');
  }

  /** No write of the agent finds room, until the result is called. */
  fillDisk(agentId: string): () => void {
    const disk = this.#diskOf(agentId);
    disk.isFull = true;
    return () => {
      disk.isFull = false;
    };
  }

  /** The operators take an agent's rights; it goes on as if it did not know. */
  async revoke(agentId: string): Promise<void> {
    const [operator] = this.operators;
    await operator?.offer(await this.#amendments.revocation(agentId));
  }

  /** The databases go on to the next world. */
  release(): void {
    for (const disk of this.#disks.values()) disk.release();
  }

  #waiting(): { agentId: string; rows: number }[] {
    return [...this.#disks.values()].flatMap((disk) => {
      const { agentId } = disk;
      return ['store.db', 'signer.db'].flatMap((name) => {
        const row = disk.peekDatabase(name)?.prepare(outboxQuery).get();
        const rows = Number(row?.['row_count'] ?? 0);
        return rows === 0 ? [] : [{ agentId, rows }];
      });
    });
  }

  #diskOf(agentId: string): SimulatedDisk {
    const disk = this.#disks.get(agentId);
    if (disk === undefined) throw new Error(`${agentId} has no disk`);
    return disk;
  }

  #newDisks(): void {
    const { observer, time } = this;
    for (const { agentId } of this.agents) {
      const watch = new DiskWatch({ observer, hashOf: (frame) => this.#hashOf(frame) });
      const disk: SimulatedDisk = new SimulatedDisk({
        agentId,
        time,
        draws: this.draws.fork(`disk of ${agentId}`),
        pool,
        onDurable: (write) => watch.written(disk, write),
      });
      this.#disks.set(agentId, disk);
    }
  }

  #hashOf(frame: Uint8Array): string {
    const parsed = parseFrame(frame);
    return parsed.ok ? toHex(statementHashOf(this.#crypto, parsed.frame)) : '';
  }

  /** Rotations by the phase that the latest verdict of an auditor named. */
  rotations(): Record<string, number> {
    const phases = new Map<string, string>();
    for (const message of this.observer.messages) {
      const issued = bodyOf(message, 'receipts-issued');
      for (const { sagaId, phase } of issued?.entries ?? []) {
        if (sagaId !== undefined && phase !== undefined) phases.set(sagaId, phase);
      }
    }
    const counts: Record<string, number> = {};
    for (const phase of phases.values()) counts[phase] = (counts[phase] ?? 0) + 1;
    return counts;
  }

  /** What no life is to blame for. */
  fail(invariant: number, agent: string, what: string): void {
    this.findings.push({ invariant, agent, what });
  }

  crypto(name: string): CryptoProvider {
    return simulatedCrypto(this.draws.fork(`crypto of ${name}`));
  }

  secretOf({ channel, epoch }: { channel: string; epoch: number }): Uint8Array | undefined {
    if (channel === noticesChannel) return noticesSecret(this.#crypto, this.genesis.mesh).secret;
    if (this.choices.hasEpochs) return this.#secrets.get(`${channel} ${epoch}`);
    return this.genesis.keyring('auditor').secretOf({ channel, epoch });
  }

  #newObserver(): Observer {
    const { trust } = this.genesis;
    return new Observer({
      agents: trust.agents().map(({ agentId, kind, layer, capabilities }) => ({
        agentId,
        kind,
        layer,
        capabilities,
      })),
      policies: new Map([[trust.policyDigest, trust.policy]]),
      digest: (bytes) => toHex(this.#crypto.sha3_256(bytes)),
      nowMs: () => this.time.nowMs(),
    });
  }

  #newNetwork(): SimulatedNetwork {
    const principals = this.genesis.trust.agents().map(principalOf);
    const { time, trace, observer } = this;
    const world = {
      crypto: this.#crypto,
      secretOf: (name: { channel: string; epoch: number }) => this.secretOf(name),
      verifyKeyOf: (agentId: string) => this.genesis.trust.agent(agentId)?.verifyKey,
    };
    return new SimulatedNetwork({
      plan: provisionPlan({ mesh: this.genesis.mesh, principals, replicas: 1 }),
      time,
      trace,
      draws: this.draws.fork('network'),
      crashes: this.processes,
      onStored: (stream, message) =>
        observer.stored(new FrameMessage(world, { ...message, stream, timeMs: time.nowMs() })),
    });
  }

  async #start(life: SimulatedLife, clock: SimulatedClock): Promise<Started> {
    const agent = this.agents.find(({ agentId }) => agentId === life.agentId);
    if (agent === undefined) throw new Error(`${life.agentId} is no agent`);
    const { kind } = agent;
    const disk = this.#diskOf(life.agentId).facade(life, this.processes);
    const booted = bootInMemory({ ...this.#host(life, clock, agent), disk });
    const choices = this.#choicesOf();
    switch (kind) {
      case 'orchestrator':
        return { booted, running: await startOrchestrator(booted, choices) };
      case 'signer':
        return {
          booted,
          running: await startSigner(booted, this.token.open(life, clock)),
        };
      case 'auditor':
        return { booted, running: await startAuditor(booted, choices) };
      default:
        return {
          booted,
          running: await startLayer(booted, (agent.layer ?? 1) as LayerNumber, choices),
        };
    }
  }

  #choicesOf(): AgentChoices {
    const { registry } = this.genesis.trust;
    const able = Object.values(registry.algorithms).flatMap((entries) =>
      entries.map(({ name }) => name),
    );
    return {
      takeoverMs: this.choices.takeoverMs,
      auditor: { lookMs: 1_000 },
      claimsOf: (layer) => () => ({
        algorithms: algorithmCapabilities({ layer, able, registry, accelerated: new Set() }),
        constraints: {},
      }),
    };
  }

  #host(life: SimulatedLife, clock: SimulatedClock, agent: Enrolled): Omit<Host, 'disk'> {
    const { agentId } = agent;
    const signingKey = this.genesis.keys.get(agentId);
    if (signingKey === undefined) throw new Error(`${agentId} has no key`);
    const crypto = this.crypto(`${agentId} in life ${life.number}`);
    const bus = this.network.connect({ life, clock, principal: principalOf(agent) });
    return {
      agentId,
      clock,
      crypto,
      log: this.#logOf(agentId),
      trust: this.genesis.newTrust(),
      signingKey,
      bus: this.#watched(bus, life),
      keyring: this.#keyring(agentId, crypto),
    };
  }

  #keyring(agentId: string, crypto: CryptoProvider): ChannelKeyring {
    if (!this.choices.hasEpochs) return this.genesis.keyring(agentId);
    const hold = (held: HeldSecret): void => {
      const name = `${held.channel} ${held.epoch}`;
      if (this.#secrets.has(name)) return;
      this.#secrets.set(name, held.secret.slice());
      this.observer.secret(`secret of ${name}`, held.secret);
    };
    return new ObservedKeyring(crypto, this.genesis.mesh, hold);
  }

  /** A handler that throws, or a refusal of the bus, ends the process: as an uncaught rejection does. */
  #watched(bus: Bus, life: SimulatedLife): Bus {
    const watch = (subscription: Subscription): Subscription => {
      subscription.ended.catch((error: unknown) => this.processes.ended(life, error));
      return subscription;
    };
    return {
      publish: (request) => bus.publish(request),
      consume: async (options, handler) => watch(await bus.consume(options, handler)),
      follow: async (options, handler) => watch(await bus.follow(options, handler)),
      lastMessage: (stream, subject) => bus.lastMessage(stream, subject),
      getMessage: (stream, sequence) => bus.getMessage(stream, sequence),
      streamState: (stream) => bus.streamState(stream),
      bucket: (name) => bus.bucket(name),
      request: (subject, data, timeoutMs) => bus.request(subject, data, timeoutMs),
      respond: async (subject, handler) => watch(await bus.respond(subject, handler)),
      onState: (listener) => bus.onState(listener),
      close: () => bus.close(),
    };
  }

  #operator(agentId: string): Operator {
    const agent = this.genesis.trust.agent(agentId);
    if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
    const life = new SimulatedLife({ agentId, number: 1, time: this.time });
    const clock = new SimulatedClock({ life, time: this.time });
    const host = this.#host(life, clock, agent);
    const orchestrators = this.agents
      .filter(({ kind }) => kind === 'orchestrator')
      .map((orchestrator) => orchestrator.agentId);
    const session = bootOperator(host, async () => {
      const nowMs = clock.nowMs();
      await learnFrom(session.exchange, orchestrators[0] ?? '', { trust: host.trust, nowMs });
    });
    const joined = session.join();
    const subjects = this.network.subjects;
    return new Operator({ exchange: session.exchange, clock, subjects, orchestrators, joined });
  }

  #logOf(agentId: string): Log {
    const write = (level: string) => (fields: object, message: string) => {
      const text = `${level} ${message} ${JSON.stringify(fields)}`;
      this.observer.line(agentId, text);
      this.choices.print?.(`          ${agentId}: ${text}`);
    };
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
    };
  }

  #fault(agentId: string, error: unknown): void {
    if (isOutside(error)) return;
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.fail(0, agentId, `ended by ${what}`);
  }
}

class ObservedKeyring extends EpochKeyring {
  readonly #onHold: (held: HeldSecret) => void;

  constructor(crypto: CryptoProvider, mesh: string, onHold: (held: HeldSecret) => void) {
    super(crypto, mesh);
    this.#onHold = onHold;
  }

  override hold(held: HeldSecret): boolean {
    const isHeld = super.hold(held);
    if (isHeld) this.#onHold(held);
    return isHeld;
  }
}

/** Faults of the outside that end a process: it is started again. */
const outsideNames: ReadonlySet<string> = new Set(['BusError', 'OutboxError', 'TokenError']);
const outsideCodes: ReadonlySet<string> = new Set([
  'DISK_FULL',
  'STORE_FAILED',
  'AUDIT_DISK_FULL',
  'AUDIT_LOG_UNWRITABLE',
  'VAULT_UNUSABLE',
  'ENOSPC',
]);

function isOutside(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (outsideNames.has(error.name)) return true;
  if ('code' in error && outsideCodes.has(String(error.code))) return true;
  return 'errcode' in error && error.errcode === 13;
}

function principalOf({ agentId, kind, layer }: Enrolled) {
  return { id: agentId, kind, ...(layer === undefined ? {} : { layer: layer as LayerNumber }) };
}
