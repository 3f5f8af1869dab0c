/**
 * Preparation of all layers at once: every owner makes a checkpoint and a new key, then every other
 * member of the slot accepts its exact public half. An owner's report of the preparation is its own
 * acceptance. Nobody signs or encrypts with the new key yet (invariant 1).
 */

import { beginActivating } from './activate.ts';
import { issueSteps, settleBatch, verifiersOf, type Draft } from './draft.ts';

export function beginPreparing(draft: Draft): void {
  const { state } = draft;
  state.phase = 'preparing';
  const approvals = state.approvals.map(({ event }) => event);
  for (const slot of state.slots) slot.discardDue = [slot.owner];
  issueSteps(draft, {
    operation: 'prepare',
    targets: state.slots.map((slot) => ({ agentId: slot.owner, slot })),
    evidence: () => approvals,
    documents: ['plan', 'authorization'],
  });
}

/** All owners are prepared. Where a key has no other member there is nothing to distribute. */
export function beginDistributing(draft: Draft): void {
  const { state } = draft;
  const targets = state.slots.flatMap((slot) =>
    verifiersOf(slot).map((agentId) => ({ agentId, slot })),
  );
  if (targets.length === 0) {
    beginActivating(draft);
    return;
  }
  settleBatch(draft);
  state.phase = 'distributing';
  const approvals = state.approvals.map(({ event }) => event);
  for (const { agentId, slot } of targets) slot.discardDue.push(agentId);
  issueSteps(draft, {
    operation: 'accept',
    targets,
    evidence: (slots) => [
      ...approvals,
      ...slots.flatMap(({ accepted, owner }) =>
        accepted.filter(({ agentId }) => agentId === owner).map(({ report }) => report),
      ),
    ],
    documents: ['plan', 'authorization'],
  });
}
