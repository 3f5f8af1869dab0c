/**
 * Processes of a mesh, killed one after the other at random: each is SIGKILL, as a crash or the system's
 * memory killer would, and the supervisor starts what it runs anew. The next one is chosen when the last
 * one is ready again, so one service at a time is away.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import { readProcesses } from '#cli/mesh/supervisor-record.ts';
import type { Draws } from '../sim/model.ts';
import { until } from '../support/patience.ts';

/** Kinds of process, each with its part of the kills. */
export const killKinds = ['agent', 'orchestrator', 'signer', 'auditor', 'bus', 'service'] as const;
export type KillKind = (typeof killKinds)[number];

const pauseMs = { least: 500, most: 2_500 };

export class Kills {
  readonly #layout: MeshLayout;
  readonly #draws: Draws;
  readonly #counts = new Map<KillKind, number>();
  #spared: ReadonlySet<string> = new Set();
  #running: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(layout: MeshLayout, draws: Draws) {
    this.#layout = layout;
    this.#draws = draws;
  }

  get counts(): ReadonlyMap<KillKind, number> {
    return this.#counts;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  start(): void {
    this.#stopping = false;
    this.#running = this.#run();
  }

  /** Who is not killed from now on. */
  spare(ids: readonly string[]): void {
    this.#spared = new Set(ids);
  }

  /** Everything that was killed is ready again when it resolves. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      await sleep(this.#draws.between(pauseMs.least, pauseMs.most));
      if (!this.#stopping) await this.#killOne();
    }
  }

  async #killOne(): Promise<void> {
    const kind = this.#draws.pick(killKinds);
    const candidates = (await readProcesses(this.#layout)).filter(
      ({ id, pid }) => pid !== null && kindOf(id) === kind && !this.#spared.has(id),
    );
    if (candidates.length === 0) return;
    const { id, pid } = this.#draws.pick(candidates);
    if (pid === null) return;
    process.kill(pid, 'SIGKILL');
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    const isBack = async (): Promise<boolean> => {
      const record = (await readProcesses(this.#layout)).find((each) => each.id === id);
      return record !== undefined && record.pid !== null && record.pid !== pid && record.ready;
    };
    await until(isBack, (back) => back, `${id} is started anew`);
  }
}

function kindOf(id: string): KillKind {
  if (id === 'nats-server') return 'bus';
  if (id === 'signer' || id === 'auditor') return id;
  if (id.endsWith('-service')) return 'service';
  return id.startsWith('orchestrator-') ? 'orchestrator' : 'agent';
}
