/**
 * What to do about a refused request. The orchestrator's code says why; what helps depends on where
 * the rotation stands by now and on who asked. A pure function.
 */
import type { RotationDetails } from '../answers.ts';
import { missingApprovals, nextApprover, type Approvals } from './missing-approvals.ts';

export interface Asking {
  readonly operatorId: string;
  /** All operators of the mesh. */
  readonly operators: readonly string[];
}

export type Standing = Pick<RotationDetails, 'planId' | 'phase' | 'requestedBy'> &
  Approvals & { readonly state: { readonly decision: string | null } };

/** Undefined where the code's own hint is the best there is. */
export function refusalHint(
  code: string,
  standing: Standing,
  { operatorId, operators }: Asking,
): string | undefined {
  const { planId, phase, state } = standing;
  if (state.decision === 'commit') {
    return `What is committed stays; see it: gyre rotation show ${planId}; to turn the keys again: gyre rotation plan.`;
  }
  if (code === 'ORCH-8015') {
    const hasApproved = state.approvals.some((approval) => approval.operatorId === operatorId);
    if (hasApproved && missingApprovals(standing) === 0) {
      return `Go on with it: gyre rotation execute ${planId}.`;
    }
    const other = nextApprover(standing, operators);
    if (other === undefined) return undefined;
    return `Have another operator approve it: gyre rotation approve ${planId} --as ${other}.`;
  }
  if (code !== 'ORCH-8004') return undefined;
  return isUnderWay.has(phase) ? `It is under way: gyre rotation watch ${planId}.` : undefined;
}

const isUnderWay: ReadonlySet<RotationDetails['phase']> = new Set([
  'reserving',
  'authorizing',
  'preparing',
  'distributing',
  'activating',
  'verifying',
  'soaking',
  'committing',
  'rolling_back',
]);
