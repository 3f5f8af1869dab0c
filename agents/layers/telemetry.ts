/**
 * What a layer agent says of itself without being asked: that it lives, how its keys are used, how its
 * process fares. It goes out on the bulk lane: evidence for who watches, authority for nobody, and
 * dropped before it hinders a step.
 */
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import type { BulkCounts } from '#shared/runtime/bulk-sender.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { AdapterError, type LayerAdapter } from './adapter.ts';
import type { UsageCount } from './embedded/key-usage.ts';

type Metrics = Readonly<Record<string, number>>;

export interface AgentTelemetryPorts {
  readonly sender: {
    offer(event: TelemetryEvent): 'taken' | 'dropped';
    counts(): BulkCounts;
  };
  /** Uses since they were last taken. */
  readonly usage: { takeCounts(): readonly UsageCount[] | Promise<readonly UsageCount[]> };
  readonly adapter: Pick<LayerAdapter, 'inspect'>;
  /** Metric to value, of the agent's process and of its service; at most 32. */
  readonly measure: () => Metrics | Promise<Metrics>;
  readonly heartbeatMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Uses and measurements are sent with every tenth heartbeat. */
export const heartbeatsPerReport = 10;
const metricsMax = 32;

export class AgentTelemetry {
  readonly #ports: AgentTelemetryPorts;
  #timer: Timer | undefined;
  #sequence = 0;
  #reporting: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(ports: AgentTelemetryPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#beat();
  }

  /** The last counts are offered before it resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#reporting;
    await this.#report();
  }

  #beat(): void {
    const { sender, clock, heartbeatMs } = this.#ports;
    sender.offer({ kind: 'heartbeat', atMs: clock.nowMs(), sequence: this.#sequence });
    this.#sequence += 1;
    if (this.#sequence % heartbeatsPerReport === 0) this.#reporting = this.#report();
    if (!this.#stopped) this.#timer = clock.after(heartbeatMs, () => this.#beat());
  }

  async #report(): Promise<void> {
    const { sender, clock, log } = this.#ports;
    const atMs = clock.nowMs();
    try {
      const measured = await this.#ports.measure();
      const metrics = { 'telemetry-dropped': sender.counts().dropped, ...measured };
      for (const [metric, value] of Object.entries(metrics).slice(0, metricsMax)) {
        sender.offer({ kind: 'measurement', atMs, metric, value });
      }
      await this.#reportUses(atMs);
    } catch (error) {
      // The adapter cannot be looked into at present.
      if (!(error instanceof AdapterError)) throw error;
      log.debug({ code: error.code }, 'uses are counted later');
    }
  }

  async #reportUses(atMs: number): Promise<void> {
    const { sender, adapter, usage } = this.#ports;
    const inspections = await adapter.inspect();
    const algorithms = new Map(inspections.map(({ slot, algorithm }) => [slot, algorithm]));
    for (const { slot, version, operations, failures } of await usage.takeCounts()) {
      const algorithm = algorithms.get(slot);
      if (algorithm === undefined) continue;
      sender.offer({ kind: 'usage', atMs, slot, version, algorithm, operations, failures });
    }
  }
}
