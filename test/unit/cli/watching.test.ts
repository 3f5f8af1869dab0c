import { expect, test } from 'vitest';
import type { RotationDetails } from '#cli/answers.ts';
import { CliFault } from '#cli/fault.ts';
import type { OperatorSession } from '#cli/operator-session.ts';
import { watchRotation } from '#cli/rotation/actions.ts';

const details = {
  planId: 'rot-1',
  phase: 'retiring',
  index: 7,
  atMs: 0,
  plan: { body: { timing: { soak_ms: 0, overlap_ms: 0 } } },
  state: {
    decidedAtMs: 0,
    slots: [
      {
        slot: '3/tls-certificate',
        checkpoint: { keyId: 'a'.repeat(64), version: 1 },
        candidate: null,
        heldBy: [{ agentId: 'network-a', uses: 1 }],
      },
    ],
  },
} as unknown as RotationDetails;

test('whoever watches until the time is over is told what it waits for, and ends with 9', async () => {
  const session = {
    deadlineMs: 0,
    askOrchestrator: () => Promise.resolve(details),
  } as unknown as OperatorSession;
  const watched = watchRotation(session, 'rot-1', () => undefined);
  const fault = await watched.catch((error: unknown) => error);
  expect(fault).toBeInstanceOf(CliFault);
  expect(fault).toMatchObject({
    code: 'TIMEOUT',
    reason:
      'rot-1 is still retiring: the old key of 3/tls-certificate (v1) stays for now: 1 use at network-a',
    exitCode: 9,
    about: { planId: 'rot-1' },
  });
});
