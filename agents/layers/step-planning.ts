/**
 * From a command that was checked to the task that will be carried out: which key numbers, which
 * public halves, which proofs. What the agent knows itself has a say here: its own keys must be the
 * ones that the plan was made from, a slot belongs to one saga, and what others accepted must be the
 * very key that was made (invariants 1, 4, 13). Nothing is changed.
 */

import type { StepCommanded, ReportedSlot } from '#schemas/steps.ts';
import type { OrchCode } from '#schemas/errors.ts';
import type { AffectedKey, RotationPlanBody } from '#schemas/plan.ts';
import type { StepOperation } from '#schemas/saga.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { KeyVersion, SlotInspection } from './adapter.ts';
import { isUsablePublicKey, publicDigestOf } from './public-keys.ts';
import type { StepStore } from './step-store.ts';
import type { SlotTask, StepTask } from './step-task.ts';

export interface Refusal {
  readonly code: OrchCode;
  readonly reason: string;
}

export type Planning =
  | { readonly status: 'planned'; readonly task: StepTask; readonly reserves: readonly string[] }
  | ({ readonly status: 'refused' } & Refusal);

export interface PlanningInput {
  readonly agentId: string;
  readonly command: StepCommanded;
  readonly plan: RotationPlanBody;
  /** Events whose senders and contents were checked. */
  readonly evidence: readonly VerifiedEvent[];
  readonly inspections: readonly SlotInspection[];
  readonly store: StepStore;
  readonly crypto: CryptoProvider;
}

/** One slot of the command, with all that is known about it. */
interface Subject extends PlanningInput {
  readonly affected: AffectedKey;
  readonly base: SlotTask;
  readonly inspection: SlotInspection | undefined;
}

type SlotPlanning = SlotTask | Refusal;

/** Operations that only the holder of the key can carry out. */
const ownersOnly: ReadonlySet<StepOperation> = new Set([
  'prepare',
  'activate',
  'measure',
  'freeze',
]);
/** Operations before which the slot must belong to this saga, or to nobody. */
const exclusive: ReadonlySet<StepOperation> = new Set([
  'prepare',
  'accept',
  'activate',
  'rollback',
  'freeze',
]);
const reserving: ReadonlySet<StepOperation> = new Set(['prepare', 'accept']);

export function planStep(input: PlanningInput): Planning {
  const { command } = input;
  const slots: SlotTask[] = [];
  for (const slot of command.slots) {
    const planned = planSlot(input, slot);
    if ('code' in planned) return { status: 'refused', ...planned };
    slots.push(planned);
  }
  const { commandId, sagaId, sagaIndex, planDigest, operation } = command;
  const recovers = command.recovery !== undefined;
  const task = { commandId, sagaId, sagaIndex, planDigest, operation, recovers, slots };
  return { status: 'planned', task, reserves: reserving.has(operation) ? command.slots : [] };
}

function planSlot(input: PlanningInput, slot: string): SlotPlanning {
  const { command, plan, agentId, store } = input;
  const affected = plan.affected_keys.find((key) => key.slot === slot);
  const member = affected?.members.find((each) => each.agent_id === agentId);
  if (affected === undefined || member === undefined) {
    return refuse('ORCH-8015', `this agent is no member of ${slot} in the plan`);
  }
  if (ownersOnly.has(command.operation) && member.role !== 'owner') {
    return refuse('ORCH-8012', `${command.operation} is for the owner of ${slot}`);
  }
  const inspection = input.inspections.find((each) => each.slot === slot);
  if (member.role === 'owner' && inspection === undefined) {
    return refuse('ORCH-8012', `the adapter has no slot ${slot}`);
  }
  const checkpoint = { version: affected.version, keyId: affected.key_id };
  const known = store.candidate(slot, command.sagaId);
  const base: SlotTask = {
    slot,
    keyKind: affected.key_kind,
    role: member.role,
    checkpoint,
    ...(known?.keyId === undefined
      ? {}
      : { candidate: { version: known.version, keyId: known.keyId } }),
  };
  const subject = { ...input, affected, base, inspection };
  return heldByAnother(subject) ?? planners[command.operation](subject);
}

