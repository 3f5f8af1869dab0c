/**
 * A whole mesh in one process: two orchestrators, signer, auditor and layer agents as they run in
 * production, with real keys, real databases and the in-memory bus. Each can be stopped hard and
 * started again on what it had made durable, in the order that a test wants.
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Auditor } from '#agents/auditor/auditor.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import { algorithmClaims } from '#agents/layers/algorithm-capabilities.ts';
import { LayerAgent } from '#agents/layers/layer-agent.ts';
import { Negotiator } from '#agents/layers/negotiator.ts';
import { ReportOutbox } from '#agents/layers/report-outbox.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { Orchestrator } from '#agents/orchestrator/orchestrator.ts';
import { TelemetryDesk } from '#agents/orchestrator/telemetry-desk.ts';
import { CheckpointMemory } from '#agents/signer/checkpoint-memory.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { Signer } from '#agents/signer/signer.ts';
import type { AgentConfig } from '#schemas/config.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { Query } from '#schemas/queries.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { Notices } from '#shared/runtime/notices.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { TrustStore } from '#shared/runtime/trust-store.ts';
import { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { learnFrom } from './documents.ts';
import { KeysInMemory } from './keys-in-memory.ts';
import { crypto, makeWorld, quiet, type World, type WorldOptions } from './world.ts';

export interface MeshOptions extends WorldOptions {
  /** 0 makes both orchestrators act on everything at once. */
  readonly takeoverMs?: number;
  /** Wraps the adapter of a layer: a fake with behaviour, to make a system fail. */
  readonly adapterOf?: (layer: number, adapter: EmbeddedAdapter) => LayerAdapter;
  /** What layer agents ask of negotiations. */
  readonly negotiation?: AgentConfig['negotiation'];
}

interface Running {
  stop(): Promise<void>;
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
  readonly #operators = new Map<string, { bus: Bus; exchange: Principal }>();
  readonly #views = new Map<string, { trust: TrustView; trustDesk: TrustDesk }>();

  private constructor(world: World, options: MeshOptions) {
    this.world = world;
    this.#options = options;
    this.folder = mkdtempSync(path.join(tmpdir(), 'gyre-mesh-'));
  }

  static async start(options: MeshOptions = {}): Promise<InMemoryMesh> {
    const mesh = new InMemoryMesh(await makeWorld(options), options);
    const ids = mesh.world.trust.agents().filter(({ kind }) => kind !== 'operator');
    for (const kind of ['signer', 'auditor', 'layer'] as const) {
      for (const agent of ids.filter((one) => one.kind === kind))
        await mesh.startAgent(agent.agentId);
    }
    await Promise.all(
      ids.filter(({ kind }) => kind === 'orchestrator').map((one) => mesh.startAgent(one.agentId)),
    );
    return mesh;
  }

