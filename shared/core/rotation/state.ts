/**
 * The state of one rotation: plain data that survives JSON unchanged, folded from the saga's entries
 * and from nothing else. It says where the rotation stands, what each slot and member has done, what
 * is outstanding, and which of the two decisions, commit or rollback, was taken (invariant 2).
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type {
  RecoveryAuthorization,
  RotationAuthorization,
  RotationCommit,
  RotationPlan,
} from '#schemas/plan.ts';
import type { RotationEvent, RotationPhase, Samples, StepOperation } from '#schemas/saga.ts';
import type { HeldStep, RotationCommand } from './commands.ts';

/** A key of a slot. */
export interface KeyVersion {
  keyId: string;
  version: number;
}

/** What a member did, and the statement hash of the report that says so. */
export interface Acknowledgement {
  agentId: string;
  report: string;
}

/** What a member still uses a key for: recent uses, tokens in time, objects to be wrapped anew. */
export interface KeyUse {
  agentId: string;
  uses: number;
}

export interface SlotProgress {
  slot: string;
  layer: LayerNumber;
  owner: string;
  /** Members without the right to generate: they accept, verify and let go. */
  verifiers: string[];
  /** Verifiers that did not answer and are out of the slot until they have caught up. */
  fenced: string[];
  /** Members, the owner among them, whose enrolment was revoked since: nobody waits for them. */
  revoked: string[];
  /** The key that was primary when the plan was made. */
  checkpoint: KeyVersion;
  /** The new key, once prepared. */
  candidate: (KeyVersion & { publicDigest: string }) | null;
  /** Members that have the new key durably, the owner first. Never a fenced one. */
  accepted: Acknowledgement[];
  /** `activate` was commanded: the new key may be primary at the owner whatever was heard. */
  touched: boolean;
  activated: Acknowledgement[];
  verified: Acknowledgement[];
  samples: Samples | null;
  /** Members on which nothing depends on the old key any more. */
  released: Acknowledgement[];
  /** Members that still use the key that is to go, and how much, as each said when last asked. */
  heldBy: KeyUse[];
  retired: Acknowledgement[];
  /** The checkpoint must be made primary again (touched, or frozen by a lockout). */
  rollbackDue: boolean;
  rolledBack: Acknowledgement[];
  /** Members that were told of the new key and have not yet confirmed that they dropped it. */
  discardDue: string[];
}

export interface RecordedApproval {
  operatorId: string;
  /** Statement hash of the operator's event. */
  event: string;
}

export interface RotationFailure {
  code: OrchCode;
  reason: string;
  atMs: number;
  /** Where it happened, when it happened in a step. */
  agentId?: string;
  slotLayer?: LayerNumber;
  operation?: StepOperation;
}

export interface DryRun {
  operatorId: string;
  ok: boolean;
  atMs: number;
  code?: OrchCode;
  reason?: string;
}

export interface RotationState {
  sagaId: string;
  planDigest: string;
  /** Statement hash of the entry that began the saga. */
  entryHash: string;
  plan: RotationPlan;
  phase: RotationPhase;
  /** Index of the last entry that was applied. */
  index: number;
  beganAtMs: number;
  /** Time of the last entry. */
  atMs: number;
  /** One decision for ever: `commit` and `rollback` exclude each other. */
  decision: 'none' | 'commit' | 'rollback';
  decidedAtMs: number | null;
  approvals: RecordedApproval[];
  dryRuns: DryRun[];
  /** The request under which the plan is executed. */
  execution: (RecordedApproval & { atMs: number }) | null;
  /** The slots may be held in the ledger. */
  reserved: boolean;
  authorization: RotationAuthorization | null;
  commit: RotationCommit | null;
  recovery: RecoveryAuthorization | null;
  slots: SlotProgress[];
  /** Position in `coordination_sequence` (activation) or in the rollback sequence. */
  cursor: number;
  /** Everything commanded that has no outcome yet; a restarted runtime issues exactly these. */
  outstanding: RotationCommand[];
  /** Steps that failed and go out again, under new ids, when the `retry` timer fires and they are due. */
  waiting: HeldStep[];
  counters: {
    /** Failed reports and steps without any answer: `rotation_failure_count`. */
    failures: number;
    /** Steps sent again because no answer came. */
    resent: number;
    /** Reports that no outstanding step had asked for, in entries that were accepted. */
    ignored: number;
  };
  incompatible: boolean;
  /** Why the plan was refused, or why the rotation went back. */
  failure: RotationFailure | null;
  /** Why the plan was not executed when that was last asked; it stays approved. */
  refusal: RotationFailure | null;
  /** Why the rotation is locked out (ORCH-8006); null when it is not. */
  lockout: RotationFailure | null;
  /** Times that the rotation was locked out. */
  lockouts: number;
  /** The request to leave the present lockout, and who approved it. */
  recoveryRequest: (RecordedApproval & { approvals: RecordedApproval[] }) | null;
}

/**
 * Why an event does not apply. The caller drops it (it is not appended, or was appended by another
 * instance already); none of these says that the saga is stuck.
 */
export const rejectionCodes = {
  /** Not the next index: the caller's state is behind or ahead. */
  INDEX_MISMATCH: 'ORCH-8005',
  /** The phase does not take this event (any more, or yet). */
  PHASE_MISMATCH: 'ORCH-8004',
  /** The other decision has been taken, or the same one already. */
  DECISION_TAKEN: 'ORCH-8005',
  /** The entry does not name the events that it rests on. */
  EVIDENCE_MISSING: 'ORCH-8005',
  APPROVER_IS_REQUESTER: 'ORCH-8015',
  APPROVAL_REPEATED: 'ORCH-8015',
  APPROVALS_MISSING: 'ORCH-8015',
  APPROVALS_FULL: 'ORCH-8015',
  PLAN_EXPIRED: 'ORCH-8004',
  WINDOW_CLOSED: 'ORCH-8004',
  /** No report of the entry answers an outstanding step: late or repeated. */
  REPORT_SUPERSEDED: 'ORCH-8005',
  /** The timer is not running: fired already, or what it waited for has come. */
  TIMER_UNKNOWN: 'ORCH-8005',
  /** The signed statement is not the one that was asked for. */
  STATEMENT_MISMATCH: 'ORCH-8005',
  RECOVERY_PENDING: 'ORCH-8005',
  /** The rotation does not wait for an agent that is said to be revoked. */
  NOT_AWAITED: 'ORCH-8005',
} as const satisfies Record<string, OrchCode>;

export type RejectionCode = keyof typeof rejectionCodes;

export interface Rejection {
  rejected: RejectionCode;
  reason: string;
}

export interface RotationInput {
  index: number;
  /** Statement hashes of the events that the entry rests on. */
  consumed: string[];
  event: RotationEvent;
}

export type RotationStep = { state: RotationState; commands: RotationCommand[] } | Rejection;
