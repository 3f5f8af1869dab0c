/** All cases, in the order in which they are read. */
import { batchCases, proofCases } from './batch-cases.ts';
import type { Case } from './case.ts';
import { disclosureCases, eventCases } from './event-cases.ts';

export function allCases(): Case[] {
  return [...eventCases(), ...batchCases(), ...disclosureCases(), ...proofCases()];
}
