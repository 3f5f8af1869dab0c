/**
 * What an orchestrator remembers of the bulk lane, in bounded memory and for as long as it runs: when
 * each layer agent was last heard, how its keys are used, what it measured. It is shown to operators.
 * Nothing decides by it: no saga, no refusal, no health of the mesh.
 */
import type { BatchProof } from '#schemas/frame.ts';
import {
  eventsShownMax,
  measurementsKeptMax,
  usagesKeptMax,
  type AgentTelemetrySummary,
  type TelemetryEvent,
  type TelemetryRecent,
} from '#schemas/telemetry.ts';
import type { Bus, BusMessage, Subscription } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { BulkReceiver, ReceivedBatch } from '#shared/runtime/bulk-receiver.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';

export interface TelemetryDeskPorts {
  readonly agentId: string;
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly trust: TrustView;
  readonly receiver: Pick<BulkReceiver, 'open'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** An agent that was not heard for so long is called silent: five heartbeats, unless told. */
export const silentAfterMs = 5_000;
const agentsMax = 64;
const batchesKeptMax = 16;
const bytesKeptMax = 1024 * 1024;
/** Batches before the start that are still read: an orchestrator that begins is not blind. */
const backlogMessages = 64;

type Usage = AgentTelemetrySummary['usage'][number];
type Measurement = AgentTelemetrySummary['measurements'][number];

type Heard = (header: { readonly channel: string; readonly epoch: number }) => void;

interface Memory {
  heartbeat: AgentTelemetrySummary['heartbeat'];
  missed: number;
  batches: number;
  events: number;
  readonly measurements: Map<string, Measurement>;
  readonly usage: Map<string, Usage>;
  /** The newest last. */
  kept: ReceivedBatch[];
}

export class TelemetryDesk {
  readonly #ports: TelemetryDeskPorts;
  readonly #agents = new Map<string, Memory>();
  #sinceMs: number;
  #subscription: Subscription | undefined;
  #heard: Heard = () => undefined;

  constructor(ports: TelemetryDeskPorts) {
    this.#ports = ports;
    this.#sinceMs = ports.clock.nowMs();
  }

  /**
   * `heard` is told of every batch that is authentic.
   * @throws BusError
   */
  async start(heard: Heard = () => undefined): Promise<void> {
    this.#heard = heard;
    const { bus, subjects, clock } = this.#ports;
    const { lastSequence } = await bus.streamState('GYRE_BULK');
    const fromSequence = Math.max(1, lastSequence + 1 - backlogMessages);
    this.#sinceMs = clock.nowMs();
    const followed = { stream: 'GYRE_BULK' as const, subjects: [subjects.patterns.telemetry] };
    this.#subscription = await bus.follow({ ...followed, fromSequence }, (message) =>
      this.take(message),
    );
  }

  async stop(): Promise<void> {
    await this.#subscription?.stop();
  }

  /** One message of the bulk stream. */
  async take(message: BusMessage): Promise<void> {
    const opening = await this.#ports.receiver.open(message);
    if (opening.status === 'redelivered') return;
    if (opening.status === 'refused') {
      const { subject, sequence } = message;
      this.#ports.log.warn({ code: opening.code, subject, sequence }, 'telemetry refused');
      return;
    }
    const { batch } = opening;
    this.#heard(batch.header);
    const memory = this.#memoryOf(batch.sender.agentId);
    if (memory === undefined) return;
    memory.batches += 1;
    memory.events += batch.events.length;
    for (const event of batch.events) noteEvent(memory, event, message.timeMs);
    keep(memory, batch);
  }

