/**
 * What a rotation came to, as one document for scripts and for the renderer: pure functions of the
 * details that an orchestrator answered with.
 */
import { layerDependencies, type LayerNumber } from '#schemas/layers.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { formatInstant } from '#shared/core/instant.ts';
import { windowOf } from '#shared/core/plan-window.ts';
import type { Failure, RotationDetails } from '../answers.ts';
import { exitCodes, type ExitCode } from '../fault.ts';
import { orchestrationFault } from '../orchestration-fault.ts';

export interface SlotResult {
  readonly slot: string;
  readonly layer: LayerNumber;
  readonly old: { readonly keyId: string; readonly version: number };
  /** Absent where no new key was made. */
  readonly new?: { readonly keyId: string; readonly version: number };
  /** Who still uses the key that is to go, the old one or after a rollback the new one; absent for nobody. */
  readonly heldBy?: readonly { readonly agentId: string; readonly uses: number }[];
}

/** A layer that is turned because another one is: what it holds rests on keys of that one. */
export interface DependentLayer {
  readonly layer: LayerNumber;
  readonly turnedWith: LayerNumber;
  readonly reason: string;
}

export interface RotationResult {
  readonly planId: string;
  readonly planDigest: string;
  readonly phase: RotationPhase;
  readonly rotationType: string;
  readonly sequence: readonly LayerNumber[];
  readonly dependentLayers: readonly DependentLayer[];
  readonly requestedBy: string;
  readonly approvals: readonly string[];
  readonly approvalsRequired: number;
  readonly estimatedDurationMs: number;
  /** In which the rotation as a whole has to begin, and every layer to be activated. */
  readonly window: { readonly start: string; readonly end: string };
  readonly expiresAt: string;
  /** Why it can no longer be executed; absent where it can, or has begun. */
  readonly stale?: Failure;
  readonly slots: readonly SlotResult[];
  readonly timings: Timings;
  /** Members that were revoked while the rotation waited for them; absent where none was. */
  readonly revoked?: readonly string[];
  readonly failure?: Failure;
  readonly lockout?: Failure;
  /** Where the rotation did not end as it was meant to: why, and what to do. */
  readonly error?: Failure & { readonly hint: string };
}

/** Spans between entries of the saga; absent where it has not come so far. */
export interface Timings {
  /** From the request to execute to the commit decision. */
  readonly executeToCommittedMs?: number;
  /** From the request to execute to the end of the rollback. */
  readonly executeToRolledBackMs?: number;
}

export function resultOf(details: RotationDetails): RotationResult {
  const { plan, state } = details;
  const { failure, lockout } = state;
  return {
    planId: details.planId,
    planDigest: details.planDigest,
    phase: details.phase,
    rotationType: details.rotationType,
    sequence: plan.body.coordination_sequence,
    dependentLayers: dependentLayersOf(plan.body),
    requestedBy: details.requestedBy,
    approvals: state.approvals.map(({ operatorId }) => operatorId),
    approvalsRequired: plan.body.approvals_required,
    estimatedDurationMs: plan.body.estimated_duration_ms,
    window: windowShown(plan.body),
    expiresAt: plan.body.expires_at,
    ...(details.stale === undefined ? {} : { stale: failureOf(details.stale) }),
    slots: state.slots.map(({ slot, layer, checkpoint, candidate, heldBy }) => ({
      slot,
      layer,
      old: keyOf(checkpoint),
      ...(candidate === null ? {} : { new: keyOf(candidate) }),
      ...(heldBy.length === 0
        ? {}
        : { heldBy: heldBy.map(({ agentId, uses }) => ({ agentId, uses })) }),
    })),
    timings: timingsOf(details),
    ...revokedOf(state),
    ...(failure === null ? {} : { failure: failureOf(failure) }),
    ...(lockout === null ? {} : { lockout: failureOf(lockout) }),
    ...errorOf(details),
  };
}

/** The exit code of a command that waited for this phase. */
export function exitCodeOf(phase: RotationPhase): ExitCode {
  switch (phase) {
    case 'rolled_back':
      return exitCodes.rolledBack;
    case 'locked_out':
      return exitCodes.lockedOut;
    case 'refused':
      return exitCodes.failed;
    default:
      return exitCodes.done;
  }
}

/** All that is known of a rotation, its saga named by its plan as everywhere on the command line. */
export function detailsResult(details: RotationDetails) {
  const { sagaId: _, ...state } = details.state as RotationDetails['state'] & { sagaId?: unknown };
  const { body } = details.plan;
  const said = { dependentLayers: dependentLayersOf(body), window: windowShown(body) };
  return { ...details, ...said, state };
}

/** As the plan itself names them, which the signer has signed. */
function dependentLayersOf({ dependencies }: RotationPlanBody): DependentLayer[] {
  const named = new Set(dependencies.map((each) => `${each.prerequisite} ${each.dependent}`));
  return layerDependencies
    .filter((each) =>
      named.has(`layer_${each.prerequisite}_rotation layer_${each.dependent}_rotation`),
    )
    .map(({ prerequisite, dependent, reason }) => ({
      layer: dependent,
      turnedWith: prerequisite,
      reason,
    }));
}

/** The windows of the keys are parts of it, which give an order and are not kept one by one. */
function windowShown(plan: RotationPlanBody): RotationResult['window'] {
  const { startMs, endMs } = windowOf(plan);
  return { start: formatInstant(startMs), end: formatInstant(endMs) };
}

function errorOf({ phase, planId, state }: RotationDetails): Pick<RotationResult, 'error'> {
  const cause = phase === 'locked_out' ? state.lockout : state.failure;
  if (cause === null || exitCodeOf(phase) === exitCodes.done) return {};
  const { hint } = orchestrationFault(cause.code, cause.reason, planId);
  return { error: { ...failureOf(cause), hint } };
}

function revokedOf({ slots }: RotationDetails['state']): Pick<RotationResult, 'revoked'> {
  const revoked = [...new Set(slots.flatMap((slot) => slot.revoked))];
  return revoked.length === 0 ? {} : { revoked };
}

function timingsOf({ state, phase, atMs }: RotationDetails): Timings {
  const { execution, decision, decidedAtMs } = state;
  if (execution === null) return {};
  if (decision === 'commit' && decidedAtMs !== null) {
    return { executeToCommittedMs: decidedAtMs - execution.atMs };
  }
  if (phase === 'rolled_back') return { executeToRolledBackMs: atMs - execution.atMs };
  return {};
}

function keyOf({ keyId, version }: { keyId: string; version: number }) {
  return { keyId, version };
}

function failureOf({ code, reason }: Failure): Failure {
  return { code, reason };
}
