/**
 * What an orchestrator refused, with what to do about it. The exit code follows from the code: rights
 * that are missing are 6, a lockout is 8, an agent that cannot be reached is 5.
 */
import { orchestrationCodes, type OrchCode } from '#schemas/errors.ts';
import { CliFault, exitCodes, type ExitCode } from './fault.ts';

const exitCodeOf: Readonly<Partial<Record<OrchCode, ExitCode>>> = {
  'ORCH-8006': exitCodes.lockedOut,
  'ORCH-8013': exitCodes.unreachable,
  'ORCH-8015': exitCodes.approvalMissing,
};

const hints: Readonly<Record<OrchCode, string>> = {
  'ORCH-8001': 'Compare what both sides offer with the registry.',
  'ORCH-8002': 'Ask for what the policy allows, or have the policy amended.',
  'ORCH-8003': 'Use an algorithm of the registry.',
  'ORCH-8004': 'Make another plan: gyre rotation plan.',
  'ORCH-8005': 'See why: gyre rotation show ID; then make another plan.',
  'ORCH-8006': 'Ask for a recovery: gyre rotation recover ID, then have it approved.',
  'ORCH-8007': 'Look at gyre status and the log of the layer that is not ready, then try again.',
  'ORCH-8008': 'Rotate the layer that it depends on first, or both in one plan.',
  'ORCH-8009': 'Wait until the other one has ended: gyre rotation list.',
  'ORCH-8010':
    'Look at gyre status: what has expired is amended (gyre registry propose), a lockout ends by itself.',
  'ORCH-8011':
    'Look at gyre status: what has expired is amended (gyre policy propose), a lockout ends by itself.',
  'ORCH-8012': 'Use the gyre that started the mesh.',
  'ORCH-8013': 'Look at gyre status, then try again.',
  'ORCH-8014': 'Look at the log of the member that did not accept the new key, then try again.',
  'ORCH-8015': 'Have another operator approve it: gyre rotation approve ID --as op-2.',
};

/** `planId` goes into the hint, so that what it says to type can be typed. */
export function orchestrationFault(code: OrchCode, reason: string, planId?: string): CliFault {
  return new CliFault({
    ...(planId === undefined ? {} : { about: { planId } }),
    code,
    reason: `${orchestrationCodes[code].meaning}: ${reason}`,
    hint: hints[code].replaceAll(' ID', ` ${planId ?? 'ID'}`),
    exitCode: exitCodeOf[code] ?? exitCodes.failed,
  });
}
