/** The parts of one step's time, and what they add up to over many. */
import type { StepOperation } from '#schemas/saga.ts';
import { summarise, type Summary } from './measure.ts';

export interface AddressedTimes {
  readonly operation: StepOperation;
  /** Entry written → its command sealed: the bus, the auditor's disk, the receipt. */
  readonly heldMs: number;
  /** Command sealed → effect begun: the bus, delivery, the agent's checks, the intent on its disk. */
  readonly deliveryMs: number;
  /** The agent's own count: the adapter, and its disk. */
  readonly effectMs: number;
  /** Report sealed → entry that takes it: outbox, bus, delivery, and waiting for other reports. */
  readonly returnMs: number;
}

export const stepParts = ['heldMs', 'deliveryMs', 'effectMs', 'returnMs'] as const;
export type StepPart = (typeof stepParts)[number];

/** Summary of each part over the steps of the given operations; undefined where there are none. */
export function partSummaries(
  steps: readonly AddressedTimes[],
  operations: readonly StepOperation[],
): Readonly<Record<StepPart, Summary>> | undefined {
  const chosen = steps.filter(({ operation }) => operations.includes(operation));
  if (chosen.length === 0) return undefined;
  const of = (part: StepPart): Summary => summarise(chosen.map((step) => step[part]));
  return {
    heldMs: of('heldMs'),
    deliveryMs: of('deliveryMs'),
    effectMs: of('effectMs'),
    returnMs: of('returnMs'),
  };
}
