/**
 * A simulated world: a whole mesh with its bus, disks, clocks and token, made from one seed. The agents
 * are those of production, put together as in a mesh in memory; what is outside of them is simulated. The
 * observer sees everything, and the checkers look at what it sees.
 */

import { BusError } from '#shared/bus/bus.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { noticesSecret } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import type { ActivityPorts } from './activities.ts';
import { Amendments } from './amendments.ts';
import { simulatedCrypto } from './cheap-crypto.ts';
import { Checks } from './checks/all.ts';
import { bodyOf } from './checks/check.ts';
import { FrameMessage } from './frame-reader.ts';
import { askFor, type HealingPorts } from './healings.ts';
import { genesisOf, type Genesis, type RulesName, type SecondAgents } from './genesis.ts';
import { SimulatedCrash, type Draws } from './model.ts';
import { SimulatedNetwork } from './network.ts';
import { Observer } from './observer.ts';
import type { Operator } from './operator.ts';
import type { OtherVersion } from './previous-version.ts';
import { Processes } from './processes.ts';
import type { Finding } from './results.ts';
import { drawsFrom } from './seed.ts';
import { SimulatedTime } from './time.ts';
import { TokenDevice } from './token.ts';
import { WorldTrace } from './trace.ts';
import { Workload, usageWindowMs } from './workload.ts';
import { WorldDisks } from './world-disks.ts';
import { principalOf, WorldHosts } from './world-hosts.ts';

export interface WorldChoices {
  readonly seed: number;
  readonly second: SecondAgents;
  /** Secrets of channels are drawn, renewed and wiped; else they are fixed, which is cheaper. */
  readonly hasEpochs: boolean;
  /** `usual` unless told. */
  readonly rules?: RulesName;
  /** Keys of all layers are used while things go wrong; their uses hold old keys. */
  readonly hasWorkload?: boolean;
  readonly takeoverMs: number;
  readonly print?: ((line: string) => void) | undefined;
}

export class SimulatedWorld {
  readonly choices: WorldChoices;
  readonly genesis: Genesis;
  readonly draws: Draws;
  readonly time = new SimulatedTime();
  readonly trace: WorldTrace;
  readonly network: SimulatedNetwork;
  readonly processes: Processes;
  readonly observer: Observer;
  readonly checks: Checks;
  readonly disks: WorldDisks;
  readonly token: TokenDevice;
  readonly findings: Finding[] = [];
  readonly operators: Operator[] = [];
  /** All that run, in the order of their names. */
  readonly agents: readonly Enrolled[];
  readonly #crypto: CryptoProvider;
  readonly #hosts: WorldHosts;
  readonly #amendments: Amendments;
  readonly #secrets = new Map<string, Uint8Array>();
  readonly workload: Workload | undefined;