/**
 * A slot passes to another saga only when the one that held it is over, or when the new plan begins
 * with the very key that the holder made: then the holder's commit is behind it, and the mesh's own
 * ledger gave the slot away.
 */
function heldByAnother({ command, base, store }: Subject): Refusal | undefined {
  const holder = store.holderOf(base.slot);
  if (holder === undefined || holder === command.sagaId) return undefined;
  if (!exclusive.has(command.operation)) return undefined;
  const made = store.candidate(base.slot, holder)?.keyId;
  if (reserving.has(command.operation) && made === base.checkpoint.keyId) return undefined;
  return refuse('ORCH-8004', `${base.slot} is held by another rotation`);
}

const planners: Readonly<Record<StepOperation, (subject: Subject) => SlotPlanning>> = {
  prepare: planPreparation,
  accept: planAcceptance,
  activate: planActivation,
  verify: planVerification,
  measure: withCandidate,
  release: planRetirement,
  retire: planRetirement,
  rollback: planRollback,
  discard: planDiscard,
  freeze: ({ base }) => base,
};

function planPreparation({ command, base, inspection, store }: Subject): SlotPlanning {
  const primary = primaryOf(inspection);
  const { checkpoint, slot } = base;
  if (primary?.version !== checkpoint.version || primary.keyId !== checkpoint.keyId) {
    return refuse('ORCH-8004', `${slot} has another primary key than the plan was made from`);
  }
  if (inspection === undefined || inspection.frozen) {
    return refuse('ORCH-8007', `${slot} is frozen`);
  }
  // Above the keys of a former owner too: a number belongs to one key, whoever made it.
  const highest = Math.max(inspection.highestVersion, store.highestVersion(slot));
  const newVersion = store.candidate(slot, command.sagaId)?.version ?? highest + 1;
  return { ...base, newVersion };
}

function planAcceptance(subject: Subject): SlotPlanning {
  const { base, crypto } = subject;
  const [reported, ...others] = ownersReports(subject, 'prepare').map(({ slot }) => slot);
  if (reported === undefined) {
    return refuse('ORCH-8014', `no report of the owner's new key of ${base.slot}`);
  }
  const { publicKey, keyId, version } = reported;
  if (others.some((other) => other.keyId !== keyId)) {
    return refuse('ORCH-8014', `the owner of ${base.slot} reported two different keys`);
  }
  const known = base.candidate?.keyId;
  if (known !== undefined && known !== keyId) {
    return refuse('ORCH-8014', `another new key of ${base.slot} was accepted before`);
  }
  const usable =
    publicKey !== undefined &&
    publicDigestOf(crypto, publicKey) === keyId &&
    reported.publicDigest === keyId &&
    version > base.checkpoint.version &&
    isUsablePublicKey(crypto, base.keyKind, publicKey);
  if (!usable) return refuse('ORCH-8014', `the reported public key of ${base.slot} does not hold`);
  return { ...base, candidate: { version, keyId }, publicKey };
}

function planActivation(subject: Subject): SlotPlanning {
  const { base, command, affected, store, evidence } = subject;
  if (store.holderOf(base.slot) !== command.sagaId || base.candidate === undefined) {
    return refuse('ORCH-8007', `no new key of ${base.slot} was prepared for this rotation`);
  }
  const members = new Set(affected.members.map((member) => member.agent_id));
  for (const { senderId, slot } of reportsOf(evidence, command, base.slot)) {
    if (!members.has(senderId) || slot.keyId === base.candidate.keyId) continue;
    return refuse('ORCH-8014', `${senderId} accepted another key of ${base.slot}`);
  }
  return base;
}

function planVerification(subject: Subject): SlotPlanning {
  const { base, store } = subject;
  const { candidate, slot } = base;
  if (candidate === undefined) return refuse('ORCH-8007', `no new key of ${slot} is known`);
  if (base.role === 'owner') return base;
  const publicKey = store.peerKey(slot, candidate.keyId)?.publicKey;
  if (publicKey === undefined) return refuse('ORCH-8007', `the new key of ${slot} is not here`);
  if (base.keyKind !== 'signature') return { ...base, publicKey };
  for (const report of ownersReports(subject, 'activate')) {
    const { proof, keyId } = report.slot;
    if (proof === undefined || keyId !== candidate.keyId) continue;
    const { commandId } = report;
    return { ...base, publicKey, proof: { signature: proof, commandId } };
  }
  return refuse('ORCH-8014', `no proof that the new key of ${slot} is in use`);
}

