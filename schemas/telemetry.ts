/**
 * What travels on the bulk lane: measurements, heartbeats and usage counts. Evidence for detection,
 * never authority for an action. One event is one element of a signed batch.
 */

import { Type, type Static } from 'typebox';
import { SlotName } from './layers.ts';
import {
  AlgorithmName,
  KebabName,
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
