/**
 * What a rotation asks its runtime to do: a closed union of plain data. Each command has a
 * deterministic id (`<sagaId>-<index>-<n>`), so that a repeated command is recognised wherever it
 * arrives (invariant 8), and the index of the entry that issued it, which fences older ones out
 * (invariant 7). Every command stays in `state.outstanding` until its outcome is an entry.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import type {
  RecoveryAuthorizationBody,
  RotationAuthorizationBody,
  RotationCommitBody,
} from '#schemas/plan.ts';
import type { StepOperation } from '#schemas/saga.ts';

/** Documents of the saga that a step carries; the runtime takes them from the state. */
export type StepDocument = 'plan' | 'authorization' | 'commit' | 'recovery';

/** Why a timer runs. `step`: answers are due; `retry`: failed steps are due again. */
export type TimerPurpose = 'step' | 'retry' | 'soak' | 'overlap';

interface Issued {
  id: string;
  /** Index of the entry that issued it (of the latest one, when it is sent again). */
  sagaIndex: number;
}

/** Check the plan against the live agents → `plan-validated` or `plan-refused`. */
export interface ValidatePlan extends Issued {
  type: 'validate-plan';
}

/**
 * Check the plan against the live agents once more, then reserve all of its slots in the ledger →
 * `slots-reserved`, or `execution-refused` (ORCH-8004 for a held slot or a difference).
 */
export interface ReserveSlots extends Issued {
  type: 'reserve-slots';
  slots: string[];
}

/** Give the slots back → `slots-released`. Harmless when none is held. */
export interface ReleaseSlots extends Issued {
  type: 'release-slots';
}

export type SagaStatement =
  RotationAuthorizationBody | RotationCommitBody | RecoveryAuthorizationBody;

/**
 * Have the signer sign `body`, with the plan and the disclosures of `evidence` →
 * `execution-authorized`, `commit-decided`, `recovery-authorized` or `statement-refused`.
 */
export interface SignStatement extends Issued {
  type: 'sign-statement';
  statement: SagaStatement['kind'];
  body: SagaStatement;
  /** Statement hashes of the events that entitle to it. */
  evidence: string[];
}

/**
 * Command one agent → its report, in `reports-received`. What the report's slots must name:
 * `prepare`, `accept`, `activate`, `verify`, `measure`: the new key (`measure` with samples);
 * `release`: the old key with `inUse`; `retire`: the old key; `rollback`: the key that is primary
 * now; `discard`, `freeze`: nothing that is read.
 */
export interface SendStep extends Issued {
  type: 'send-step';
  agentId: string;
  /** The agent's own layer: its channel and subject. */
  layer: LayerNumber;
  /** The layer whose slots are turned; another than `layer` for agents of dependent layers. */
  slotLayer: LayerNumber;
  operation: StepOperation;
  slots: string[];
  /** Statement hashes of the approvals and reports to attach. */
  evidence: string[];
  documents: StepDocument[];
  /** How often it was sent under this id, from 1. */
  attempt: number;
  /** How often the same step failed before, under other ids. */
  failures: number;
}

/** A step that failed, and goes out again under a new id once its own pause is over. */
export interface HeldStep extends SendStep {
  /** By the time of the entry that held it; milliseconds since 1970. */
  againAtMs: number;
}

/** Wait → `timer-fired` with the same `timer`, which is the command's id. */
export interface StartTimer extends Issued {
  type: 'start-timer';
  timer: string;
  purpose: TimerPurpose;
  delayMs: number;
}

export type RotationCommand =
  ValidatePlan | ReserveSlots | ReleaseSlots | SignStatement | SendStep | StartTimer;
