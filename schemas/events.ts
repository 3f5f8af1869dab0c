/**
 * Every event type: the schema of its body, who may send it, on which lane and channel, and how long
 * it may take to arrive. Sender and receiver use this one table; a type that is not in it is refused.
 */

import { Type, type Static, type TSchema } from 'typebox';
import { Disclosure } from './frame.ts';
import { KeyKind, LayerNumber, SlotName } from './layers.ts';
import {
  AuditCheckpoint,
  RecoveryAuthorization,
  RotationAuthorization,
  RotationCommit,
  RotationPlan,
  RotationType,
  slotsPerPlanMax,
} from './plan.ts';
import {
  AgentId,
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
  compile,
  type Validator,
} from './primitives.ts';
import {
  OrchestrationCodeName,
  Reason,
  RotationPhase,
  SagaEntry,
  Samples,
  StepOperation,
} from './saga.ts';
import type { AgentKind } from './trust.ts';

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
});
export type CapabilityAdvertised = Static<typeof CapabilityAdvertised>;

/* The auditor. */

export const ReceiptEntry = StrictObject({
  statementHash: DigestHex(),
  leafIndex: Uint(),
  verdict: OneOf(['accepted', 'refused']),
  /** For entries of a rotation: where the saga stands once the entry has taken effect. */
  sagaId: Type.Optional(Identifier()),
  sagaIndex: Type.Optional(IntegerRange({ min: 0, max: 100_000 })),
  phase: Type.Optional(RotationPhase),
});
export type ReceiptEntry = Static<typeof ReceiptEntry>;

export const ReceiptsIssued = StrictObject({
  treeSize: Uint(),
  rootHash: DigestHex(),
  entries: List(ReceiptEntry, { itemsMin: 1, itemsMax: 256 }),
});
export type ReceiptsIssued = Static<typeof ReceiptsIssued>;

export const CheckpointIssued = StrictObject({ checkpoint: AuditCheckpoint });
export type CheckpointIssued = Static<typeof CheckpointIssued>;

/** The auditor puts back what the bus lost: the original bytes in a new envelope. */
export const EventRestored = StrictObject({
  leafIndex: Uint(),
  statementHash: DigestHex(),
  frame: BytesMax(440 * 1024),
});
export type EventRestored = Static<typeof EventRestored>;

/* The signer. */

export const StatementSigned = StrictObject({
  statement: KebabName(),
  digest: DigestHex(),
  requester: AgentId(),
  verdict: OneOf(['signed', 'refused']),
  code: Type.Optional(OrchestrationCodeName),
  reason: Type.Optional(Reason),
});
export type StatementSigned = Static<typeof StatementSigned>;

/* Reads and signing requests: the query lane. */

export const QueryAsked = StrictObject({
  queryId: Identifier(),
  /** Discriminated and validated by the receiver: `schemas/queries.ts`. */
  query: BytesMax(440 * 1024),
});
export type QueryAsked = Static<typeof QueryAsked>;

/** Encoded result of one answer: 440 KiB. */
export const answerBytesMax = 440 * 1024;

export const QueryAnswered = StrictObject({
  queryId: Identifier(),
  ok: Type.Boolean(),
  code: Type.Optional(OrchestrationCodeName),
  reason: Type.Optional(Reason),
  result: Type.Optional(BytesMax(answerBytesMax)),
});
export type QueryAnswered = Static<typeof QueryAnswered>;

/** What a subject is for (`shared/bus/subjects.ts` writes and parses them). */
export type SubjectKind =
  | 'saga-rotation'
  | 'saga-slots'
  | 'saga-requests'
  | 'step'
  | 'report'
  | 'capability'
  | 'request'
  | 'signer-log'
  | 'audit-receipt'
  | 'audit-verdict'
  | 'audit-checkpoint'
  | 'query';

export interface EventType<Schema extends TSchema> {
  readonly body: Validator<Schema>;
  readonly schemaVersion: number;
  readonly senders: readonly AgentKind[];
  readonly lane: 'control' | 'query';
  /** `layer` stands for `layer-<n>`. */
  readonly channels: readonly ('saga' | 'mesh' | 'operators' | 'layer')[];
  /** Kinds of subject on which it may stand, so that no event passes for one of another kind. */
  readonly subjects: readonly SubjectKind[];
  /** How long after its time an event is still taken. */
  readonly validMs: number;
}

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

