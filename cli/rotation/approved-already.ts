/** Whoever approves a second time is told what is still missing, and that it is not his word. */
import type { RotationDetails } from '../answers.ts';
import { CliFault, exitCodes } from '../fault.ts';
import { missingApprovals, nextApprover, type Approvals } from './missing-approvals.ts';
import type { Asking } from './refusal-hint.ts';

type Standing = Pick<RotationDetails, 'planId' | 'phase' | 'requestedBy'> & Approvals;

const approvable: ReadonlySet<RotationDetails['phase']> = new Set([
  'drafted',
  'validated',
  'approved',
]);

/** Where a plan waits to be approved or executed. */
export function isApprovedBy(
  operatorId: string,
  { phase, state }: Omit<Standing, 'plan'>,
): boolean {
  return (
    approvable.has(phase) && state.approvals.some((approval) => approval.operatorId === operatorId)
  );
}

/** Exit code 6, as for every approval that does not count; it says whose is still missing. */
export function approvedAlready(standing: Standing, { operatorId, operators }: Asking): CliFault {
  const { planId, phase } = standing;
  const missing = missingApprovals(standing);
  const next = nextApprover(standing, operators);
  const needed =
    missing === 0
      ? 'nobody else is needed'
      : missing === 1
        ? 'one more operator is needed'
        : `${missing} more operators are needed`;
  return new CliFault({
    code: 'ORCH-8015',
    reason: `${planId}: ${operatorId} has approved already; ${needed}`,
    hint:
      missing === 0
        ? goOn(planId, phase)
        : next === undefined
          ? 'No other operator is enrolled who could approve it.'
          : `Have another one approve it: gyre rotation approve ${planId} --as ${next}.`,
    exitCode: exitCodes.approvalMissing,
    about: { planId },
  });
}

/** A draft cannot be executed yet, however many have approved it. */
function goOn(planId: string, phase: Standing['phase']): string {
  return phase === 'drafted'
    ? `Its layers are still asked whether it can run; see: gyre rotation show ${planId}.`
    : `Go on with it: gyre rotation execute ${planId}.`;
}
