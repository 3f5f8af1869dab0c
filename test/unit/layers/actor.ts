/**
 * A layer agent on a stage: real key store and real outbox on a disk of its own, a process that can
 * end and come back, and a way to read what it reported.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { LayerAgent, type ReportSink } from '#agents/layers/layer-agent.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { nothingAdvertised } from '#schemas/negotiation.ts';
import type { StepReported } from '#schemas/steps.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { quiet, type World } from '../../support/world.ts';

/** Memory, where there is such a folder: these tests end processes, not machines. */
const scratch = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** Lets a test stand between an agent and what it depends on. */
export interface Between {
  readonly adapter?: (adapter: LayerAdapter) => LayerAdapter;
  readonly store?: (store: StepStore) => StepStore;
  readonly enqueue?: (enqueue: ReportSink['enqueue']) => ReportSink['enqueue'];
}

/** `target`, but for the methods that stand in. */
export function standingIn<Target extends object>(
  target: Target,
  methods: Partial<Target>,
): Target {
  return new Proxy(target, {
    get: (_, name) => {
      const own: unknown = Reflect.get(methods, name) ?? Reflect.get(target, name);
      return typeof own === 'function' ? own.bind(target) : own;
    },
  });
}

/** Who a command is for. */
export interface Addressee {
  readonly agentId: string;
  readonly layer: LayerNumber;
}

/** Who has a part in a plan. */
export interface Member extends Addressee {
  inspect(): Promise<LayerInspection>;
}

export interface Report {
  readonly body: StepReported;
  readonly disclosure: Disclosure;
}

/** One layer agent: its disk stays, its process can end and come back. */
export class Actor {
  readonly agentId: string;
  readonly layer: LayerNumber;
  readonly #world: World;
  readonly #folder: string;
  #reported = 0;
  #close: (() => void) | undefined;
  agent!: LayerAgent;
  adapter!: EmbeddedAdapter;
  store!: StepStore;

  constructor(world: World, agentId: string, layer: LayerNumber) {
    this.agentId = agentId;
    this.layer = layer;
    this.#world = world;
    this.#folder = mkdtempSync(join(scratch, `gyre-${agentId}-`));
    this.begin();
  }

  /** A new process on the same disk; the one before is gone without a word. */
  begin(between: Between = {}): void {
    this.#close?.();
    const { clock, crypto, trust } = this.#world;
    const disk = new SystemDisk(this.#folder);
    this.adapter = EmbeddedAdapter.open({
      layer: this.layer,
      disk,
      crypto,
      clock,
      usageWindowMs: 0,
    });
    const database = openDatabase(disk, 'store.db');
    const outbox = new Outbox({ database, clock, onConflict: () => {}, onTrouble: () => {} });
    this.store = new StepStore(database);
    const enqueue: ReportSink['enqueue'] = ({ subject, frame, hash }) => {
      outbox.enqueue({ subject, data: frame, messageId: hash });
    };
    const bus = this.#world.bus(this.agentId);
    const exchange = this.#world.principal(this.agentId, { bus });
    this.agent = new LayerAgent({
      layer: this.layer,
      exchange,
      bus,
      outbox: { enqueue: between.enqueue?.(enqueue) ?? enqueue },
      store: between.store?.(this.store) ?? this.store,
      adapter: between.adapter?.(this.adapter) ?? this.adapter,
      claims: () => nothingAdvertised,
      trust,
      crypto,
      clock,
      log: quiet,
    });
    const { agent, adapter } = this;
    this.#close = () => {
      void agent.stop();
      adapter.close();
      database.close();
    };
  }

  get databasePath(): string {
    return join(this.#folder, 'store.db');
  }

  get keystorePath(): string {
    return join(this.#folder, 'keystore.db');
  }

  async inspect(): Promise<LayerInspection> {
    return await this.agent.inspect();
  }

  /** Reports since the last look, as their receivers would open them. */
  reports(): Report[] {
    const database = new DatabaseSync(this.databasePath, { readOnly: true });
    const rows = database
      .prepare('SELECT position, subject, data FROM outbox WHERE position > ? ORDER BY position')
      .all(this.#reported);
    database.close();
    const receiver = this.#world.principal('orchestrator-a');
    return rows.flatMap(({ position, subject, data }) => {
      this.#reported = Number(position);
      if (!(data instanceof Uint8Array)) throw new Error('no frame');
      const opening = receiver.open(message(String(subject), data, this.#reported));
      if (opening.status !== 'opened') throw new Error(`no event but ${opening.status}`);
      const { event } = opening;
      if (event.type !== 'step-reported') return [];
      return [{ body: event.body, disclosure: event.disclosure }];
    });
  }

  /** Version and state of every key of a slot, newest first. */
  async states(slot: string): Promise<string[]> {
    const inspection = (await this.adapter.inspect()).find((each) => each.slot === slot);
    return inspection?.versions.map(({ version, state }) => `${version}:${state}`) ?? [];
  }

  end(): void {
    this.#close?.();
    rmSync(this.#folder, { recursive: true });
  }
}

export function message(subject: string, data: Uint8Array, sequence: number): BusMessage {
  return { subject, data, messageId: '', sequence, deliveryCount: 1, timeMs: 0 };
}
