/**
 * A whole mesh in one process: two orchestrators, signer, auditor and layer agents as they run in
 * production, with real keys, real databases, epochs that turn, and the in-memory bus. Each can be stopped
 * hard and started again on what it had made durable, in the order that a test wants.
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { LayerNumber } from '#schemas/layers.ts';
import type { Query } from '#schemas/queries.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { withDependants } from '#shared/core/dependants.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { noticesSecret, StaticKeyring, type ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { learnFrom } from './documents.ts';
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
  type Running,
} from './mesh-agents.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import { KeysInMemory } from './keys-in-memory.ts';
import {
  crypto,
  makeWorld,
  quiet,
  type PrincipalChoices,
  type World,
  type WorldOptions,
} from './world.ts';
import { patienceMs } from './patience.ts';

export interface MeshOptions extends WorldOptions, AgentChoices {
  /** Secrets of channels are drawn, renewed and wiped as in production; else they are fixed. */
  readonly hasEpochs?: boolean;
  /** Wraps the signer's token: a fake with behaviour, to make it fail. */
  readonly tokenOf?: (token: Token) => Token;
  /** Wraps what an agent has of the bus, to see what it does. */
  readonly busOf?: (agentId: string, bus: Bus) => Bus;
  /** Enrolled, but not started with the others. */
  readonly absent?: readonly string[];
}

export interface RotationView {
  readonly planId: string;
  readonly planDigest: string;
  readonly phase: RotationPhase;
  readonly index: number;
}

export class InMemoryMesh {
  readonly world: World;
  readonly folder: string;
  readonly #options: MeshOptions;
  readonly #running = new Map<string, Running>();
  readonly #operators = new Map<string, ReturnType<typeof bootOperator>>();
  readonly #booted = new Map<string, Booted>();
  /** What agents held when they were stopped. */
  readonly #left = new Map<string, ChannelKeyring>();

  private constructor(world: World, options: MeshOptions) {
    this.world = world;
    this.#options = options;
    this.folder = mkdtempSync(path.join(tmpdir(), 'gyre-mesh-'));
  }

