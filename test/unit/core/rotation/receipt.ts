/** An auditor's receipt for the latest entry of a rotation. */

import type { RotationState } from '#shared/core/rotation/state.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import { digestOf } from '../mesh.ts';

export function receiptOf(state: RotationState, timeMs: number): VerifiedEvent {
  return {
    hash: digestOf('receipt'),
    senderId: 'auditor-1',
    senderKind: 'auditor',
    type: 'receipts-issued',
    timeMs,
    body: {
      treeSize: 1,
      rootHash: digestOf('root'),
      entries: [
        {
          statementHash: digestOf('entry'),
          leafIndex: 0,
          verdict: 'accepted',
          sagaId: state.sagaId,
          sagaIndex: state.index,
          phase: state.phase,
        },
      ],
    },
  };
}
