/**
 * Entries of a saga's log. One subject per saga carries all its decisions; each entry names the one
 * before it, its index and the events that it consumed, so that a replay sees the same inputs in the
 * same order (invariants 2, 5, 7). An entry takes effect only when an auditor's receipt covers it.
 */

import { Type, type Static, type TProperties } from 'typebox';
import { orchCodes } from './errors.ts';
import { SlotName } from './layers.ts';
import {
  RecoveryAuthorization,
  RotationAuthorization,
  RotationCommit,
  RotationPlan,
  slotsPerPlanMax,
} from './plan.ts';
import {
  AgentId,
  DigestHex,
  Identifier,
  IntegerRange,
  List,
  OneOf,
  StrictObject,
  Text,
  TimeMs,
  Uint,
  Version,
} from './primitives.ts';

export const OrchestrationCodeName = OneOf(orchCodes);
export const Reason = Text(500);

/** Members that one entry says are revoked; more of them take another. */
export const revocationsPerEntryMax = 64;

/** What a layer agent can be told to do with the slots of a plan. */
export const stepOperations = [
  'prepare',
  'accept',
  'activate',
  'verify',
  'measure',
  'release',
  'retire',
  'rollback',
  'discard',
  'freeze',
] as const;
export const StepOperation = OneOf(stepOperations);
export type StepOperation = Static<typeof StepOperation>;

/** Use of a slot's keys since activation, as the agent counted it. */
export const Samples = StrictObject({
  operations: Uint(),
  failures: Uint(),
  /** Median latency of the new key relative to the old one's, in per cent; 100 means as fast. */
  latencyPercent: Uint(1_000_000),
});
export type Samples = Static<typeof Samples>;

/** What a report says of one slot. */
export const SlotOutcome = StrictObject({
  slot: SlotName(),
  version: Version(),
  keyId: DigestHex(),
  /** SHA3-256 of the public half, or of the commitment to a symmetric key. */
  publicDigest: DigestHex(),
  /** Uses of the old key that are still possible or were seen lately; 0 lets it go. */
  inUse: Type.Optional(Uint()),
  samples: Type.Optional(Samples),
});
export type SlotOutcome = Static<typeof SlotOutcome>;

export const StepReport = StrictObject({
  /** Statement hash of the agent's report event. */
  report: DigestHex(),
  commandId: Identifier(),
  agentId: AgentId(),
  operation: StepOperation,
  status: OneOf(['done', 'failed']),
  code: Type.Optional(OrchestrationCodeName),
  reason: Type.Optional(Reason),
  slots: List(SlotOutcome, { itemsMax: slotsPerPlanMax }),
});
export type StepReport = Static<typeof StepReport>;

export const Readiness = StrictObject({
  agentId: AgentId(),
  ready: Type.Boolean(),
  reason: Type.Optional(Reason),
});
export type Readiness = Static<typeof Readiness>;

const at = { atMs: TimeMs() };
const refusal = { code: OrchestrationCodeName, reason: Reason };

function fact<Name extends string, Fields extends TProperties>(name: Name, fields: Fields) {
  return StrictObject({ type: Type.Literal(name), ...at, ...fields });
}

export const RotationEvent = Type.Union([
  fact('plan-drafted', { plan: RotationPlan }),
  fact('plan-validated', { readiness: List(Readiness, { itemsMax: 1024 }) }),
  fact('plan-refused', refusal),
  fact('approval-recorded', { operatorId: AgentId() }),
  fact('dry-run-completed', {
    operatorId: AgentId(),
    ok: Type.Boolean(),
    code: Type.Optional(OrchestrationCodeName),
    reason: Type.Optional(Reason),
  }),
  fact('execution-requested', { operatorId: AgentId() }),
  /** The live check at execution found a difference; the plan stays approved. */
  fact('execution-refused', refusal),
  fact('slots-reserved', {}),
  fact('execution-authorized', { authorization: RotationAuthorization }),
  /** The signer would not sign; before the commit decision this ends in a rollback. */
  fact('statement-refused', {
    statement: OneOf(['rotation_authorization', 'rotation_commit', 'recovery_authorization']),
    ...refusal,
  }),
  fact('reports-received', { reports: List(StepReport, { itemsMin: 1, itemsMax: 64 }) }),
  fact('timer-fired', { timer: Identifier() }),
  fact('commit-decided', { commit: RotationCommit }),
  fact('rollback-requested', { operatorId: AgentId(), reason: Reason }),
  fact('recovery-requested', { operatorId: AgentId() }),
  fact('recovery-approved', { operatorId: AgentId() }),
  fact('recovery-authorized', { authorization: RecoveryAuthorization }),
  fact('slots-released', {}),
  /** Nobody waits for these members any more: the trust documents say that they are out. */
  fact('members-revoked', {
    agentIds: List(AgentId(), { itemsMin: 1, itemsMax: revocationsPerEntryMax }),
  }),
]);
export type RotationEvent = Static<typeof RotationEvent>;

/**
 * Who holds which slot: one log for the whole mesh, so that a reservation is all or nothing. The
 * index of the commanding entry fences: what an overtaken instance asks late changes nothing.
 */
export const SlotsEvent = Type.Union([
  fact('slots-reserved', {
    sagaId: Identifier(),
    sagaIndex: IntegerRange({ min: 0, max: 100_000 }),
    slots: List(SlotName(), { itemsMin: 1, itemsMax: slotsPerPlanMax }),
  }),
  fact('slots-released', {
    sagaId: Identifier(),
    sagaIndex: IntegerRange({ min: 0, max: 100_000 }),
  }),
]);
export type SlotsEvent = Static<typeof SlotsEvent>;

const entry = {
  index: IntegerRange({ min: 0, max: 100_000 }),
  /** Statement hash of the entry before; 64 zeros for the first. */
  previous: DigestHex(),
  /** Statement hashes of the events that this entry rests on. */
  consumed: List(DigestHex(), { itemsMax: 64 }),
};

export const SagaEntry = Type.Union([
  StrictObject({
    saga: Type.Literal('rotation'),
    sagaId: Identifier(),
    ...entry,
    event: RotationEvent,
  }),
  StrictObject({
    saga: Type.Literal('slots'),
    sagaId: Type.Literal('slots'),
    ...entry,
    event: SlotsEvent,
  }),
]);
export type SagaEntry = Static<typeof SagaEntry>;

/** Where a rotation stands. */
export const rotationPhases = [
  'drafted',
  'validated',
  'refused',
  'approved',
  'reserving',
  'authorizing',
  'preparing',
  'distributing',
  'activating',
  'verifying',
  'soaking',
  'committing',
  'committed',
  'retiring',
  'retired',
  'rolling_back',
  'rolled_back',
  'locked_out',
] as const;
export const RotationPhase = OneOf(rotationPhases);
export type RotationPhase = Static<typeof RotationPhase>;
