/**
 * Goes on when a batch of steps has all of its answers: from each phase to the next.
 */

import { beginDistributing } from './prepare.ts';
import { beginActivating, leaveLayer, verifyLayer } from './activate.ts';
import { isIdle, settleBatch, timerOf, type Draft } from './draft.ts';
import { continueRetiring } from './retire.ts';
import { continueRollback } from './rollback.ts';
import { concludeSoak } from './soak.ts';

export function advance(draft: Draft): void {
  const { state } = draft;
  switch (state.phase) {
    case 'preparing':
      if (isIdle(state)) beginDistributing(draft);
      return;
    case 'distributing':
      if (isIdle(state)) beginActivating(draft);
      return;
    case 'activating':
      if (isIdle(state)) verifyLayer(draft);
      return;
    case 'verifying':
      if (isIdle(state)) leaveLayer(draft);
      return;
    case 'soaking':
      if (isIdle(state) && timerOf(state, 'soak') === undefined) concludeSoak(draft);
      return;
    case 'rolling_back':
      continueRollback(draft);
      return;
    case 'retiring':
      continueRetiring(draft);
      return;
    case 'rolled_back':
    case 'locked_out':
      settleBatch(draft);
      return;
    case 'drafted':
    case 'validated':
    case 'refused':
    case 'approved':
    case 'reserving':
    case 'authorizing':
    case 'committing':
    case 'committed':
    case 'retired':
  }
}
