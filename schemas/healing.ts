/**
 * What the self-healing layer asks for: an anomaly that it found in telemetry, and what should be done
 * about it. Telemetry is evidence and never authority; this is a signed control event, and still only
 * a request: the policy's approvals of emergencies, the signer and the auditor decide what becomes of it.
 */

import { Type, type Static } from 'typebox';
import { LayerNumber, SlotName } from './layers.ts';
import {
  AgentId,
  Bytes,
  DigestHex,
  DurationMs,
  Identifier,
  KebabName,
  List,
  OneOf,
  StrictObject,
  TimeMs,
  Uint,
  Version,
} from './primitives.ts';

/** How it was found: a number out of its range, a count within a span, failures among uses, no sign of life. */
export const anomalyRules = ['level', 'rate', 'ratio', 'silence'] as const;
export type AnomalyRule = (typeof anomalyRules)[number];

export const Anomaly = StrictObject({
  /** Whose telemetry it was found in. */
  agentId: AgentId(),
  layer: LayerNumber,
  metric: KebabName(),
  rule: OneOf(anomalyRules),
  slot: Type.Optional(SlotName()),
  version: Type.Optional(Version()),
  observed: Type.Number(),
  expected: Type.Number(),
  threshold: Type.Number(),
  /** Samples, or operations, that the finding rests on. */
  samples: Uint(),
  windowMs: DurationMs(),
  atMs: TimeMs(),
});
export type Anomaly = Static<typeof Anomaly>;

export const HealingAction = StrictObject({
  kind: Type.Literal('emergency-rotation'),
  layers: List(LayerNumber, { itemsMin: 1, itemsMax: 7 }),
  /** The layers that depend on these are turned with them: nobody asks for less. */
  withDependants: Type.Literal(true),
});
export type HealingAction = Static<typeof HealingAction>;

export const anomaliesPerActionMax = 16;

/** What is signed by slot 7/healing-signature. */
export const HealingClaim = StrictObject({
  actionId: Identifier(),
  /** What speaks for it, the first finding first. */
  anomalies: List(Anomaly, { itemsMin: 1, itemsMax: anomaliesPerActionMax }),
  action: HealingAction,
});
export type HealingClaim = Static<typeof HealingClaim>;

/** By the slot's key: ML-DSA-87, its public half beside it; the key's name is SHA3-256 of that. */
export const HealingSignature = StrictObject({
  version: Version(),
  keyId: DigestHex(),
  publicKey: Bytes(2592),
  value: Bytes(4627),
});
export type HealingSignature = Static<typeof HealingSignature>;

export const HealingActionRequested = StrictObject({
  claim: HealingClaim,
  signature: HealingSignature,
});
export type HealingActionRequested = Static<typeof HealingActionRequested>;

/** The slot whose key signs claims. */
export const healingSlot = '7/healing-signature';
/** The layer that may ask for healing. */
export const healingLayer = 7;
