/**
 * The rotation plan and what the signer states about rotations. A plan is drafted by an orchestrator
 * and stated by the signer; approvals, dry runs, execution and every step bind to its digest, so it
 * names all that it was made from: key versions, members, adapters, registry, policy and enrolments.
 */

import { Type, type Static } from 'typebox';
import { Instant, signedDocument } from './document.ts';
import { KeyKind, LayerNumber, SlotName } from './layers.ts';
import {
  AgentId,
  AlgorithmName,
  DigestHex,
  Identifier,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
  Uint,
  Version,
} from './primitives.ts';

export const rotationTypes = ['scheduled', 'emergency', 'policy_change'] as const;
export const RotationType = OneOf(rotationTypes);
export type RotationType = Static<typeof RotationType>;

export const membersPerSlotMax = 256;
export const slotsPerPlanMax = 64;

const Window = StrictObject({ start: Instant(), end: Instant() });

/** One who must accept the new key before it may be used; the owner generates it. */
export const SlotMember = StrictObject({
  agent_id: AgentId(),
  layer: LayerNumber,
  role: OneOf(['owner', 'verifier']),
});
export type SlotMember = Static<typeof SlotMember>;

export const AffectedKey = StrictObject({
  slot: SlotName(),
  layer: LayerNumber,
  key_type: KebabName(),
  key_kind: KeyKind,
  algorithm: AlgorithmName(),
  /** The key that is primary now. */
  key_id: DigestHex(),
  version: Version(),
  members: List(SlotMember, { itemsMin: 1, itemsMax: membersPerSlotMax }),
  rotation_window: Window,
});
export type AffectedKey = Static<typeof AffectedKey>;

export const PlanDependency = StrictObject({
  prerequisite: Type.String({ pattern: '^layer_[1-7]_rotation$' }),
  dependent: Type.String({ pattern: '^layer_[1-7]_rotation$' }),
  reason: Text(200),
});
export type PlanDependency = Static<typeof PlanDependency>;

const Span = Uint(90 * 24 * 3_600_000);

export const RotationPlanBody = StrictObject({
  kind: Type.Literal('rotation_plan'),
  mesh: KebabName(),
  rotation_plan_id: Identifier(),
  rotation_type: RotationType,
  requested_by: AgentId(),
  /** Statement hash of the operator's request event. */
  request: DigestHex(),
  reason: Text(500),
  created_at: Instant(),
  expires_at: Instant(),
  affected_layers: List(LayerNumber, { itemsMin: 1, itemsMax: 7 }),
  affected_keys: List(AffectedKey, { itemsMin: 1, itemsMax: slotsPerPlanMax }),
  dependencies: List(PlanDependency, { itemsMax: 32 }),
  coordination_sequence: List(LayerNumber, { itemsMin: 1, itemsMax: 7 }),
  rollback_triggers: List(Text(128), { itemsMax: 16 }),
  rollback_plan: StrictObject({
    /** Layers in the order in which they go back: the sequence reversed. */
    sequence: List(LayerNumber, { itemsMin: 1, itemsMax: 7 }),
    /** The keys that become primary again. */
    checkpoints: List(StrictObject({ slot: SlotName(), key_id: DigestHex(), version: Version() }), {
      itemsMin: 1,
      itemsMax: slotsPerPlanMax,
    }),
    attempts_max: IntegerRange({ min: 1, max: 100 }),
  }),
  timing: StrictObject({
    step_timeout_ms: Span,
    step_attempts_max: IntegerRange({ min: 1, max: 20 }),
    soak_ms: Span,
    soak_samples_min: Uint(1_000_000),
    overlap_ms: Span,
  }),
  approvals_required: IntegerRange({ min: 0, max: 16 }),
  silent_member: OneOf(['fail', 'fence']),
  /** What the plan was made from; if any of it differs at execution, ORCH-8004 (8007 not ready). */
  basis: StrictObject({
    registry_digest: DigestHex(),
    policy_digest: DigestHex(),
    enrolments_digest: DigestHex(),
    adapters: List(StrictObject({ agent_id: AgentId(), fingerprint: DigestHex() }), {
      itemsMin: 1,
      itemsMax: 1024,
    }),
  }),
  estimated_duration_ms: Span,
});
export type RotationPlanBody = Static<typeof RotationPlanBody>;
export const RotationPlan = signedDocument(RotationPlanBody);
export type RotationPlan = Static<typeof RotationPlan>;

const PlanBound = {
  mesh: KebabName(),
  rotation_plan_id: Identifier(),
  plan_digest: DigestHex(),
  issued_at: Instant(),
};

const Approval = StrictObject({
  operator: AgentId(),
  /** Statement hash of the operator's approval event. */
  event: DigestHex(),
});

/** The signer's word that the approvals which the policy asks for exist: steps may begin. */
export const RotationAuthorizationBody = StrictObject({
  kind: Type.Literal('rotation_authorization'),
  ...PlanBound,
  policy_digest: DigestHex(),
  approvals: List(Approval, { itemsMax: 16 }),
  expires_at: Instant(),
});
export type RotationAuthorizationBody = Static<typeof RotationAuthorizationBody>;
export const RotationAuthorization = signedDocument(RotationAuthorizationBody);
export type RotationAuthorization = Static<typeof RotationAuthorization>;

/** The signer's word that every slot of the plan was accepted, activated and verified. */
export const RotationCommitBody = StrictObject({
  kind: Type.Literal('rotation_commit'),
  ...PlanBound,
  /** The keys that are now primary. */
  keys: List(StrictObject({ slot: SlotName(), key_id: DigestHex(), version: Version() }), {
    itemsMin: 1,
    itemsMax: slotsPerPlanMax,
  }),
  /** Statement hashes of the reports that prove it. */
  reports: List(DigestHex(), { itemsMin: 1, itemsMax: 4096 }),
});
export type RotationCommitBody = Static<typeof RotationCommitBody>;
export const RotationCommit = signedDocument(RotationCommitBody);
export type RotationCommit = Static<typeof RotationCommit>;

/** The signer's word that operators approved leaving a lockout. */
export const RecoveryAuthorizationBody = StrictObject({
  kind: Type.Literal('recovery_authorization'),
  ...PlanBound,
  /** Number of the lockout of this plan that it ends: 1 for the first. */
  lockout: IntegerRange({ min: 1, max: 1000 }),
  approvals: List(Approval, { itemsMin: 1, itemsMax: 16 }),
});
export type RecoveryAuthorizationBody = Static<typeof RecoveryAuthorizationBody>;
export const RecoveryAuthorization = signedDocument(RecoveryAuthorizationBody);
export type RecoveryAuthorization = Static<typeof RecoveryAuthorization>;

/** A signed head of the auditor's RFC 9162 tree. */
export const AuditCheckpointBody = StrictObject({
  kind: Type.Literal('audit_checkpoint'),
  mesh: KebabName(),
  auditor: AgentId(),
  tree_size: Uint(),
  root_hash: DigestHex(),
  issued_at: Instant(),
});
export type AuditCheckpointBody = Static<typeof AuditCheckpointBody>;
export const AuditCheckpoint = signedDocument(AuditCheckpointBody);
export type AuditCheckpoint = Static<typeof AuditCheckpoint>;
