/** One entry of a rotation's log folded into its state, as the auditor vouched for it or before that. */

import type { SagaEntry } from '#schemas/saga.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import type { OrchestratorPorts } from './ports.ts';
import { policyOfSaga, stepTaken } from './saga-policy.ts';
import type { Verdict } from './saga-log.ts';

/** An entry of a rotation's log; `taken` where an auditor vouches for it. */
interface ToFold {
  readonly sagaId: string;
  readonly entry: SagaEntry;
  readonly hash: string;
  readonly taken: Verdict | undefined;
}

export function foldRotation(
  { trust, crypto }: Pick<OrchestratorPorts, 'trust' | 'crypto'>,
  state: RotationState | null,
  { sagaId, entry, hash, taken }: ToFold,
) {
  if (entry.saga !== 'rotation' || entry.sagaId !== sagaId) {
    return { rejected: 'SAGA_MISMATCH', reason: 'an entry of another saga' };
  }
  const { index, consumed, event } = entry;
  if (state !== null) {
    const input = { index, consumed, event };
    return taken === undefined
      ? stepRotation(state, input, policyOfSaga(trust, state.plan.body))
      : stepTaken(trust, state, { input, phase: taken.phase });
  }
  if (event.type !== 'plan-drafted') {
    return { rejected: 'PHASE_MISMATCH', reason: 'a saga begins with its plan' };
  }
  const planDigest = documentDigest(crypto, event.plan.body);
  if (index !== 0) return { rejected: 'INDEX_MISMATCH', reason: 'a plan is the first entry' };
  const opened = beginRotation(
    { sagaId, planDigest, entryHash: hash },
    { index: 0, consumed, event },
  );
  return { state: opened, commands: opened.outstanding };
}