const fromOperators = {
  senders: ['operator'],
  channel: 'operators',
  subjects: ['request'],
} as const;
const fromAuditor = { senders: ['auditor'], channel: 'mesh', validMs: 30 * dayMs } as const;

export const eventTypes = {
  'rotation-requested': control(RotationRequested, { ...fromOperators, validMs: dayMs }),
  'plan-approved': control(PlanApproved, { ...fromOperators, validMs: dayMs }),
  'execution-requested': control(ExecutionRequested, { ...fromOperators, validMs: 10 * minuteMs }),
  'rollback-requested': control(RollbackRequested, { ...fromOperators, validMs: 10 * minuteMs }),
  'recovery-requested': control(RecoveryRequested, { ...fromOperators, validMs: dayMs }),
  'recovery-approved': control(RecoveryApproved, { ...fromOperators, validMs: dayMs }),
  'request-refused': control(RequestRefused, {
    senders: ['orchestrator'],
    channel: 'operators',
    subjects: ['saga-requests'],
    validMs: dayMs,
  }),
  'saga-entry': control(SagaEntry, {
    senders: ['orchestrator'],
    channel: 'saga',
    subjects: ['saga-rotation', 'saga-slots'],
    validMs: 30 * dayMs,
  }),
  'step-commanded': control(StepCommanded, {
    senders: ['orchestrator'],
    channel: 'layer',
    subjects: ['step'],
    validMs: dayMs,
  }),
  'step-reported': control(StepReported, {
    senders: ['layer'],
    channel: 'layer',
    subjects: ['report'],
    validMs: 30 * dayMs,
  }),
  'capability-advertised': control(CapabilityAdvertised, {
    senders: ['layer'],
    channel: 'layer',
    subjects: ['capability'],
    validMs: dayMs,
  }),
  'receipts-issued': control(ReceiptsIssued, {
    ...fromAuditor,
    subjects: ['audit-receipt', 'audit-verdict'],
  }),
  'checkpoint-issued': control(CheckpointIssued, {
    ...fromAuditor,
    subjects: ['audit-checkpoint'],
  }),
  'event-restored': {
    ...control(EventRestored, {
      ...fromAuditor,
      subjects: ['saga-rotation', 'saga-slots', 'saga-requests', 'report', 'request'],
    }),
    channels: ['saga', 'operators', 'layer'],
  },
  'statement-signed': control(StatementSigned, {
    senders: ['signer'],
    channel: 'saga',
    subjects: ['signer-log'],
    validMs: 30 * dayMs,
  }),
  'query-asked': query(QueryAsked),
  'query-answered': query(QueryAnswered),
} as const satisfies Record<string, EventType<TSchema>>;

export type EventTypeName = keyof typeof eventTypes;
export type EventBody<Name extends EventTypeName> =
  (typeof eventTypes)[Name]['body'] extends Validator<infer Schema> ? Static<Schema> : never;

export function isEventType(name: string): name is EventTypeName {
  return Object.hasOwn(eventTypes, name);
}

function control<Schema extends TSchema>(
  schema: Schema,
  rules: {
    readonly senders: readonly AgentKind[];
    readonly channel: 'saga' | 'mesh' | 'operators' | 'layer';
    readonly subjects: readonly SubjectKind[];
    readonly validMs: number;
  },
): EventType<Schema> {
  const { channel, ...others } = rules;
  return {
    body: compile(schema),
    schemaVersion: 1,
    lane: 'control',
    channels: [channel],
    ...others,
  };
}

function query<Schema extends TSchema>(schema: Schema): EventType<Schema> {
  return {
    body: compile(schema),
    schemaVersion: 1,
    senders: ['operator', 'orchestrator', 'signer', 'auditor', 'layer'],
    lane: 'query',
    channels: ['operators', 'saga', 'layer'],
    subjects: ['query'],
    validMs: minuteMs / 2,
  };
}
