/**
 * Activation and verification, layer by layer in the plan's sequence. A layer is activated only when
 * every member of its slots has accepted the exact new key, and the command carries the reports that
 * say so (invariant 1); it is verified by a real use at its owners and at everyone who verifies under
 * it before the next layer begins.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import { windowOf } from '../plan-window.ts';
import { issueSteps, membersOf, settleBatch, slotsOf, type Draft } from './draft.ts';
import { beginRollback, failureAt } from './rollback.ts';
import { beginSoak } from './soak.ts';
import type { SlotProgress } from './state.ts';

/** Begins with the first layer of the sequence. */
export function beginActivating(draft: Draft): void {
  draft.state.cursor = 0;
  activateLayer(draft);
}

/** All owners of the layer are active: its members use the new key once. */
export function verifyLayer(draft: Draft): void {
  const layer = layerAtCursor(draft);
  if (layer === undefined) return;
  settleBatch(draft);
  draft.state.phase = 'verifying';
  const slots = slotsOf(draft.state, layer);
  issueSteps(draft, {
    operation: 'verify',
    targets: slots.flatMap((slot) => membersOf(slot).map((agentId) => ({ agentId, slot }))),
    evidence: (group) => group.flatMap(({ activated }) => activated.map(({ report }) => report)),
    documents: [],
  });
}

/** The layer is verified: the next one, or the soak after the last. */
export function leaveLayer(draft: Draft): void {
  draft.state.cursor += 1;
  if (layerAtCursor(draft) === undefined) beginSoak(draft);
  else activateLayer(draft);
}

function activateLayer(draft: Draft): void {
  const layer = layerAtCursor(draft);
  if (layer === undefined) return;
  const slots = slotsOf(draft.state, layer);
  const missing = slots.find((slot) => !isAccepted(slot));
  if (missing !== undefined) {
    const reason = `${missing.slot} is not accepted by all of its members`;
    beginRollback(draft, failureAt(draft, { code: 'ORCH-8014', reason }));
    return;
  }
  if (!windowOf(draft.state.plan.body).contains(draft.atMs, clockSkewMs(draft))) {
    const reason = `the rotation window ended before layer ${layer} was activated`;
    beginRollback(draft, failureAt(draft, { code: 'ORCH-8004', reason }));
    return;
  }
  settleBatch(draft);
  draft.state.phase = 'activating';
  for (const slot of slots) slot.touched = true;
  issueSteps(draft, {
    operation: 'activate',
    targets: slots.map((slot) => ({ agentId: slot.owner, slot })),
    evidence: (group) => group.flatMap(({ accepted }) => accepted.map(({ report }) => report)),
    documents: [],
  });
}

function isAccepted(slot: SlotProgress): boolean {
  const accepted = new Set(slot.accepted.map(({ agentId }) => agentId));
  return slot.candidate !== null && membersOf(slot).every((agentId) => accepted.has(agentId));
}

function clockSkewMs({ policy }: Draft): number {
  return policy.policies.rotation.clock_skew_ms;
}

function layerAtCursor({ state }: Draft): LayerNumber | undefined {
  return state.plan.body.coordination_sequence[state.cursor];
}
