/**
 * The effect of a task, and what the report says of it. Every effect may be run again with the same
 * task, after any crash, and ends in the same state. What goes wrong at the adapter becomes a failed
 * report with a code; a busy adapter is tried again first, for a bounded time.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { ReportedSlot } from '#schemas/steps.ts';
import type { StepOperation } from '#schemas/saga.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError, type KeyVersion, type LayerAdapter } from './adapter.ts';
import { activationChallenge, isUsablePublicKey, verifyActivation } from './public-keys.ts';
import type { Outcome } from './step-store.ts';
import type { NamedKey, SlotTask, StepTask } from './step-task.ts';

/** What changes in the agent's own store together with the report. */
export type Changes = Pick<
  Outcome,
  'candidates' | 'acceptedPeers' | 'withdrawnPeers' | 'droppedPeers' | 'releases'
>;

export type EffectResult =
  | { readonly status: 'done'; readonly slots: readonly ReportedSlot[]; readonly changes: Changes }
  | {
      readonly status: 'failed';
      readonly code: OrchCode;
      readonly reason: string;
      /** The keys that are in use, and how much, where that is why. */
      readonly slots?: readonly ReportedSlot[];
    };

export interface EffectPorts {
  readonly adapter: LayerAdapter;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

/** What one slot contributes; a refusal ends the step. */
type SlotResult =
  | ({ readonly reported: ReportedSlot } & Partial<Changes>)
  | ({ readonly reported?: undefined } & Partial<Changes>)
  | StepFailure;

/** An effect that could not be had; becomes the failed report. */
class StepFailure {
  readonly code: OrchCode;
  readonly reason: string;
  readonly slots: readonly ReportedSlot[];

  constructor(code: OrchCode, reason: string, slots: readonly ReportedSlot[] = []) {
    this.code = code;
    this.reason = reason;
    this.slots = slots;
  }
}

const attemptsMax = 5;
const pauseMs = 100;

export async function runEffect(task: StepTask, ports: EffectPorts): Promise<EffectResult> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await runOnce(task, ports);
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      if (!error.retryable || attempt >= attemptsMax) return failureOf(task, error);
    }
    await pause(ports.clock, pauseMs * attempt);
  }
}

async function runOnce(task: StepTask, ports: EffectPorts): Promise<EffectResult> {
  const slots: ReportedSlot[] = [];
  const changes = {
    candidates: [] as Changes['candidates'][number][],
    acceptedPeers: [] as Changes['acceptedPeers'][number][],
    withdrawnPeers: [] as Changes['withdrawnPeers'][number][],
    droppedPeers: [] as Changes['droppedPeers'][number][],
    releases: [] as string[],
  };
  for (const slot of task.slots) {
    const result = await effects[task.operation]({ ...ports, task, slot });
    if (result instanceof StepFailure) {
      const { code, reason, slots: inUse } = result;
      return { status: 'failed', code, reason, slots: inUse };
    }
    if (result.reported !== undefined) slots.push(result.reported);
    changes.candidates.push(...(result.candidates ?? []));
    changes.acceptedPeers.push(...(result.acceptedPeers ?? []));
    changes.withdrawnPeers.push(...(result.withdrawnPeers ?? []));
    changes.droppedPeers.push(...(result.droppedPeers ?? []));
    changes.releases.push(...(result.releases ?? []));
  }
  return { status: 'done', slots, changes };
}

interface SlotEffect extends EffectPorts {
  readonly task: StepTask;
  readonly slot: SlotTask;
}

const effects: Readonly<Record<StepOperation, (effect: SlotEffect) => Promise<SlotResult>>> = {
  prepare,
  accept,
  activate,
  verify,
  measure,
  release,
  retire,
  rollback,
  discard,
  freeze,
};

async function prepare({ adapter, slot }: SlotEffect): Promise<SlotResult> {
  invariant(slot.newVersion !== undefined, 'a preparation names the new number');
  const key = await adapter.prepare(slot.slot, slot.newVersion);
  const { version, keyId } = key;
  return { reported: reportedOf(slot, key), candidates: [{ slot: slot.slot, version, keyId }] };
}

