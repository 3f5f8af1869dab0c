/**
 * What travels on the bulk lane: measurements, heartbeats and usage counts. Evidence for detection,
 * never authority for an action. One event is one element of a signed batch.
 */

import { Type, type Static } from 'typebox';
import { batchEventsMax } from './frame.ts';
import { SlotName } from './layers.ts';
import {
  AgentId,
  AlgorithmName,
  DigestHex,
  DurationMs,
  KebabName,
  List,
  StrictObject,
  TimeMs,
  Uint,
  Version,
  compile,
} from './primitives.ts';

/** How long the first event of a batch waits for others (`batchEventsMax` in `frame.ts`). */
export const batchWaitMs = 100;

export const TelemetryEvent = Type.Union([
  /** The agent lives; `sequence` rises by one, so that silence and loss can be told apart. */
  StrictObject({ kind: Type.Literal('heartbeat'), atMs: TimeMs(), sequence: Uint() }),
  StrictObject({
    kind: Type.Literal('measurement'),
    atMs: TimeMs(),
    metric: KebabName(),
    value: Type.Number(),
  }),
  /** Uses of one version of a slot's key since the last count. */
  StrictObject({
    kind: Type.Literal('usage'),
    atMs: TimeMs(),
    slot: SlotName(),
    version: Version(),
    algorithm: AlgorithmName(),
    operations: Uint(),
    failures: Uint(),
  }),
]);
export type TelemetryEvent = Static<typeof TelemetryEvent>;

export const telemetryEventCheck = compile(TelemetryEvent);

/** What an orchestrator remembers of one agent: bounded, and lost with its process. */
export const measurementsKeptMax = 32;
export const usagesKeptMax = 64;
export const eventsShownMax = 16;

export const AgentTelemetrySummary = StrictObject({
  agentId: AgentId(),
  /** Since its last heartbeat reached the bus, or since the orchestrator began to listen. */
  silentMs: DurationMs(),
  silent: Type.Boolean(),
  heartbeat: Type.Optional(
    StrictObject({ atMs: TimeMs(), sequence: Uint(), receivedAtMs: TimeMs() }),
  ),
  /** Versions under which its newest batch was sealed: what it works by. */
  documents: Type.Optional(StrictObject({ registry: Version(), policy: Version() })),
  /** Heartbeats whose numbers were left out. */
  missed: Uint(),
  batches: Uint(),
  events: Uint(),
  /** Latest value of each metric. */
  measurements: List(StrictObject({ metric: KebabName(), value: Type.Number(), atMs: TimeMs() }), {
    itemsMax: measurementsKeptMax,
  }),
  /** Sums since the orchestrator began to listen. */
  usage: List(
    StrictObject({
      slot: SlotName(),
      version: Version(),
      algorithm: AlgorithmName(),
      operations: Uint(),
      failures: Uint(),
    }),
    { itemsMax: usagesKeptMax },
  ),
  /** The newest last; each can be proven. */
  recent: List(
    StrictObject({ batch: DigestHex(), index: Uint(batchEventsMax - 1), event: TelemetryEvent }),
    { itemsMax: eventsShownMax },
  ),
});
export type AgentTelemetrySummary = Static<typeof AgentTelemetrySummary>;

export const TelemetryRecent = StrictObject({
  orchestrator: AgentId(),
  sinceMs: TimeMs(),
  agents: List(AgentTelemetrySummary, { itemsMax: 64 }),
});
export type TelemetryRecent = Static<typeof TelemetryRecent>;
