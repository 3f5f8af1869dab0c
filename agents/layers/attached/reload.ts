/** The program that has a service of somebody else's read its files again. It ends with 0, or it failed. */

import { AdapterError } from '../adapter.ts';
import { runProgram, type ProgramSpec } from './program.ts';

/** @throws AdapterError SYSTEM_UNREACHABLE: it is tried again */
export async function reload(spec: ProgramSpec, slot: string, keyId?: string): Promise<void> {
  const asked = { operation: 'reload', slot, ...(keyId === undefined ? {} : { keyId }) };
  const outcome = await runProgram(spec, JSON.stringify(asked));
  if (outcome.status === 'ended' && outcome.exitCode === 0) return;
  const why = outcome.status === 'ended' ? `exit code ${outcome.exitCode}` : outcome.code;
  const what = `${spec.program} did not reload the service: ${why}`;
  throw new AdapterError('SYSTEM_UNREACHABLE', what, { retryable: true });
}