async function accept({ slot }: SlotEffect): Promise<SlotResult> {
  const { candidate, publicKey } = slot;
  invariant(candidate !== undefined && publicKey !== undefined, 'an acceptance names the key');
  const accepted = { slot: slot.slot, ...candidate };
  return {
    reported: named(slot, candidate),
    candidates: [accepted],
    acceptedPeers: [{ ...accepted, publicKey }],
  };
}

async function activate({ adapter, slot, task }: SlotEffect): Promise<SlotResult> {
  const candidate = candidateOf(slot);
  const key = await keyOf(adapter, slot.slot, candidate.version);
  if (key?.keyId !== candidate.keyId) {
    return new StepFailure('ORCH-8005', `the prepared key of ${slot.slot} is no longer there`);
  }
  const challenge = activationChallenge(task.commandId);
  const { proof } = await adapter.activate(slot.slot, candidate.version, challenge);
  const reported = named(slot, candidate);
  return { reported: proof === undefined ? reported : { ...reported, proof } };
}

async function verify({ adapter, crypto, slot }: SlotEffect): Promise<SlotResult> {
  const candidate = candidateOf(slot);
  const reported = named(slot, candidate);
  if (slot.role === 'owner') {
    const { ok, reason } = await adapter.verify(slot.slot, candidate.version);
    return ok
      ? { reported }
      : new StepFailure('ORCH-8005', reason ?? `the new key of ${slot.slot} does not work`);
  }
  const { publicKey, proof } = slot;
  invariant(publicKey !== undefined, 'a verification names the public half');
  const holds =
    proof === undefined
      ? isUsablePublicKey(crypto, slot.keyKind, publicKey)
      : verifyActivation(crypto, publicKey, {
          challenge: activationChallenge(proof.commandId),
          proof: proof.signature,
        });
  return holds
    ? { reported }
    : new StepFailure('ORCH-8014', `the proof of use of ${slot.slot} does not hold`);
}

async function measure({ adapter, slot }: SlotEffect): Promise<SlotResult> {
  const samples = await adapter.samples(slot.slot);
  return { reported: { ...named(slot, candidateOf(slot)), samples } };
}

async function release({ adapter, slot }: SlotEffect): Promise<SlotResult> {
  const inUse =
    slot.role === 'owner' ? await adapter.usesLately(slot.slot, slot.checkpoint.version) : 0;
  return { reported: { ...named(slot, slot.checkpoint), inUse }, releases: [slot.slot] };
}

async function retire({ adapter, slot }: SlotEffect): Promise<SlotResult> {
  const { checkpoint } = slot;
  const reported = named(slot, checkpoint);
  if (slot.role === 'verifier') {
    const dropped = { slot: slot.slot, keyId: checkpoint.keyId };
    return { reported, droppedPeers: [dropped], releases: [slot.slot] };
  }
  const inUse = await adapter.usesLately(slot.slot, checkpoint.version);
  if (inUse > 0) return stillInUse('old', { ...reported, inUse });
  await adapter.retire(slot.slot, checkpoint.version);
  return { reported, releases: [slot.slot] };
}

async function rollback(effect: SlotEffect): Promise<SlotResult> {
  const { adapter, slot, task } = effect;
  const { checkpoint, candidate } = slot;
  const reported = named(slot, checkpoint);
  const releases = [slot.slot];
  if (slot.role === 'verifier') {
    const withdrawnPeers =
      candidate === undefined ? [] : [{ slot: slot.slot, keyId: candidate.keyId }];
    return { reported, withdrawnPeers, releases };
  }
  const failure = await goBack(effect);
  if (failure !== undefined) return failure;
  if (task.recovers) await adapter.freeze(slot.slot, false);
  return { reported, releases };
}

/** The checkpointed key becomes primary again, and works; or why it does not. */
async function goBack({ adapter, slot }: SlotEffect): Promise<StepFailure | undefined> {
  const { checkpoint } = slot;
  const key = await keyOf(adapter, slot.slot, checkpoint.version);
  if (key?.keyId !== checkpoint.keyId) {
    return new StepFailure('ORCH-8005', `the checkpointed key of ${slot.slot} is not there`);
  }
  await adapter.rollback(slot.slot, checkpoint.version);
  const { ok, reason } = await adapter.verify(slot.slot, checkpoint.version);
  return ok
    ? undefined
    : new StepFailure('ORCH-8005', reason ?? `the key of ${slot.slot} does not work`);
}

