import { describe, expect, test } from 'vitest';
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
    trust: { agents: () => [] },
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

describe('a plan that waits for people', () => {
  const operators = ['op-1', 'op-2', 'op-3'];
  const plan = {
    ...details,
    phase: 'validated',
    requestedBy: 'op-1',
    plan: { body: { ...details.plan.body, approvals_required: 2 } },
    state: { approvals: [{ operatorId: 'op-2' }], execution: null, refusal: null, slots: [] },
  };

  async function watched(changes: object): Promise<unknown> {
    const agents = () => operators.map((agentId) => ({ agentId, kind: 'operator' }));
    const session = {
      deadlineMs: 0,
      operatorId: 'op-1',
      trust: { agents },
      askOrchestrator: () => Promise.resolve({ ...plan, ...changes }),
    } as unknown as OperatorSession;
    const ended = watchRotation(session, 'rot-1', () => undefined);
    return ended.catch((error: unknown) => error);
  }

  const about = { exitCode: 6, about: { planId: 'rot-1' } };
  const enough = { plan: { body: { ...details.plan.body, approvals_required: 1 } } };

  test.each(['drafted', 'validated'])(
    '%s: says that it has to be approved, and who may',
    async (phase) => {
      expect(await watched({ phase })).toMatchObject({
        code: 'ORCH-8015',
        reason: `rot-1 is still ${phase}: it waits for an approval`,
        hint: 'Have it approved: gyre rotation approve rot-1 --as op-3.',
        ...about,
      });
    },
  );

  test('approved: says that it has to be executed, and why it was not when that was asked', async () => {
    expect(await watched({ phase: 'approved', ...enough })).toMatchObject({
      code: 'NOT_EXECUTED',
      reason: 'rot-1 is still approved: it waits to be executed',
      hint: 'Execute it: gyre rotation execute rot-1.',
      ...about,
    });
    const state = { ...plan.state, refusal: { reason: 'a slot is held' } };
    expect(await watched({ phase: 'approved', ...enough, state })).toMatchObject({
      reason:
        'rot-1 is still approved: it waits to be executed (refused when last asked: a slot is held)',
    });
  });

  test('stale: says that another plan is needed, whoever has approved it', async () => {
    const stale = { code: 'ORCH-8004', reason: 'the plan expired' };
    expect(await watched({ phase: 'approved', ...enough, stale })).toMatchObject({
      code: 'PLAN_STALE',
      reason: 'rot-1 is still approved and can no longer be executed: the plan expired',
      hint: 'Make another plan: gyre rotation plan.',
      ...about,
    });
  });

  test('one that is executed goes on by itself', async () => {
    const state = { ...plan.state, execution: { operatorId: 'op-1', atMs: 0 } };
    expect(await watched({ phase: 'reserving', ...enough, state })).toMatchObject({ exitCode: 9 });
  });
});