  async stop(): Promise<void> {
    const order = ['orchestrator', 'layer', 'signer', 'auditor'];
    const agents = this.world.trust.agents();
    for (const kind of order) {
      const ids = agents.filter((agent) => agent.kind === kind).map(({ agentId }) => agentId);
      await Promise.all(ids.map((id) => this.stopAgent(id)));
    }
    for (const { bus } of this.#operators.values()) await bus.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async stopAgent(agentId: string): Promise<void> {
    const running = this.#running.get(agentId);
    this.#running.delete(agentId);
    await running?.stop();
  }

  async startAgent(agentId: string): Promise<void> {
    const agent = this.world.trust.agent(agentId);
    if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
    const starters = {
      operator: () => Promise.reject(new Error('operators do not run')),
      orchestrator: () => this.#startOrchestrator(agentId),
      signer: () => this.#startSigner(agentId),
      auditor: () => this.#startAuditor(agentId),
      layer: () => this.#startLayer(agentId, agent.layer ?? 0),
    };
    this.#running.set(agentId, await starters[agent.kind]());
  }

  operator(id: string): Principal {
    const known = this.#operators.get(id);
    if (known !== undefined) return known.exchange;
    const bus = this.world.bus(id);
    const trust = this.world.newTrust();
    const catchUp = (): Promise<void> => this.#catchUp(id, trust);
    const exchange = this.world.principal(id, { bus, trust, catchUp });
    this.#operators.set(id, { bus, exchange });
    return exchange;
  }

  /** What a running agent holds of trust. */
  trustOf(agentId: string): TrustView {
    return this.#viewOf(agentId).trust;
  }

  deskOf(agentId: string): TrustDesk {
    return this.#viewOf(agentId).trustDesk;
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

  #viewOf(agentId: string): { trust: TrustView; trustDesk: TrustDesk } {
    const view = this.#views.get(agentId);
    if (view === undefined) throw new Error(`${agentId} does not run`);
    return view;
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

  async plan(layers: readonly number[]): Promise<RotationView> {
    const requestId = crypto.randomBytes(8).join('');
    const body = { requestId, rotationType: 'scheduled', layers, reason: 'test' };
    const outcome = await this.request('op-1', 'rotation-requested', body);
    if (outcome.planId === undefined) throw new Error(`${outcome.code}: ${outcome.reason}`);
    return this.until(outcome.planId, ['validated', 'refused']);
  }

  /** A plan that op-2 has approved. */
  async approvedPlan(layers: readonly number[]): Promise<RotationView> {
    const { planId, planDigest } = await this.plan(layers);
    await this.request('op-2', 'plan-approved', { planId, planDigest });
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
    const deadlineMs = Date.now() + 30_000;
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

  #shared(agentId: string, observesAll = false) {
    const { clock } = this.world;
    const bus = this.world.bus(agentId);
    const trust = this.world.newTrust();
    const store = TrustStore.open({ directory: this.#stateOf(agentId), crypto, trust });
    const kind = trust.agent(agentId)?.kind ?? 'layer';
    const desk = { agentId, kind, trust, store, crypto, bus, clock, log: quiet };
    const trustDesk = new TrustDesk(desk);
    const catchUp = (): Promise<void> => trustDesk.catchUp();
    const isLockedOut = (id: string): boolean => trustDesk.isLockedOut(id);
    const choices = { bus, observesAll, trust, catchUp, isLockedOut };
    const exchange = this.world.principal(agentId, choices);
    const subjects = subjectsOf(this.world.mesh);
    const shared = { agentId, bus, exchange, trust, crypto, clock, log: quiet, subjects };
    const admits = (id: string, atMs: number): boolean => trustDesk.admits(id, atMs);
    const notices = new Notices({ ...shared, kind, catchUp, admits });
    notices.on('document-offered', (event, storedAtMs) => trustDesk.offered(event, storedAtMs));
    this.#views.set(agentId, { trust, trustDesk });
    return { ...shared, trustDesk, notices };
  }

  #stateOf(agentId: string): string {
    const directory = path.join(this.folder, agentId);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  async #startOrchestrator(agentId: string): Promise<Running> {
    const takeoverMs = this.#options.takeoverMs ?? 500;
    const shared = this.#shared(agentId);
    const receiver = new BulkReceiver({ ...shared, keyring: this.world.keyring(agentId) });
    const telemetry = new TelemetryDesk({ ...shared, receiver });
    const orchestrator = new Orchestrator({ ...shared, telemetry, takeoverMs });
    await shared.notices.start();
    await orchestrator.start();
    return orchestrator;
  }

  async #startSigner(agentId: string): Promise<Running> {
    const shared = this.#shared(agentId);
    const database = new DatabaseSync(path.join(this.#stateOf(agentId), 'signer.db'));
    const outbox = new Outbox({
      database,
      clock: shared.clock,
      onConflict: () => undefined,
      onTrouble: () => undefined,
    });
    const checkpoints = new CheckpointMemory(database, crypto);
    const token = new KeysInMemory(this.world);
    const epochRecord = new EpochRecord(database);
    const signer = new Signer({
      ...shared,
      outbox,
      checkpoints,
      epochRecord,
      token,
      isLockedOut: (id) => shared.trustDesk.isLockedOut(id),
      childRestarts: () => 0,
    });
    await shared.notices.start();
    await signer.start();
    return {
      stop: async () => {
        await signer.stop();
        database.close();
      },
    };
  }

  async #startAuditor(agentId: string): Promise<Running> {
    const shared = this.#shared(agentId, true);
    const auditor = await Auditor.open({
      ...shared,
      keyring: this.world.keyring(agentId),
      stateDirectory: this.#stateOf(agentId),
      lookMs: 200,
    });
    await shared.notices.start();
    await auditor.start();
    return auditor;
  }

  async #startLayer(agentId: string, layerNumber: number): Promise<Running> {
    const layer = layerNumber as 1 | 2 | 3 | 4 | 5 | 6 | 7;
    const shared = this.#shared(agentId);
    const directory = this.#stateOf(agentId);
    const embedded = EmbeddedAdapter.open({
      layer,
      databasePath: path.join(directory, 'keystore.db'),
      storeKeyPath: path.join(directory, 'keystore.key'),
      crypto,
      clock: shared.clock,
      usageWindowMs: 100,
    });
    const adapter = this.#options.adapterOf?.(layer, embedded) ?? embedded;
    const database = openDatabase(path.join(directory, 'store.db'));
    const outbox = new Outbox({
      database,
      clock: shared.clock,
      onConflict: () => undefined,
      onTrouble: () => undefined,
    });
    const reports = new ReportOutbox({ ...shared, outbox });
    const claims = await algorithmClaims({ ...shared, layer, ...this.#options.negotiation });
    const isLockedOut = (id: string): boolean => shared.trustDesk.isLockedOut(id);
    new Negotiator({ ...shared, claims, isLockedOut }).listen(shared.notices);
    const agent = new LayerAgent({
      ...shared,
      layer,
      claims,
      outbox: reports,
      store: new StepStore(database),
      adapter,
    });
    await reports.start();
    await shared.notices.start();
    await agent.start();
    return {
      stop: async () => {
        await shared.notices.stop();
        await agent.stop();
        await reports.stop();
        await shared.bus.close();
        embedded.close();
        database.close();
      },
    };
  }
}
