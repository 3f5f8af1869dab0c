/**
 * A plan that is not executed does not go on by itself, however long it is watched: it waits for people.
 * Whoever watched it is told what they have to do. A pure function of what an orchestrator tells.
 */
import type { RotationDetails } from '../answers.ts';
import { CliFault, exitCodes } from '../fault.ts';
import { words } from '../style.ts';
import { missingApprovals, nextApprover, type Approvals } from './missing-approvals.ts';

type Plan = Pick<RotationDetails, 'planId' | 'phase' | 'requestedBy' | 'stale'> &
  Approvals & {
    readonly state: {
      readonly execution: unknown;
      readonly refusal: { readonly reason: string } | null;
    };
  };

const waiting: ReadonlySet<RotationDetails['phase']> = new Set([
  'drafted',
  'validated',
  'approved',
]);

/** Undefined where it goes on by itself. Exit code 6, whatever it is that is missing. */
export function waitsForPeople(plan: Plan, operators: readonly string[]): CliFault | undefined {
  const { planId, phase, stale, state } = plan;
  if (!waiting.has(phase) || state.execution !== null) return undefined;
  const about = { exitCode: exitCodes.approvalMissing, about: { planId } };
  const standing = `${planId} is still ${words(phase)}`;
  if (stale !== undefined) {
    return new CliFault({
      code: 'PLAN_STALE',
      reason: `${standing} and can no longer be executed: ${stale.reason}`,
      hint: 'Make another plan: gyre rotation plan.',
      ...about,
    });
  }
  const missing = missingApprovals(plan);
  if (missing > 0) {
    const next = nextApprover(plan, operators);
    return new CliFault({
      code: 'ORCH-8015',
      reason: `${standing}: it waits for ${missing === 1 ? 'an approval' : `${missing} approvals`}`,
      hint:
        next === undefined
          ? 'No other operator is enrolled who could approve it.'
          : `Have it approved: gyre rotation approve ${planId} --as ${next}.`,
      ...about,
    });
  }
  const refused =
    state.refusal === null ? '' : ` (refused when last asked: ${state.refusal.reason})`;
  return new CliFault({
    code: 'NOT_EXECUTED',
    reason: `${standing}: it waits to be executed${refused}`,
    hint: `Execute it: gyre rotation execute ${planId}.`,
    ...about,
  });
}