  static async start(options: MeshOptions = {}): Promise<InMemoryMesh> {
    const mesh = new InMemoryMesh(await makeWorld(options), options);
    const { absent = [] } = options;
    const present = mesh.world.trust.agents().filter(({ agentId }) => !absent.includes(agentId));
    const ids = (isOperator: boolean) =>
      present.filter(({ kind }) => (kind === 'operator') === isOperator).map((one) => one.agentId);
    // All at once: the first epochs begin when those who are there have shown prekeys.
    await Promise.all(ids(false).map((agentId) => mesh.startAgent(agentId)));
    await Promise.all(ids(true).map((agentId) => mesh.#operatorOf(agentId).join()));
    return mesh;
  }

  async stop(): Promise<void> {
    const order = ['orchestrator', 'layer', 'signer', 'auditor'];
    const agents = this.world.trust.agents();
    for (const kind of order) {
      const ids = agents.filter((agent) => agent.kind === kind).map(({ agentId }) => agentId);
      await Promise.all(ids.map((id) => this.stopAgent(id)));
    }
    for (const operator of this.#operators.values()) await operator.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async stopAgent(agentId: string): Promise<void> {
    const running = this.#running.get(agentId);
    if (running === undefined) return;
    this.#left.set(agentId, this.secretsOf(agentId));
    this.#running.delete(agentId);
    await running.stop();
  }

  async startAgent(agentId: string): Promise<void> {
    const agent = this.world.trust.agent(agentId);
    if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
    const disk = new SystemDisk(this.#stateOf(agentId));
    const booted = bootInMemory({ ...this.#hostOf(agentId), disk });
    this.#booted.set(agentId, booted);
    const layer = (agent.layer ?? 1) as LayerNumber;
    const keys = new KeysInMemory(this.world);
    const starters = {
      operator: () => Promise.reject(new Error('operators do not run')),
      orchestrator: () => startOrchestrator(booted, this.#options),
      signer: () => startSigner(booted, this.#options.tokenOf?.(keys) ?? keys, this.#options),
      auditor: () => startAuditor(booted, this.#options),
      layer: () => startLayer(booted, layer, this.#options),
    };
    this.#running.set(agentId, await starters[agent.kind]());
  }

  /** An operator that has asked for its secrets. */
  operator(id: string): Principal {
    return this.#operatorOf(id).exchange;
  }

  #operatorOf(id: string): ReturnType<typeof bootOperator> {
    const known = this.#operators.get(id);
    if (known !== undefined) return known;
    const host = this.#hostOf(id);
    const operator = bootOperator(host, () => this.#catchUp(id, host.trust));
    this.#operators.set(id, operator);
    return operator;
  }

  #hostOf(agentId: string): Omit<Host, 'disk'> {
    const { world } = this;
    const signingKey = world.keys.get(agentId);
    if (signingKey === undefined) throw new Error(`${agentId} has no key`);
    const hasEpochs = this.#options.hasEpochs ?? false;
    return {
      agentId,
      clock: world.clock,
      crypto,
      log: quiet,
      trust: world.newTrust(),
      signingKey,
      bus: this.#options.busOf?.(agentId, world.bus(agentId)) ?? world.bus(agentId),
      keyring: hasEpochs ? new EpochKeyring(crypto, world.mesh) : world.keyring(agentId),
    };
  }

  /** The live secrets of an agent that runs, or of an operator. */
  keyringOf(id: string): ChannelKeyring {
    return this.#operators.get(id)?.keyring ?? this.#bootedOf(id).keyring;
  }

  /** A copy of what a member holds now, or held when it was stopped: what a thief takes. */
  secretsOf(id: string): ChannelKeyring {
    const left = this.#running.has(id) || this.#operators.has(id) ? undefined : this.#left.get(id);
    if (left !== undefined) return left;
    const keyring = this.#options.hasEpochs === true ? this.keyringOf(id) : undefined;
    if (!(keyring instanceof EpochKeyring)) return this.world.keyring(id);
    return new StaticKeyring([noticesSecret(crypto, this.world.mesh), ...keyring.held()]);
  }

  /** Acts in the name of a member, with its keys and the secrets that it holds or held. */
  principal(id: string, choices: PrincipalChoices = {}): Principal {
    return this.world.principal(id, { keyring: this.secretsOf(id), ...choices });
  }

  /** What a running agent holds of trust. */
  trustOf(agentId: string): TrustView {
    return this.#bootedOf(agentId).trust;
  }

  deskOf(agentId: string): TrustDesk {
    return this.#bootedOf(agentId).trustDesk;
  }

  /** The agents that run. */
  running(): readonly string[] {
    return [...this.#running.keys()];
  }

  /** Offers a document to everyone, in the name of an operator. */
  async offer(operatorId: string, document: Uint8Array<ArrayBuffer>): Promise<void> {
    const subject = subjectsOf(this.world.mesh).trust(operatorId);
    const body = { document };
    await this.operator(operatorId).publish({
      type: 'document-offered',
      subject,
      channel: 'notices',
      body,
    });
  }

  #bootedOf(agentId: string): Booted {
    const booted = this.#booted.get(agentId);
    if (booted === undefined) throw new Error(`${agentId} does not run`);
    return booted;
  }

  /** As the command line does: asks an orchestrator, and verifies what it tells. */
  async #catchUp(operatorId: string, trust: TrustView): Promise<void> {
    const agentId = ['orchestrator-a', 'orchestrator-b'].find((id) => this.#running.has(id)) ?? '';
    await learnFrom(this.operator(operatorId), agentId, { trust, nowMs: this.world.clock.nowMs() });
  }

  /** Asks whichever orchestrator answers. */
  async ask(query: Query): Promise<unknown> {
    for (const agentId of ['orchestrator-a', 'orchestrator-b', 'orchestrator-a']) {
      if (!this.#running.has(agentId)) continue;
      const answer = await this.operator('op-1').ask(
        { agentId, channel: 'operators' },
        query,
        8_000,
      );
      if (answer.ok) return answer.result;
      if (answer.code !== 'ORCH-8013') throw new Error(`${answer.code}: ${answer.reason}`);
    }
    throw new Error('no orchestrator answers');
  }

  /** Publishes a request and waits for what becomes of it. */
  async request(
    operatorId: string,
    type: 'rotation-requested' | 'plan-approved' | 'execution-requested',
    body: Record<string, unknown>,
  ): Promise<{ status: string; planId?: string; code?: string; reason?: string }> {
    const subject = subjectsOf(this.world.mesh).request(operatorId);
    const event = { type, subject, channel: 'operators', body } as never;
    const sent = await this.operator(operatorId).publish(event);
    for (;;) {
      const query = { ask: 'request-outcome', request: sent.hash, waitMs: 1_000 } as const;
      const outcome = (await this.ask(query)) as { status: string };
      if (outcome.status !== 'pending') return outcome;
    }
  }

  /** Of the layers and, as the command line asks for it, of those that depend on them. */
  async plan(named: readonly LayerNumber[]): Promise<RotationView> {
    const agents = this.world.trust.agents().filter(({ revokedAtMs }) => revokedAtMs === undefined);
    const isServed = (layer: LayerNumber) => agents.some((agent) => agent.layer === layer);
    const layers = withDependants(named, isServed);
    const requestId = crypto.randomBytes(8).join('');
    const body = { requestId, rotationType: 'scheduled', layers, reason: 'test' };
    const outcome = await this.request('op-1', 'rotation-requested', body);
    if (outcome.planId === undefined) throw new Error(`${outcome.code}: ${outcome.reason}`);
    return this.until(outcome.planId, ['validated', 'refused']);
  }

  /** A plan that op-2 has approved. */
  async approvedPlan(layers: readonly LayerNumber[]): Promise<RotationView> {
    const { planId, planDigest } = await this.plan(layers);
    const outcome = await this.request('op-2', 'plan-approved', { planId, planDigest });
    if (outcome.status !== 'accepted') throw new Error(`${outcome.code}: ${outcome.reason}`);
    return this.until(planId, ['approved']);
  }

  execute({ planId, planDigest }: RotationView, operatorId = 'op-1') {
    const body = { planId, planDigest, dryRun: false };
    return this.request(operatorId, 'execution-requested', body);
  }

  async show(planId: string): Promise<RotationView> {
    return (await this.ask({ ask: 'rotation-show', planId, waitMs: 0 })) as RotationView;
  }

  /** Waits until the rotation is in one of the phases. */
  async until(planId: string, phases: readonly RotationPhase[]): Promise<RotationView> {
    const deadlineMs = Date.now() + patienceMs;
    for (let view = await this.show(planId); ;) {
      if (phases.includes(view.phase)) return view;
      if (Date.now() > deadlineMs) throw new Error(`${planId} stays ${view.phase}`);
      const query = { ask: 'rotation-show', planId, afterIndex: view.index, waitMs: 500 } as const;
      view = (await this.ask(query)) as RotationView;
    }
  }

  /** Version of the primary key of every slot. */
  async versions(): Promise<Record<string, number>> {
    const { layers } = (await this.ask({ ask: 'keys-list' })) as {
      layers: { slots: { slot: string; version: number }[] }[];
    };
    return Object.fromEntries(
      layers.flatMap(({ slots }) => slots.map(({ slot, version }) => [slot, version])),
    );
  }

  #stateOf(agentId: string): string {
    const directory = path.join(this.folder, agentId);
    mkdirSync(directory, { recursive: true });
    return directory;
  }
}
