/**
 * Every event type: the schema of its body, who may send it, on which lane and channel, and how long
 * it may take to arrive. Sender and receiver use this one table; a type that is not in it is refused.
 */

import { Type, type Static, type TSchema } from 'typebox';
import { EpochAccepted, EpochEntry, EpochRotationRequested, PrekeysPublished } from './epoch.ts';
import type { Lane } from './frame.ts';
import { HealingActionRequested } from './healing.ts';
import {
  AlgorithmAdvertisement,
  NegotiationConfirmed,
  NegotiationFailed,
  NegotiationOpened,
  NegotiationRequested,
} from './negotiation.ts';
import { AuditCheckpoint } from './plan.ts';
import {
  AgentId,
  BytesMax,
  compile,
  DigestHex,
  Identifier,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
  TimeMs,
  Uint,
  type Validator,
} from './primitives.ts';
import { OrchestrationCodeName, Reason, RotationPhase, SagaEntry } from './saga.ts';
import {
  CapabilityAdvertised,
  ExecutionRequested,
  PlanApproved,
  RecoveryApproved,
  RecoveryRequested,
  RequestRefused,
  RollbackRequested,
  RotationRequested,
  StepCommanded,
  StepReported,
} from './steps.ts';
import { TelemetryEvent } from './telemetry.ts';
import { agentKinds, type AgentKind } from './trust.ts';

/* Trust: on the notices channel, because the documents are public and carry their own signatures. */

/** A signed document (UTF-8 JSON) that a peer asks everyone to adopt. */
export const DocumentOffered = StrictObject({ document: BytesMax(384 * 1024) });
export type DocumentOffered = Static<typeof DocumentOffered>;

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

/** What a certificate says, so that every one that was issued can be told from one that was not. */
const CertificateNoted = StrictObject({
  serial: Type.String({ pattern: '^[0-9a-f]{2,40}$' }),
  /** SHA3-256 of the certified public key. */
  keyId: DigestHex(),
  names: List(Text(253), { itemsMax: 16 }),
  notAfterMs: TimeMs(),
});

export const StatementSigned = StrictObject({
  statement: KebabName(),
  /** Of a certificate SHA3-256 of its DER; of one that was refused, of the request. */
  digest: DigestHex(),
  requester: AgentId(),
  verdict: OneOf(['signed', 'refused']),
  certificate: Type.Optional(CertificateNoted),
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
  | 'saga-epoch'
  | 'trust'
  | 'prekey'
  | 'epoch-report'
  | 'negotiation'
  | 'telemetry'
  | 'step'
  | 'report'
  | 'capability'
  | 'healing'
  | 'request'
  | 'signer-log'
  | 'audit-receipt'
  | 'audit-verdict'
  | 'audit-checkpoint'
  | 'query';

/** Where an event may stand; `notices` is sealed under a key that anyone can derive. */
export type ChannelClass = 'saga' | 'mesh' | 'operators' | 'layer' | 'telemetry' | 'notices';

export interface EventType<Schema extends TSchema> {
  readonly body: Validator<Schema>;
  readonly schemaVersion: number;
  readonly senders: readonly AgentKind[];
  readonly lane: Lane;
  /** `layer` stands for `layer-<n>`. */
  readonly channels: readonly ChannelClass[];
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
const notice = { senders: agentKinds, channel: 'notices', validMs: dayMs } as const;
const runningKinds = ['orchestrator', 'signer', 'auditor', 'layer'] as const;
const negotiating = { channel: 'mesh', subjects: ['negotiation'], validMs: 10 * minuteMs } as const;
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
  /** A request, no more: layer 7's, on the channel of layer 7. */
  'healing-action-requested': control(HealingActionRequested, {
    senders: ['layer'],
    channel: 'layer',
    subjects: ['healing'],
    validMs: 10 * minuteMs,
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
      subjects: ['saga-rotation', 'saga-slots', 'saga-requests', 'report', 'request', 'healing'],
    }),
    channels: ['saga', 'operators', 'layer'],
  },
  'statement-signed': {
    ...control(StatementSigned, {
      senders: ['signer'],
      channel: 'saga',
      subjects: ['signer-log'],
      validMs: 30 * dayMs,
    }),
    /** What is stated of epochs stands among the notices. */
    channels: ['saga', 'notices'],
  },
  'document-offered': control(DocumentOffered, { ...notice, subjects: ['trust'] }),
  'prekeys-published': control(PrekeysPublished, {
    ...notice,
    senders: runningKinds,
    subjects: ['prekey'],
  }),
  'epoch-entry': control(EpochEntry, {
    senders: ['orchestrator'],
    channel: 'notices',
    subjects: ['saga-epoch'],
    validMs: 30 * dayMs,
  }),
  'epoch-accepted': control(EpochAccepted, {
    ...notice,
    senders: runningKinds,
    subjects: ['epoch-report'],
  }),
  'epoch-rotation-requested': control(EpochRotationRequested, {
    ...fromOperators,
    validMs: 10 * minuteMs,
  }),
  'negotiation-requested': control(NegotiationRequested, {
    ...fromOperators,
    validMs: 10 * minuteMs,
  }),
  'negotiation-opened': control(NegotiationOpened, { ...negotiating, senders: ['orchestrator'] }),
  'algorithms-advertised': control(AlgorithmAdvertisement, {
    ...negotiating,
    senders: runningKinds,
  }),
  'negotiation-confirmed': control(NegotiationConfirmed, { ...negotiating, senders: runningKinds }),
  'negotiation-failed': control(NegotiationFailed, { ...negotiating, senders: runningKinds }),
  /** `body` is the schema of one event of the batch. */
  'telemetry-batch': {
    ...control(TelemetryEvent, {
      senders: ['layer'],
      channel: 'telemetry',
      subjects: ['telemetry'],
      validMs: dayMs,
    }),
    lane: 'bulk',
  },
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
    readonly channel: ChannelClass;
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
    channels: ['operators', 'saga', 'layer', 'notices'],
    subjects: ['query'],
    validMs: minuteMs / 2,
  };
}
