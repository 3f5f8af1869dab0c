/** Whose approvals a plan has, how many it still needs, and who may give the next one. Pure functions. */
import type { RotationDetails } from '../answers.ts';

/** What says how many approvals a plan has, and needs. */
export interface Approvals {
  readonly plan: {
    readonly body: Pick<RotationDetails['plan']['body'], 'approvals_required'>;
  };
  readonly state: { readonly approvals: readonly { readonly operatorId: string }[] };
}

/** Approvals that a plan still needs, in whatever phase it waits for them. */
export function missingApprovals({ plan, state }: Approvals): number {
  return Math.max(0, plan.body.approvals_required - state.approvals.length);
}

/** An operator who may approve it and has not; undefined where there is none. */
export function nextApprover(
  { requestedBy, state }: Approvals & Pick<RotationDetails, 'requestedBy'>,
  operators: readonly string[],
): string | undefined {
  const approved = new Set(state.approvals.map(({ operatorId }) => operatorId));
  return operators.find((id) => id !== requestedBy && !approved.has(id));
}
