/**
 * Retirement of the old keys, after the commit decision and the overlap window. Every member first
 * lets go: its report says that nothing it holds depends on the old key, and is asked for again, ever
 * more slowly, while that is not so. Only with the releases of all members does a layer's key go
 * (invariant 9). After the commit nothing here gives up: it is tried until it is done.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import { issueSteps, membersOf, sentSteps, settleBatch, slotsOf, type Draft } from './draft.ts';
import type { Acknowledgement, SlotProgress } from './state.ts';

export function beginRetiring(draft: Draft): void {
  const { state } = draft;
  state.phase = 'retiring';
  issueSteps(draft, {
    operation: 'release',
    targets: state.slots.flatMap(everyMember),
    evidence: () => [],
    documents: ['commit'],
  });
}

/** Retires each layer that everyone has let go of, and ends when all are retired. */
export function continueRetiring(draft: Draft): void {
  const { state } = draft;
  settleBatch(draft);
  for (const layer of state.plan.body.coordination_sequence) {
    const slots = slotsOf(state, layer);
    const due = slots.filter((slot) => !hasAll(slot, slot.retired));
    const released = slots.every((slot) => hasAll(slot, slot.released));
    if (due.length > 0 && released && !isAsked(draft, layer)) orderRetirement(draft, due);
  }
  if (state.slots.every((slot) => hasAll(slot, slot.retired))) state.phase = 'retired';
}

function orderRetirement(draft: Draft, due: readonly SlotProgress[]): void {
  issueSteps(draft, {
    operation: 'retire',
    targets: due.flatMap(everyMember),
    evidence: (slots) => slots.flatMap(({ released }) => released.map(({ report }) => report)),
    documents: ['commit'],
  });
}

function isAsked({ state }: Draft, layer: LayerNumber): boolean {
  return [...sentSteps(state), ...state.waiting].some(
    ({ operation, slotLayer }) => operation === 'retire' && slotLayer === layer,
  );
}

function everyMember(slot: SlotProgress): { agentId: string; slot: SlotProgress }[] {
  return membersOf(slot).map((agentId) => ({ agentId, slot }));
}

function hasAll(slot: SlotProgress, done: readonly Acknowledgement[]): boolean {
  const agents = new Set(done.map(({ agentId }) => agentId));
  return membersOf(slot).every((agentId) => agents.has(agentId));
}