  /** Every enrolled layer agent, or one; also those that were never heard. */
  recent(agentId?: string): TelemetryRecent {
    const { trust, clock, agentId: orchestrator } = this.#ports;
    const nowMs = clock.nowMs();
    const agents = trust
      .agents()
      .filter((agent) => agent.kind === 'layer' && (agentId ?? agent.agentId) === agent.agentId)
      .slice(0, agentsMax)
      .map((agent) => this.#summaryOf(agent.agentId, nowMs));
    return { orchestrator, sinceMs: this.#sinceMs, agents };
  }

  /** One event that is still remembered, the newest unless named. */
  prove(agentId: string, named?: { batch: string; index: number }): BatchProof | undefined {
    const kept = this.#agents.get(agentId)?.kept ?? [];
    const batch = named === undefined ? kept.at(-1) : kept.find(({ hash }) => hash === named.batch);
    const index = named?.index ?? (batch?.events.length ?? 0) - 1;
    return batch === undefined || index >= batch.events.length ? undefined : batch.prove(index);
  }

  #summaryOf(agentId: string, nowMs: number): AgentTelemetrySummary {
    const { heartbeat, missed, batches, events, measurements, usage, kept } =
      this.#agents.get(agentId) ?? newMemory();
    const newest = kept.at(-1)?.header;
    const silentMs = Math.max(0, nowMs - Math.max(heartbeat?.receivedAtMs ?? 0, this.#sinceMs));
    const recent = kept
      .flatMap((batch) => batch.events.map((event, index) => ({ batch: batch.hash, index, event })))
      .slice(-eventsShownMax);
    return {
      agentId,
      silentMs,
      silent: silentMs > silentAfterMs,
      ...(heartbeat === undefined ? {} : { heartbeat }),
      ...(newest === undefined
        ? {}
        : { documents: { registry: newest.registryVersion, policy: newest.policyVersion } }),
      missed,
      batches,
      events,
      measurements: [...measurements.values()],
      usage: [...usage.values()],
      recent,
    };
  }

  #memoryOf(agentId: string): Memory | undefined {
    const known = this.#agents.get(agentId);
    if (known !== undefined) return known;
    if (this.#agents.size >= agentsMax) return undefined;
    const memory = newMemory();
    this.#agents.set(agentId, memory);
    return memory;
  }
}

function newMemory(): Memory {
  return {
    heartbeat: undefined,
    missed: 0,
    batches: 0,
    events: 0,
    measurements: new Map(),
    usage: new Map(),
    kept: [],
  };
}

function noteEvent(memory: Memory, event: TelemetryEvent, receivedAtMs: number): void {
  switch (event.kind) {
    case 'heartbeat': {
      const { atMs, sequence } = event;
      const last = memory.heartbeat?.sequence;
      // A lower number is another start of the agent, and nothing is missing.
      if (last !== undefined && sequence > last) memory.missed += sequence - last - 1;
      memory.heartbeat = { atMs, sequence, receivedAtMs };
      break;
    }
    case 'measurement': {
      const { metric, value, atMs } = event;
      put(memory.measurements, metric, { metric, value, atMs }, measurementsKeptMax);
      break;
    }
    case 'usage': {
      const { slot, version, algorithm, operations, failures } = event;
      const name = `${slot}#${version}`;
      const sum = memory.usage.get(name);
      const added = {
        operations: operations + (sum?.operations ?? 0),
        failures: failures + (sum?.failures ?? 0),
      };
      put(memory.usage, name, { slot, version, algorithm, ...added }, usagesKeptMax);
      break;
    }
  }
}

/** The least recently told goes when there is no more room. */
function put<Value>(map: Map<string, Value>, key: string, value: Value, entriesMax: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= entriesMax) return;
  const oldest = map.keys().next().value;
  if (oldest !== undefined) map.delete(oldest);
}

function keep(memory: Memory, batch: ReceivedBatch): void {
  memory.kept.push(batch);
  let bytes = memory.kept.reduce((sum, { frameBytes }) => sum + frameBytes, 0);
  while (memory.kept.length > 1 && (memory.kept.length > batchesKeptMax || bytes > bytesKeptMax)) {
    bytes -= memory.kept.shift()?.frameBytes ?? 0;
  }
}
