/** The program that has a service of somebody else's read its files again. It ends with 0, or it failed. */

import { AdapterError } from '../adapter.ts';
import { outcomeText, runProgram, type ProgramSpec } from './program.ts';

/** @throws AdapterError SYSTEM_UNREACHABLE: it is tried again */
export async function reload(spec: ProgramSpec, slot: string, keyId?: string): Promise<void> {
  const asked = { operation: 'reload', slot, ...(keyId === undefined ? {} : { keyId }) };
  const outcome = await runProgram(spec, JSON.stringify(asked));
  if (outcome.status === 'ended' && outcome.exitCode === 0) return;
  const { program, onFailure } = spec;
  const what = outcomeText(outcome);
  onFailure?.({ program, operation: 'reload', what, complaint: outcome.complaint });
  const message = `the program ${program} did not reload the service: ${what}`;
  throw new AdapterError('SYSTEM_UNREACHABLE', message, { retryable: true });
}
