/**
 * A step as the agent carries it out: everything that the effect needs, taken once from a command and
 * evidence that were checked, and written down before anything happens. After a crash the task alone
 * is enough to run the effect again; it holds public halves and proofs, never a secret.
 */

import { KeyKind, SlotName } from '#schemas/layers.ts';
import { slotsPerPlanMax } from '#schemas/plan.ts';
import {
  BytesMax,
  DigestHex,
  Identifier,
  IntegerRange,
  List,
  OneOf,
  StrictObject,
  Type,
  Version,
  type Static,
} from '#schemas/primitives.ts';
import { StepOperation } from '#schemas/saga.ts';

export const NamedKey = StrictObject({ version: Version(), keyId: DigestHex() });
export type NamedKey = Static<typeof NamedKey>;

export const SlotTask = StrictObject({
  slot: SlotName(),
  keyKind: KeyKind,
  /** The owner generates the key and turns it; a verifier accepts its public half. */
  role: OneOf(['owner', 'verifier']),
  /** The key that was primary when the plan was made. */
  checkpoint: NamedKey,
  /** `prepare`: the number that the new key gets. */
  newVersion: Type.Optional(Version()),
  /** The new key, once it is known. */
  candidate: Type.Optional(NamedKey),
  /** `accept`, `verify`: the new key's public half. */
  publicKey: Type.Optional(BytesMax(4096)),
  /** `verify` of a signature slot by a verifier: the owner's proof, and what it signed. */
  proof: Type.Optional(StrictObject({ signature: BytesMax(8192), commandId: Identifier() })),
});
export type SlotTask = Static<typeof SlotTask>;

export const StepTask = StrictObject({
  commandId: Identifier(),
  sagaId: Identifier(),
  sagaIndex: IntegerRange({ min: 0, max: 100_000 }),
  planDigest: DigestHex(),
  operation: StepOperation,
  /** The command carried an approved recovery: slots that it turns are thawed. */
  recovers: Type.Boolean(),
  slots: List(SlotTask, { itemsMin: 1, itemsMax: slotsPerPlanMax }),
});
export type StepTask = Static<typeof StepTask>;

/** What names a step: its command's id, and what is to be done. */
export interface StepName {
  readonly commandId: string;
  readonly operation: StepOperation;
  readonly slots: readonly string[];
  readonly recovers: boolean;
}

/**
 * The key under which a step is remembered. An id alone would let whoever can guess the next one
 * occupy it with another step, whose report would then stand for this one's.
 */
export function stepKey({ commandId, operation, slots, recovers }: StepName): string {
  return [commandId, operation, recovers ? 'recovering' : '', ...slots].join(' ');
}

export function stepKeyOf(task: StepTask): string {
  return stepKey({ ...task, slots: task.slots.map(({ slot }) => slot) });
}
