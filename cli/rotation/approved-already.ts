/** Whoever approves a second time is told what is still missing, and that it is not his word. */
import type { RotationDetails } from '../answers.ts';
import { CliFault, exitCodes } from '../fault.ts';
import type { Asking } from './refusal-hint.ts';

type Standing = Pick<RotationDetails, 'planId' | 'phase' | 'requestedBy'> & {
  readonly state: { readonly approvals: readonly { readonly operatorId: string }[] };
};

const approvable: ReadonlySet<RotationDetails['phase']> = new Set([
  'drafted',
  'validated',
  'approved',
]);

/** Where a plan waits to be approved or executed. */
export function isApprovedBy(operatorId: string, { phase, state }: Standing): boolean {
  return (
    approvable.has(phase) && state.approvals.some((approval) => approval.operatorId === operatorId)
  );
}

/** Exit code 6, as for every approval that does not count; it says whose is still missing. */
export function approvedAlready(
  { planId, requestedBy, state }: Standing,
  { operatorId, operators, missing }: Asking & { readonly missing: number },
): CliFault {
  const approved = new Set(state.approvals.map((approval) => approval.operatorId));
  const others = operators.filter((id) => id !== requestedBy && !approved.has(id));
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
        ? `Go on with it: gyre rotation execute ${planId}.`
        : others[0] === undefined
          ? 'No other operator is enrolled who could approve it.'
          : `Have another one approve it: gyre rotation approve ${planId} --as ${others[0]}.`,
    exitCode: exitCodes.approvalMissing,
    about: { planId },
  });
}
