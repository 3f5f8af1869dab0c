/**
 * What stands around each agent of a world in each of its lives, and how the production agent is started
 * in it. Secrets that are drawn or held on the way are told to the observer: they must show up nowhere.
 */

import { healingLayer } from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { algorithmCapabilities } from '#agents/layers/algorithm-capabilities.ts';
import type { Bus, Subscription } from '#shared/bus/bus.ts';
import { forwardingTo } from '#shared/bus/forwarding-bus.ts';
import { EpochKeyring, type HeldSecret } from '#shared/crypto/epoch-keyring.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { learnFrom } from '../support/documents.ts';
import {
  bootInMemory,
  bootOperator,
  startAuditor,
  startLayer,
  startOrchestrator,
  startSigner,
  type AgentChoices,
  type Booted,
  type Host,
} from '../support/mesh-agents.ts';
import { simulatedCrypto } from './cheap-crypto.ts';
import { SimulatedClock } from './clock.ts';
import type { Genesis } from './genesis.ts';
import type { HealingAgent } from './healings.ts';
import { SimulatedLife } from './lives.ts';
import type { Draws, Life } from './model.ts';
import type { SimulatedNetwork } from './network.ts';
import type { Observer } from './observer.ts';
import { inOtherVersion, withOtherFingerprint, type OtherVersion } from './previous-version.ts';
import { Operator } from './operator.ts';
import type { Processes, Started } from './processes.ts';
import type { SimulatedTime } from './time.ts';
import type { TokenDevice } from './token.ts';
import { usageWindowMs, type Using, type Workload } from './workload.ts';
import type { WorldDisks } from './world-disks.ts';

export interface HostsOptions {
  readonly genesis: Genesis;
  readonly time: SimulatedTime;
  readonly draws: Draws;
  readonly network: SimulatedNetwork;
  readonly token: TokenDevice;
  readonly disks: WorldDisks;
  readonly observer: Observer;
  readonly processes: Processes;
  /** Secrets of channels are drawn, renewed and wiped; else they are fixed, which is cheaper. */
  readonly hasEpochs: boolean;
  readonly takeoverMs: number;
  /** By `<channel> <epoch>`: of every epoch that anybody held. */
  readonly secrets: Map<string, Uint8Array>;
  readonly print: ((line: string) => void) | undefined;
  readonly workload: Workload | undefined;
}

const lookMs = 1_000;

export class WorldHosts {
  readonly #options: HostsOptions;
  /** Agents that run in another version than the rest from their next start on. */
  readonly otherVersions = new Map<string, OtherVersion>();
  /** Agents of layer 7, each in its latest life. */
  readonly healers = new Map<string, HealingAgent>();

  constructor(options: HostsOptions) {
    this.#options = options;
  }

  /** The production agent, up, in this life. */
  async start(life: SimulatedLife, clock: SimulatedClock): Promise<Started> {
    const { disks, processes, token } = this.#options;
    const agent = this.#agent(life.agentId);
    const disk = disks.of(life.agentId).facade(life, processes);
    const booted = bootInMemory({ ...this.#host(life, clock, agent), disk });
    const choices = this.#choices({ life, clock, crypto: booted.crypto });
    switch (agent.kind) {
      case 'orchestrator':
        return { booted, running: await startOrchestrator(booted, choices) };
      case 'signer':
        return { booted, running: await startSigner(booted, token.open(life, clock)) };
      case 'auditor':
        return { booted, running: await startAuditor(booted, choices) };
      default: {
        const layer = (agent.layer ?? 1) as LayerNumber;
        const version = this.otherVersions.get(life.agentId);
        const own = version === undefined ? booted : this.#inOtherVersion(booted, version);
        const layerBegun: AgentChoices['layerBegun'] = (begun, keys) => {
          if (layer !== healingLayer) return;
          this.healers.set(life.agentId, { booted: own, agent: begun, keys });
        };
        return { booted: own, running: await startLayer(own, layer, { ...choices, layerBegun }) };
      }
    }
  }

  #inOtherVersion(booted: Booted, version: OtherVersion): Booted {
    const { genesis, observer } = this.#options;
    const signingKey = genesis.keys.get(booted.agentId);
    if (signingKey === undefined) throw new Error(`${booted.agentId} has no key`);
    const onSealed = (hash: string): void => observer.injected('of another version', hash);
    return inOtherVersion(booted, { signingKey, version, onSealed });
  }

  /** An operator's session: it lives as long as the world. */
  operator(agentId: string): Operator {
    const { genesis, time, network } = this.#options;
    const life = new SimulatedLife({ agentId, number: 1, time });
    const clock = new SimulatedClock({ life, time });
    const host = this.#host(life, clock, this.#agent(agentId));
    const orchestrators = genesis.trust
      .agents()
      .filter(({ kind }) => kind === 'orchestrator')
      .map((orchestrator) => orchestrator.agentId);
    const session = bootOperator(host, async () => {
      const nowMs = clock.nowMs();
      await learnFrom(session.exchange, orchestrators[0] ?? '', { trust: host.trust, nowMs });
    });
    const joined = session.join();
    const { subjects } = network;
    return new Operator({ exchange: session.exchange, clock, subjects, orchestrators, joined });
  }

  #agent(agentId: string): Enrolled {
    const agent = this.#options.genesis.trust.agent(agentId);
    if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
    return agent;
  }

