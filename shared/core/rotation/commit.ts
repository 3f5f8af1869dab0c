/**
 * The one durable decision (invariant 2). The signer is asked to state that every slot was accepted,
 * activated and verified, over the hashes of all reports that prove it; the `commit-decided` entry
 * that carries its statement is the decision. From then on the rotation only goes forward.
 */

import type { RotationCommit, RotationCommitBody } from '#schemas/plan.ts';
import { sameData } from '../equality.ts';
import { formatInstant } from '../instant.ts';
import {
  ensureTimer,
  issueSlotsCommand,
  issueStatement,
  reject,
  settleBatch,
  withdrawAll,
  type Draft,
  type Verdict,
} from './draft.ts';
import type { RotationState } from './state.ts';

export function askForCommit(draft: Draft): void {
  const { state } = draft;
  settleBatch(draft);
  state.phase = 'committing';
  const body = commitBody(state, draft.atMs);
  issueStatement(draft, body, body.reports);
}

export function decideCommit(draft: Draft, commit: RotationCommit): Verdict {
  const { state } = draft;
  if (state.decision !== 'none') {
    return reject('DECISION_TAKEN', `the decision is ${state.decision}`);
  }
  if (state.phase !== 'committing') return reject('PHASE_MISMATCH', `phase is ${state.phase}`);
  const asked = state.outstanding.find(
    (command) => command.type === 'sign-statement' && command.statement === 'rotation_commit',
  );
  if (asked?.type !== 'sign-statement' || !sameData(asked.body, commit.body)) {
    return reject('STATEMENT_MISMATCH', 'the commit statement is not the one asked for');
  }
  withdrawAll(draft);
  state.phase = 'committed';
  state.decision = 'commit';
  state.decidedAtMs = draft.atMs;
  state.commit = commit;
  issueSlotsCommand(draft, 'release-slots');
  ensureTimer(draft, 'overlap', state.plan.body.timing.overlap_ms);
  return null;
}

function commitBody(state: RotationState, atMs: number): RotationCommitBody {
  const plan = state.plan.body;
  const reports = state.slots.flatMap(({ accepted, activated, verified }) =>
    [...accepted, ...activated, ...verified].map(({ report }) => report),
  );
  return {
    kind: 'rotation_commit',
    mesh: plan.mesh,
    rotation_plan_id: plan.rotation_plan_id,
    plan_digest: state.planDigest,
    issued_at: formatInstant(atMs),
    keys: state.slots.flatMap(({ slot, candidate }) =>
      candidate === null ? [] : [{ slot, key_id: candidate.keyId, version: candidate.version }],
    ),
    reports: [...new Set(reports)],
  };
}