  private constructor(choices: WorldChoices, genesis: Genesis) {
    const draws = drawsFrom(choices.seed);
    const crypto = simulatedCrypto(draws.fork('crypto of the world'));
    const { time } = this;
    const { print } = choices;
    this.choices = choices;
    this.genesis = genesis;
    this.draws = draws;
    this.#crypto = crypto;
    this.trace = new WorldTrace({ time, ...(print === undefined ? {} : { print }) });
    this.agents = genesis.trust.agents().filter(({ kind }) => kind !== 'operator');
    this.observer = this.#newObserver();
    this.checks = new Checks(this.observer);
    this.observer.onChange((change) => this.checks.after(change));
    this.processes = this.#newProcesses();
    this.network = this.#newNetwork();
    const { observer, network, processes, trace } = this;
    const agentIds = this.agents.map(({ agentId }) => agentId);
    this.disks = new WorldDisks({ agentIds, observer, crypto, time, draws });
    const tokenDraws = draws.fork('token');
    const { keys } = genesis;
    this.token = new TokenDevice({ crypto, keys, draws: tokenDraws, trace, crashes: processes });
    this.#amendments = new Amendments({ genesis, crypto, time });
    if (choices.hasWorkload === true) this.workload = this.#newWorkload();
    this.#hosts = new WorldHosts({
      ...choices,
      genesis,
      time,
      draws,
      network,
      observer,
      processes,
      token: this.token,
      disks: this.disks,
      secrets: this.#secrets,
      workload: this.workload,
      print,
    });
  }

  static async make(choices: WorldChoices): Promise<SimulatedWorld> {
    return new SimulatedWorld(choices, await genesisOf(choices.second, choices.rules ?? 'usual'));
  }

  /** Starts every process, and every operator's session. */
  start(): void {
    for (const { agentId } of this.agents) this.processes.start(agentId);
    for (const { agentId, kind } of this.genesis.trust.agents()) {
      if (kind === 'operator') this.operators.push(this.#hosts.operator(agentId));
    }
  }

  hasJoined(): boolean {
    return this.operators.every(({ isReady }) => isReady);
  }

  /** Nothing is cut, slow or full any more, nobody stands still, and clocks are right. */
  heal(): void {
    this.workload?.stop();
    for (const { agentId } of this.agents) {
      this.processes.resume(agentId);
      this.processes.jumpClock(agentId, -this.processes.skewOf(agentId));
    }
    this.processes.disarm();
    this.network.calm();
  }

  activityPorts(draws: Draws): Omit<ActivityPorts, 'extent'> {
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
      isolate: (layer) => {
        const owner = this.agents.find((agent) => agent.layer === layer);
        return this.#cutOnceActivated(owner?.agentId ?? '');
      },
      offerBadly: async () => this.#offer(draws, await this.#amendments.bad(draws)),
      restart: () => this.processes.crash(draws.pick(this.agents).agentId),
    };
  }

  healingPorts(draws: Draws): HealingPorts {
    const { processes, operators, agents } = this;
    const orchestrators = agents.filter(({ kind }) => kind === 'orchestrator');
    return {
      draws,
      operators,
      ask: (wish) => {
        const healers = [...this.#hosts.healers.values()];
        const healer = healers.length === 0 ? undefined : draws.pick(healers);
        if (healer === undefined) return;
        processes.lifeOf(healer.booted.agentId)?.whenRunning(() => askFor(healer, wish));
      },
      crash: () => processes.crash(draws.pick(orchestrators).agentId),
    };
  }

  /** Stops an agent, which starts again in the previous version, until the result is called. */
  downgrade(agentId: string, version: OtherVersion): () => void {
    const { otherVersions } = this.#hosts;
    otherVersions.set(agentId, version);
    this.processes.crash(agentId);
    return () => {
      if (otherVersions.get(agentId) !== version) return;
      otherVersions.delete(agentId);
      this.processes.crash(agentId);
    };
  }

  /** The operators take an agent's rights; it goes on as if it did not know. */
  async revoke(agentId: string): Promise<void> {
    const [operator] = this.operators;
    await operator?.offer(await this.#amendments.revocation(agentId));
  }

  /** By a layer agent, who does not know better. Without prekeys its epochs would do without it. */
  async #offer(draws: Draws, document: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.choices.hasEpochs) return;
    const { agentId } = draws.pick(this.agents.filter(({ kind }) => kind === 'layer'));
    const started = this.processes.startedOf(agentId);
    if (started === undefined) return;
    const { exchange, subjects } = started.booted;
    const body = { document };
    const event = { type: 'document-offered', subject: subjects.trust(agentId), body } as const;
    try {
      const sent = exchange.publish({ ...event, channel: noticesChannel });
      await Promise.race([sent, new Promise<void>((resolve) => this.time.after(offerMs, resolve))]);
    } catch (error) {
      if (!(error instanceof BusError || error instanceof SimulatedCrash)) throw error;
    }
  }

  #cutOnceActivated(agentId: string): () => void {
    let isOver = false;
    let reconnect: (() => void) | undefined;
    this.observer.onChange((change) => {
      if (isOver || change.kind !== 'key' || change.agentId !== agentId) return;
      const isActivated = change.before?.state === 'prepared' && change.after?.state === 'primary';
      if (isActivated) reconnect ??= this.network.cut(agentId);
    });
    return () => {
      isOver = true;
      reconnect?.();
    };
  }

  /** Whether nothing waits to be sent. */
  isQuiet(): boolean {
    return this.disks.waiting(this.checks.book.revoked).length === 0;
  }

  /** What keeps the world from being at rest, for a report. */
  unrest(): string {
    const { revoked } = this.checks.book;
    const waiting = this.disks.waiting(revoked).map((rows) => `in the outbox ${rows}`);
    return [JSON.stringify(this.rotations()), ...waiting].join(', ');
  }

  /**
   * Rotations by the phase that their last entry led to, as auditors' verdicts name it: by the entry's index,
   * because receipts of earlier entries are issued again, for instance where the bus had lost them.
   */
  rotations(): Record<string, number> {
    const last = new Map<string, { readonly sagaIndex: number; readonly phase: string }>();
    for (const message of this.observer.messages) {
      const issued = bodyOf(message, 'receipts-issued');
      for (const { sagaId, sagaIndex, phase, verdict } of issued?.entries ?? []) {
        if (sagaId === undefined || sagaIndex === undefined || phase === undefined) continue;
        if (verdict !== 'accepted' || sagaIndex < (last.get(sagaId)?.sagaIndex ?? 0)) continue;
        last.set(sagaId, { sagaIndex, phase });
      }
    }
    const counts: Record<string, number> = {};
    for (const { phase } of last.values()) counts[phase] = (counts[phase] ?? 0) + 1;
    return counts;
  }

  fail(invariant: number, agent: string, what: string): void {
    this.findings.push({ invariant, agent, what });
  }

  crypto(name: string): CryptoProvider {
    return simulatedCrypto(this.draws.fork(`crypto of ${name}`));
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
      clockErrorMsMax: () => this.processes.clockErrorMsMax,
      usageWindowMs: this.choices.hasWorkload === true ? usageWindowMs : 0,
    });
  }

  #newWorkload(): Workload {
    const { observer } = this;
    return new Workload({
      draws: this.draws.fork('workload'),
      used: ({ agentId, slot, version, purpose }) => observer.use(agentId, slot, version, purpose),
      onFault: (agentId, what) => this.fail(3, agentId, what),
    });
  }

  #newProcesses(): Processes {
    const { time, trace } = this;
    return new Processes(
      {
        time,
        trace,
        draws: this.draws.fork('processes'),
        start: (life, clock) => this.#hosts.start(life, clock),
        onLife: (agentId, event) => this.observer.life(agentId, event),
        onFault: (agentId, error) => this.#fault(agentId, error),
      },
      this.agents.map(({ agentId }) => agentId),
    );
  }

  #newNetwork(): SimulatedNetwork {
    const { time, trace, observer, genesis } = this;
    const notices = noticesSecret(this.#crypto, genesis.mesh).secret;
    const fixed = genesis.keyring('auditor');
    const world = {
      crypto: this.#crypto,
      secretOf: ({ channel, epoch }: { channel: string; epoch: number }) => {
        if (channel === noticesChannel) return notices;
        if (this.choices.hasEpochs) return this.#secrets.get(`${channel} ${epoch}`);
        return fixed.secretOf({ channel, epoch });
      },
      verifyKeyOf: (agentId: string) => genesis.trust.agent(agentId)?.verifyKey,
    };
    const principals = genesis.trust.agents().map(principalOf);
    return new SimulatedNetwork({
      plan: provisionPlan({ mesh: genesis.mesh, principals, replicas: 1 }),
      time,
      trace,
      draws: this.draws.fork('network'),
      crashes: this.processes,
      onForgotten: (stream, sequence) => observer.forgot(stream, sequence),
      onStored: (stream, message) =>
        observer.stored(new FrameMessage(world, { ...message, stream, timeMs: time.nowMs() })),
    });
  }

  #fault(agentId: string, error: unknown): void {
    if (isOutside(error)) return;
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.fail(0, agentId, `ended by ${what}`);
  }
}

/** How long one waits for an answer that may never come. */
const offerMs = 5_000;
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
/** SQLite's code of a full disk. */
const sqliteFull = 13;

function isOutside(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (outsideNames.has(error.name)) return true;
  if ('code' in error && outsideCodes.has(String(error.code))) return true;
  return 'errcode' in error && error.errcode === sqliteFull;
}
