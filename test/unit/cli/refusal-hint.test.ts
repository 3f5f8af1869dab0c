import { expect, test } from 'vitest';
import { refusalHint, type Standing } from '#cli/rotation/refusal-hint.ts';

const operators = ['op-1', 'op-2', 'op-3'];
const approvals = [{ operatorId: 'op-2' }];
const standing: Standing = {
  planId: 'rot-1',
  phase: 'validated',
  requestedBy: 'op-1',
  state: { approvals: [], decision: 'none' },
  plan: { body: { approvals_required: 1 } },
};

test('who may approve is named, and never the one who asked', () => {
  const asking = { operatorId: 'op-2', operators };
  expect(refusalHint('ORCH-8015', standing, asking)).toContain('approve rot-1 --as op-2');
  const byOther = { ...standing, requestedBy: 'op-2' };
  expect(refusalHint('ORCH-8015', byOther, asking)).toContain('approve rot-1 --as op-1');
  expect(refusalHint('ORCH-8015', byOther, { ...asking, operators: ['op-2'] })).toBeUndefined();
});

test('whoever has approved is sent on', () => {
  const approved = { ...standing, state: { approvals, decision: 'none' } };
  const hintFor = (operatorId: string) =>
    refusalHint('ORCH-8015', approved, { operatorId, operators });
  expect(hintFor('op-2')).toContain('gyre rotation execute rot-1');
  expect(hintFor('op-1')).toContain('--as op-3');
});

test('and is told of whom else is needed, where his word alone is not enough', () => {
  const plan = { body: { approvals_required: 2 } };
  const approved = { ...standing, plan, state: { approvals, decision: 'none' } };
  const hint = refusalHint('ORCH-8015', approved, { operatorId: 'op-2', operators });
  expect(hint).toContain('approve rot-1 --as op-3');
});

test('a rotation under way is watched, a committed one is not asked for again', () => {
  const asking = { operatorId: 'op-1', operators };
  const hintIn = (phase: Standing['phase'], decision = 'none') =>
    refusalHint('ORCH-8004', { ...standing, phase, state: { approvals, decision } }, asking);
  expect(hintIn('preparing')).toContain('gyre rotation watch rot-1');
  expect(hintIn('retiring', 'commit')).toContain('gyre rotation show rot-1');
  expect(hintIn('rolled_back', 'rollback')).toBeUndefined();
  expect(refusalHint('ORCH-8009', standing, asking)).toBeUndefined();
});