  #choices(used: Omit<Using, 'layer' | 'keys'>): AgentChoices {
    const { genesis, takeoverMs, workload } = this.#options;
    const { registry } = genesis.trust;
    const able = Object.values(registry.algorithms).flatMap((entries) =>
      entries.map(({ name }) => name),
    );
    return {
      takeoverMs,
      auditor: { lookMs },
      ...(workload === undefined ? {} : { usageWindowMs }),
      adapterOf: (layer, keys) => {
        workload?.begin({ ...used, layer, keys });
        if (this.otherVersions.has(used.life.agentId)) withOtherFingerprint(keys);
        this.#watchKeys(used.life.agentId, keys);
        return keys;
      },
      claimsOf: (layer) => {
        const accelerated = new Set<string>();
        const algorithms = algorithmCapabilities({ layer, able, registry, accelerated });
        return () => ({ algorithms, constraints: {} });
      },
    };
  }

  #host(life: SimulatedLife, clock: SimulatedClock, agent: Enrolled): Omit<Host, 'disk'> {
    const { genesis, network, draws } = this.#options;
    const { agentId } = agent;
    const signingKey = genesis.keys.get(agentId);
    if (signingKey === undefined) throw new Error(`${agentId} has no key`);
    const own = simulatedCrypto(draws.fork(`crypto of ${agentId} in life ${life.number}`));
    const crypto = this.#observed(own, agentId);
    return {
      agentId,
      clock,
      crypto,
      log: this.#logOf(agentId),
      trust: genesis.newTrust(),
      signingKey,
      bus: this.#watched(network.connect({ life, clock, principal: principalOf(agent) }), life),
      keyring: this.#keyring(agent, crypto),
    };
  }

  /** Seeds of keys are secrets. */
  #observed(crypto: CryptoProvider, agentId: string): CryptoProvider {
    const { observer } = this.#options;
    return {
      ...crypto,
      importSigningSeed: (seed) => {
        observer.secret(`seed of a signing key of ${agentId}`, seed);
        return crypto.importSigningSeed(seed);
      },
      importKemSeed: (seed, algorithm) => {
        observer.secret(`seed of a KEM key of ${agentId}`, seed);
        return crypto.importKemSeed(seed, algorithm);
      },
    };
  }

  /** Keys of slots that are made on the way, of every kind. */
  #watchKeys(agentId: string, { store }: EmbeddedAdapter): void {
    const { observer } = this.#options;
    const add = store.addPrepared.bind(store);
    store.addPrepared = (version, key, atMs) => {
      observer.secret(`version ${version} of ${key.slot} at ${agentId}`, key.secret);
      return add(version, key, atMs);
    };
  }

  #keyring({ agentId, kind }: Enrolled, crypto: CryptoProvider): ChannelKeyring {
    const { hasEpochs, genesis, secrets, observer } = this.#options;
    if (!hasEpochs) return genesis.keyring(agentId);
    if (kind === 'operator') return new EpochKeyring(crypto, genesis.mesh);
    return new ObservedKeyring(crypto, genesis.mesh, {
      held: ({ channel, epoch, secret }) => {
        const name = `${channel} ${epoch}`;
        if (secrets.has(name)) return;
        secrets.set(name, secret.slice());
        observer.secret(`secret of ${name}`, secret);
      },
      activated: (channel, epoch) => observer.epoch(agentId, channel, epoch),
    });
  }

  /** A handler that throws, or a refusal of the bus, ends the process: as an uncaught rejection does. */
  #watched(bus: Bus, life: Life): Bus {
    const watch = (subscription: Subscription): Subscription => {
      subscription.ended.catch((error: unknown) => this.#options.processes.ended(life, error));
      return subscription;
    };
    return {
      ...forwardingTo(bus),
      consume: async (options, handler) => watch(await bus.consume(options, handler)),
      follow: async (options, handler) => watch(await bus.follow(options, handler)),
      respond: async (subject, handler) => watch(await bus.respond(subject, handler)),
    };
  }

  #logOf(agentId: string): Log {
    const { observer, print } = this.#options;
    const write = (level: string) => (fields: object, message: string) => {
      const text = `${level} ${message} ${JSON.stringify(fields)}`;
      observer.line(agentId, text);
      print?.(`          ${agentId}: ${text}`);
    };
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
    };
  }
}

/** The keyring of production, watched. */
interface KeyringWatcher {
  readonly held: (held: HeldSecret) => void;
  readonly activated: (channel: string, epoch: number) => void;
}

class ObservedKeyring extends EpochKeyring {
  readonly #watcher: KeyringWatcher;

  constructor(crypto: CryptoProvider, mesh: string, watcher: KeyringWatcher) {
    super(crypto, mesh);
    this.#watcher = watcher;
  }

  override hold(held: HeldSecret): boolean {
    const isHeld = super.hold(held);
    if (isHeld) this.#watcher.held(held);
    return isHeld;
  }

  override activate(channel: string, epoch: number): boolean {
    const isInUse = super.activate(channel, epoch);
    if (isInUse) this.#watcher.activated(channel, epoch);
    return isInUse;
  }
}

export function principalOf({ agentId, kind, layer }: Enrolled) {
  return { id: agentId, kind, ...(layer === undefined ? {} : { layer: layer as LayerNumber }) };
}