function planRetirement({ base, command }: Subject): SlotPlanning {
  const committed = command.commit?.body.keys.find(({ slot }) => slot === base.slot);
  if (committed === undefined || committed.key_id === base.checkpoint.keyId) {
    return refuse('ORCH-8015', `no commit decision names a new key of ${base.slot}`);
  }
  return { ...base, candidate: { version: committed.version, keyId: committed.key_id } };
}

/**
 * The way back leads from the key that this rotation made to the one that it began with, and nowhere
 * else: a rollback of a rotation that is over must not undo what a later one has turned.
 */
function planRollback(subject: Subject): SlotPlanning {
  const { base, inspection } = subject;
  const primary = primaryOf(inspection);
  if (base.role === 'verifier' || primary === undefined) return base;
  return primary.keyId === base.checkpoint.keyId || primary.keyId === madeBy(subject)?.keyId
    ? base
    : refuse('ORCH-8004', `the primary key of ${base.slot} is not of this rotation`);
}

function planDiscard(subject: Subject): SlotPlanning {
  const { base, command, inspection, store } = subject;
  const { slot } = base;
  const key = base.role === 'verifier' ? undefined : madeBy(subject);
  if (key === undefined) return base;
  const discarding = { ...base, candidate: { version: key.version, keyId: key.keyId } };
  if (key.state === 'prepared' || key.state === 'withdrawn') return discarding;
  // Activated, though the saga does not know of it: then it goes back first.
  const holder = store.holderOf(slot) ?? command.sagaId;
  const mayGoBack = inspection?.frozen === false && holder === command.sagaId;
  if (key.state === 'primary' && mayGoBack) return discarding;
  return refuse('ORCH-8005', `the new key of ${slot} is ${key.state} and cannot be discarded`);
}

/**
 * The key that this rotation made: by its id, which its outcome noted. Before that its number alone is
 * known, and a preparation that was overtaken leaves it to the next rotation.
 */
function madeBy({ base, command, inspection, store }: Subject): KeyVersion | undefined {
  const { slot } = base;
  const known = store.candidate(slot, command.sagaId);
  const key = inspection?.versions.find(({ version }) => version === known?.version);
  if (known === undefined || key === undefined) return undefined;
  const isItsOwn =
    known.keyId === undefined
      ? !store.isMeantForOthers(slot, command.sagaId, known.version)
      : known.keyId === key.keyId;
  return isItsOwn ? key : undefined;
}

function withCandidate({ base }: Subject): SlotPlanning {
  return base.candidate === undefined
    ? refuse('ORCH-8007', `no new key of ${base.slot} is known`)
    : base;
}

interface SlotReport {
  readonly senderId: string;
  readonly operation: StepOperation;
  readonly commandId: string;
  readonly slot: ReportedSlot;
}

/** What `done` reports of this saga and plan say of one slot. */
function reportsOf(
  evidence: readonly VerifiedEvent[],
  command: StepCommanded,
  slotName: string,
): SlotReport[] {
  return evidence.flatMap((event) => {
    if (event.type !== 'step-reported') return [];
    const { body, senderId } = event;
    const { sagaId, planDigest, status, operation, commandId } = body;
    const fits = sagaId === command.sagaId && planDigest === command.planDigest;
    if (!fits || status !== 'done') return [];
    return body.slots
      .filter(({ slot }) => slot === slotName)
      .map((slot) => ({ senderId, operation, commandId, slot }));
  });
}

function ownersReports(subject: Subject, operation: StepOperation): SlotReport[] {
  const { affected, evidence, command, base } = subject;
  const owners = affected.members.filter(({ role }) => role === 'owner');
  return reportsOf(evidence, command, base.slot).filter(
    (report) =>
      report.operation === operation && owners.some((owner) => owner.agent_id === report.senderId),
  );
}

function primaryOf(inspection: SlotInspection | undefined): KeyVersion | undefined {
  return inspection?.versions.find(({ state }) => state === 'primary');
}

function refuse(code: OrchCode, reason: string): Refusal {
  return { code, reason };
}
