import { expect, test } from 'vitest';
import { approvedAlready, isApprovedBy } from '#cli/rotation/approved-already.ts';

const standing = {
  planId: 'rot-1',
  phase: 'validated' as const,
  requestedBy: 'op-1',
  state: { approvals: [{ operatorId: 'op-2' }] },
  plan: { body: { approvals_required: 2 } },
};
const requiring = (approvals_required: number) => ({
  ...standing,
  plan: { body: { approvals_required } },
});
const operators = ['op-1', 'op-2', 'op-3'];

test('a second approval by the same operator says that another one is missing, and who may', () => {
  expect(isApprovedBy('op-2', standing)).toBe(true);
  expect(isApprovedBy('op-3', standing)).toBe(false);
  expect(approvedAlready(standing, { operatorId: 'op-2', operators })).toMatchObject({
    code: 'ORCH-8015',
    reason: 'rot-1: op-2 has approved already; one more operator is needed',
    hint: 'Have another one approve it: gyre rotation approve rot-1 --as op-3.',
    exitCode: 6,
  });
  const alone = { operatorId: 'op-2', operators: ['op-1', 'op-2'] };
  expect(approvedAlready(requiring(3), alone)).toMatchObject({
    reason: 'rot-1: op-2 has approved already; 2 more operators are needed',
    hint: 'No other operator is enrolled who could approve it.',
  });
  expect(approvedAlready(requiring(1), alone)).toMatchObject({
    reason: 'rot-1: op-2 has approved already; nobody else is needed',
    hint: 'Go on with it: gyre rotation execute rot-1.',
    exitCode: 6,
  });
});

test('while the layers are asked, approvals are missing like at any other time', () => {
  const drafted = { phase: 'drafted' as const };
  const asking = { operatorId: 'op-2', operators };
  expect(approvedAlready({ ...requiring(2), ...drafted }, asking)).toMatchObject({
    reason: 'rot-1: op-2 has approved already; one more operator is needed',
    hint: 'Have another one approve it: gyre rotation approve rot-1 --as op-3.',
  });
  expect(approvedAlready({ ...requiring(1), ...drafted }, asking)).toMatchObject({
    reason: 'rot-1: op-2 has approved already; nobody else is needed',
    hint: 'Its layers are still asked whether it can run; see: gyre rotation show rot-1.',
  });
});

test('of what is under way or over the orchestrator says why it cannot be approved', () => {
  expect(isApprovedBy('op-2', { ...standing, phase: 'preparing' })).toBe(false);
});