/**
 * Without a candidate there is nothing to drop: the preparation never reached this agent. A candidate
 * that became primary without the saga's knowledge goes back before it is dropped.
 */
async function discard(effect: SlotEffect): Promise<SlotResult> {
  const { adapter, slot } = effect;
  const { candidate } = slot;
  const releases = [slot.slot];
  if (candidate === undefined) return { releases };
  const reported = named(slot, candidate);
  if (slot.role === 'verifier') {
    return { reported, droppedPeers: [{ slot: slot.slot, keyId: candidate.keyId }], releases };
  }
  const found = await keyOf(adapter, slot.slot, candidate.version);
  const failure = found?.state === 'primary' ? await goBack(effect) : undefined;
  if (failure !== undefined) return failure;
  const key = await keyOf(adapter, slot.slot, candidate.version);
  const inUse =
    key?.state === 'withdrawn' ? await adapter.usesLately(slot.slot, candidate.version) : 0;
  if (inUse > 0) return stillInUse('withdrawn', { ...reported, inUse });
  if (key !== undefined) await adapter.retire(slot.slot, candidate.version);
  return { reported, releases };
}

/** Uses of it were seen lately, or what was made under it is still in time. */
function stillInUse(which: 'old' | 'withdrawn', reported: ReportedSlot): StepFailure {
  const reason = `the ${which} key of ${reported.slot} is in use: ${reported.inUse}`;
  return new StepFailure('ORCH-8007', reason, [reported]);
}

async function freeze({ adapter, slot }: SlotEffect): Promise<SlotResult> {
  await adapter.freeze(slot.slot, true);
  const { versions } = await inspectionOf(adapter, slot.slot);
  const primary = versions.find(({ state }) => state === 'primary');
  return primary === undefined ? {} : { reported: named(slot, primary) };
}

async function keyOf(
  adapter: LayerAdapter,
  slot: string,
  version: number,
): Promise<KeyVersion | undefined> {
  const { versions } = await inspectionOf(adapter, slot);
  return versions.find((key) => key.version === version);
}

async function inspectionOf(adapter: LayerAdapter, slot: string) {
  const inspection = (await adapter.inspect()).find((each) => each.slot === slot);
  if (inspection !== undefined) return inspection;
  throw new AdapterError('SLOT_UNKNOWN', `the adapter has no slot ${slot}`);
}

function candidateOf(slot: SlotTask): NamedKey {
  invariant(slot.candidate !== undefined, 'the step names the new key');
  return slot.candidate;
}

/** What is said of a key whose id is its public digest. */
function named({ slot }: SlotTask, { version, keyId }: NamedKey): ReportedSlot {
  return { slot, version, keyId, publicDigest: keyId };
}

function reportedOf(slot: SlotTask, key: KeyVersion): ReportedSlot {
  const { publicDigest, publicKey } = key;
  const reported = { ...named(slot, key), publicDigest };
  return publicKey === undefined ? reported : { ...reported, publicKey };
}

function failureOf(task: StepTask, error: AdapterError): EffectResult {
  const reason = `${task.operation}: ${error.code}: ${error.message}`;
  return { status: 'failed', code: codeOf(error), reason };
}

function codeOf(error: AdapterError): OrchCode {
  switch (error.code) {
    case 'SLOT_UNKNOWN':
      return 'ORCH-8012';
    case 'VERSION_UNKNOWN':
    case 'STATE_CONFLICT':
      return 'ORCH-8005';
    case 'STORE_FAILED':
      return error.retryable ? 'ORCH-8007' : 'ORCH-8005';
    case 'SYSTEM_UNREACHABLE':
      // It may be starting anew.
      return 'ORCH-8007';
    case 'DISK_FULL':
      // Somebody may make room: worth another try, after a pause.
      return 'ORCH-8007';
  }
}

async function pause(clock: Clock, delayMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    clock.after(delayMs, resolve);
  });
}
