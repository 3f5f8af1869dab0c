/**
 * What a successful report changes, and what makes it count as failed after all: it must name the
 * slots of its step, each once, with the key that the operation is about.
 */

import type { SlotOutcome, StepReport } from '#schemas/saga.ts';
import type { SendStep } from './commands.ts';
import type { Draft } from './draft.ts';
import type { Acknowledgement, SlotProgress } from './state.ts';

/** Records a report that says done. Returns what is wrong with it, or null. */
export function recordOutcome(draft: Draft, command: SendStep, report: StepReport): string | null {
  const { operation } = command;
  if (operation === 'freeze') return null;
  const slots = draft.state.slots.filter(({ slot }) => command.slots.includes(slot));
  if (operation === 'discard') {
    for (const slot of slots) {
      slot.discardDue = slot.discardDue.filter((agentId) => agentId !== command.agentId);
    }
    return null;
  }
  const pairs = slots.map((slot) => ({
    slot,
    outcomes: report.slots.filter((outcome) => outcome.slot === slot.slot),
  }));
  for (const { slot, outcomes } of pairs) {
    const [outcome, ...others] = outcomes;
    if (outcome === undefined || others.length > 0) return `${slot.slot} is not reported once`;
    const fault = faultOf(slot, command, outcome);
    if (fault !== null) return `${slot.slot}: ${fault}`;
  }
  if (report.slots.length !== slots.length) return 'slots are reported that were not asked for';
  const acknowledgement = { agentId: command.agentId, report: report.report };
  for (const { slot, outcomes } of pairs) {
    if (outcomes[0] !== undefined) apply(slot, command, outcomes[0], acknowledgement);
  }
  return null;
}

/** Who still uses a key that is to go, and how much: said by a release, and where it is refused to go. */
export function noteUses({ state }: Draft, command: SendStep, report: StepReport): void {
  const { agentId, operation } = command;
  if (!['release', 'retire', 'discard'].includes(operation)) return;
  for (const { slot: name, inUse = 0 } of report.slots) {
    const slot = state.slots.find((each) => each.slot === name && command.slots.includes(name));
    if (slot === undefined) continue;
    slot.heldBy = slot.heldBy.filter((use) => use.agentId !== agentId);
    if (inUse > 0) slot.heldBy.push({ agentId, uses: inUse });
  }
}

/** The slots of a release that are still in use at the member. */
export function slotsInUse(command: SendStep, report: StepReport): string[] {
  if (command.operation !== 'release') return [];
  return report.slots.filter(({ inUse }) => inUse !== 0).map(({ slot }) => slot);
}

function faultOf(slot: SlotProgress, command: SendStep, outcome: SlotOutcome): string | null {
  const { checkpoint, candidate } = slot;
  switch (command.operation) {
    case 'prepare':
      if (outcome.keyId === checkpoint.keyId) return 'the new key is the old one';
      return outcome.version > checkpoint.version ? null : 'the new version is not higher';
    case 'accept':
    case 'activate':
    case 'verify':
    case 'measure':
      if (!sameKey(candidate, outcome) || candidate?.publicDigest !== outcome.publicDigest) {
        return 'not the key that was prepared';
      }
      return command.operation === 'measure' && outcome.samples === undefined
        ? 'without samples'
        : null;
    case 'release':
    case 'retire':
      return sameKey(checkpoint, outcome) ? null : 'not the old key';
    case 'rollback':
      return sameKey(checkpoint, outcome) ? null : 'the checkpointed key is not primary';
    case 'discard':
    case 'freeze':
      return null;
  }
}

function apply(
  slot: SlotProgress,
  { operation }: SendStep,
  outcome: SlotOutcome,
  done: Acknowledgement,
): void {
  switch (operation) {
    case 'prepare': {
      const { keyId, version, publicDigest } = outcome;
      slot.candidate = { keyId, version, publicDigest };
      slot.accepted = [done];
      return;
    }
    case 'accept':
      slot.accepted.push(done);
      return;
    case 'activate':
      slot.activated.push(done);
      return;
    case 'verify':
      slot.verified.push(done);
      return;
    case 'measure':
      slot.samples = outcome.samples ?? null;
      return;
    case 'release':
      if (outcome.inUse === 0) slot.released.push(done);
      return;
    case 'retire':
      slot.retired.push(done);
      return;
    case 'rollback':
      slot.rolledBack.push(done);
      return;
    case 'discard':
    case 'freeze':
      return;
  }
}

function sameKey(key: { keyId: string; version: number } | null, outcome: SlotOutcome): boolean {
  return key !== null && key.keyId === outcome.keyId && key.version === outcome.version;
}
