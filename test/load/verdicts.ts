/**
 * What a load makes of what it has seen, as data: which rotations are not where they have to be at the
 * end, whether an emergency healed, whether an answer to an old token is right. Nothing is let pass
 * because nobody looked, or because the time was over.
 */
import type { RotationSummary } from '#cli/answers.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { Measured } from './stack-user.ts';

type Seen = Pick<RotationSummary, 'planId' | 'phase' | 'usesLeft'>;

/** The end of a rotation; a plan that waits for approvals nobody gives goes nowhere by itself either. */
const rested: ReadonlySet<RotationPhase> = new Set([
  'validated',
  'refused',
  'retired',
  'rolled_back',
]);
const turned: ReadonlySet<RotationPhase> = new Set(['committed', 'retiring', 'retired']);

/** Whether nothing goes on by itself any more; what is locked out waits for people. */
export function isAtRest({ phase }: Pick<Seen, 'phase'>): boolean {
  return rested.has(phase) || phase === 'locked_out';
}

/**
 * What is wrong with rotations at the end: one that goes on yet, or is locked out, and one that was
 * committed whose old keys are not destroyed.
 */
export function restFaults(all: readonly Seen[], committed: readonly string[]): string[] {
  const faults: string[] = [];
  for (const { planId, phase, usesLeft = 0 } of all) {
    const isDue = committed.includes(planId) ? phase === 'retired' : rested.has(phase);
    if (!isDue) faults.push(`${planId} is ${phase} at the end, ${usesLeft} uses of old keys left`);
  }
  const known = new Set(all.map(({ planId }) => planId));
  const lost = committed.filter((planId) => !known.has(planId));
  return [...faults, ...lost.map((planId) => `${planId} was committed, and nobody knows of it`)];
}

/** The emergency rotation of a layer that began after `sinceMs`, milliseconds since 1970. */
export function emergencyIn(
  all: readonly RotationSummary[],
  { layer, sinceMs }: { readonly layer: LayerNumber; readonly sinceMs: number },
): RotationSummary | undefined {
  return all.find(
    ({ rotationType, phase, layers, beganAtMs }) =>
      rotationType === 'emergency' &&
      phase !== 'refused' &&
      beganAtMs >= sinceMs &&
      layers.includes(layer),
  );
}

/** Only new keys that are in use heal: the decision to turn them is not enough where it is taken back. */
export function healingFault(found: Pick<Seen, 'planId' | 'phase'> | undefined) {
  if (found === undefined) return 'the anomaly led to no emergency rotation in time';
  const { planId, phase } = found;
  return turned.has(phase) ? undefined : `the anomaly led to ${planId}, which is ${phase}`;
}

/** The one refusal that is the right answer where an object is damaged, and nowhere else. */
export const damagedRefusal = 'DATA_KEY_DAMAGED';

/** How a request of the owner counts: only the refusal of what is damaged is no failure. */
export function countedRead(measured: Measured, isWhole: boolean): Measured {
  const { step, tookMs, failure } = measured;
  if (isWhole || failure !== damagedRefusal) return measured;
  return { step: `${step} (damaged)`, tookMs };
}

/** What is wrong with content that came back, as it is counted; nothing where it is right. */
export function contentFailure(isRight: boolean, isWhole: boolean): string | undefined {
  if (!isWhole) return 'OPENED_THOUGH_DAMAGED';
  return isRight ? undefined : 'WRONG_CONTENT';
}

/** A use of something that is good until `endsAtMs`; `done`, or the code that it was refused with. */
export interface Tried {
  readonly code: string;
  readonly answeredAtMs: number;
  readonly endsAtMs: number;
}

/**
 * A key is not destroyed before everything made under it is over: whatever is in time is accepted.
 * An answer from after the end may be a refusal, and says nothing.
 */
export function isAcceptedInTime({ code, answeredAtMs, endsAtMs }: Tried): boolean {
  return code === 'done' || answeredAtMs >= endsAtMs;
}
