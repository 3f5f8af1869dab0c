import { afterEach, expect, it } from 'vitest';
import { Stage } from '../audit/story.ts';

let stage: Stage | undefined;

afterEach(async () => {
  await stage?.close();
  stage = undefined;
});

it('follows a rotation from the request to the retired key', async () => {
  stage = await Stage.open();
  const told = await stage.tell({ planId: 'plan-1', layers: [7] });
  expect(told.state.phase).toBe('retired');
  const last = await stage.receiptOf(told.entries.at(-1) ?? '');
  expect(last.entry).toMatchObject({ verdict: 'accepted', sagaId: 'plan-1', phase: 'retired' });
  expect((await stage.records()).length).toBe(stage.auditor.size);
});
