/**
 * Bodies of the events that make up a rotation: what operators ask for, what agents are told, and what
 * they report.
 */

import { Type, type Static } from 'typebox';
import { Disclosure } from './frame.ts';
import { KeyKind, LayerNumber, SlotName } from './layers.ts';
import { AlgorithmCapabilities, NegotiationConstraints, TlsVersion } from './negotiation.ts';
import {
  RecoveryAuthorization,
  RotationAuthorization,
  RotationCommit,
  RotationPlan,
  RotationType,
  slotsPerPlanMax,
} from './plan.ts';
import {
  AlgorithmName,
  BytesMax,
  DigestHex,
  Identifier,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  TimeMs,
  Uint,
  Version,
} from './primitives.ts';
import { OrchestrationCodeName, Reason, Samples, StepOperation } from './saga.ts';

export const evidenceItemsMax = 64;

/* Requests of operators. */

export const RotationRequested = StrictObject({
  requestId: Identifier(),
  rotationType: RotationType,
  layers: List(LayerNumber, { itemsMin: 1, itemsMax: 7 }),
  windowStartMs: Type.Optional(TimeMs()),
  windowEndMs: Type.Optional(TimeMs()),
  reason: Reason,
});
export type RotationRequested = Static<typeof RotationRequested>;

const planBound = { planId: Identifier(), planDigest: DigestHex() };

export const PlanApproved = StrictObject(planBound);
export type PlanApproved = Static<typeof PlanApproved>;
export const ExecutionRequested = StrictObject({ ...planBound, dryRun: Type.Boolean() });
export type ExecutionRequested = Static<typeof ExecutionRequested>;
export const RollbackRequested = StrictObject({ ...planBound, reason: Reason });
export type RollbackRequested = Static<typeof RollbackRequested>;
export const RecoveryRequested = StrictObject(planBound);
export type RecoveryRequested = Static<typeof RecoveryRequested>;
export const RecoveryApproved = StrictObject({
  ...planBound,
  lockout: IntegerRange({ min: 1, max: 1000 }),
});
export type RecoveryApproved = Static<typeof RecoveryApproved>;

/** An orchestrator's answer to a request that did not become an entry of a saga. */
export const RequestRefused = StrictObject({
  /** Statement hash of the request event. */
  request: DigestHex(),
  code: OrchestrationCodeName,
  reason: Reason,
});
export type RequestRefused = Static<typeof RequestRefused>;

/* Steps. */

export const StepCommanded = StrictObject({
  commandId: Identifier(),
  sagaId: Identifier(),
  /** Index of the saga entry that caused the step; an agent refuses a lower one than it has seen. */
  sagaIndex: IntegerRange({ min: 0, max: 100_000 }),
  planDigest: DigestHex(),
  operation: StepOperation,
  slots: List(SlotName(), { itemsMin: 1, itemsMax: slotsPerPlanMax }),
  /** The auditor's `receipts-issued` event that covers the saga entry. */
  receipt: Disclosure,
  /** Sent with `prepare` and `accept`; kept by the agent for the rest of the saga. */
  plan: Type.Optional(RotationPlan),
  authorization: Type.Optional(RotationAuthorization),
  commit: Type.Optional(RotationCommit),
  recovery: Type.Optional(RecoveryAuthorization),
  /** Approvals and reports that the operation rests on. */
  evidence: List(Disclosure, { itemsMax: evidenceItemsMax }),
});
export type StepCommanded = Static<typeof StepCommanded>;

/** What an agent says of one slot; public halves and proofs of use travel here. */
export const ReportedSlot = StrictObject({
  slot: SlotName(),
  version: Version(),
  keyId: DigestHex(),
  publicDigest: DigestHex(),
  /** Raw public half of an asymmetric key: ML-DSA-87 2,592, ML-KEM-1024 1,568, hybrid 1,600 bytes. */
  publicKey: Type.Optional(BytesMax(4096)),
  /** A signature by the new key over the command id (asymmetric signature slots, `activate`). */
  proof: Type.Optional(BytesMax(8192)),
  inUse: Type.Optional(Uint()),
  samples: Type.Optional(Samples),
});
export type ReportedSlot = Static<typeof ReportedSlot>;

export const StepReported = StrictObject({
  commandId: Identifier(),
  sagaId: Identifier(),
  sagaIndex: IntegerRange({ min: 0, max: 100_000 }),
  planDigest: DigestHex(),
  operation: StepOperation,
  status: OneOf(['done', 'failed']),
  code: Type.Optional(OrchestrationCodeName),
  reason: Type.Optional(Reason),
  slots: List(ReportedSlot, { itemsMax: slotsPerPlanMax }),
  durationMs: Uint(),
});
export type StepReported = Static<typeof StepReported>;

export const SlotStatus = StrictObject({
  slot: SlotName(),
  keyKind: KeyKind,
  algorithm: AlgorithmName(),
  version: Version(),
  keyId: DigestHex(),
  publicDigest: DigestHex(),
  activatedAtMs: TimeMs(),
  frozen: Type.Boolean(),
  /** Versions still accepted for verification and decryption, newest first. */
  accepted: List(Version(), { itemsMax: 64 }),
  reservedBy: Type.Optional(Identifier()),
});
export type SlotStatus = Static<typeof SlotStatus>;

export const CapabilityAdvertised = StrictObject({
  adapter: KebabName(),
  fingerprint: DigestHex(),
  ready: Type.Boolean(),
  reason: Type.Optional(Reason),
  slots: List(SlotStatus, { itemsMax: slotsPerPlanMax }),
  algorithms: AlgorithmCapabilities,
  constraints: NegotiationConstraints,
  /** Lowest TLS version that the layer's systems still speak, where they speak TLS. */
  tlsVersionMin: Type.Optional(TlsVersion),
});
export type CapabilityAdvertised = Static<typeof CapabilityAdvertised>;
