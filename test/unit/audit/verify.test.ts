import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkMaterial, check, fileOf, type Material } from './exports.ts';
import { Stage, tell } from './story.ts';

let stage: Stage;
let material: Material;

beforeAll(async () => {
  stage = await Stage.open();
  await tell(stage, { planId: 'plan-a', layers: [1, 2] });
  await tell(stage, { planId: 'plan-b', layers: [7], fails: 'activate' });
  await tell(stage, { planId: 'plan-c', layers: [4, 5], until: 'reports-received' });
  const checkpoint = await stage.checkpoint();
  // What came after the checkpoint is its tail.
  const records = (await stage.records()).slice(0, checkpoint.body.tree_size);
  material = { world: stage.world, records, checkpoints: [checkpoint] };
});

afterAll(async () => {
  await stage.close();
});

describe('an honest audit', () => {
  it('holds in integrity, content and meaning', async () => {
    const verdict = await checkMaterial(material);
    expect(verdict).toMatchObject({
      integrity: { ok: true },
      content: { ok: true },
      meaning: { ok: true },
      ok: true,
    });
    expect(verdict.records).toBe(material.records.length);
    expect(verdict.uncovered).toBe(0);
    expect(verdict.undisclosed).toBe(0);
    expect(verdict.rotations).toEqual([
      { sagaId: 'plan-a', phase: 'retired' },
      { sagaId: 'plan-b', phase: 'rolled_back' },
      { sagaId: 'plan-c', phase: 'preparing' },
    ]);
  });

  it('reads the same in small chunks', async () => {
    const file = await fileOf(material);
    const whole = await check(file, stage.world.rootDigest);
    expect(await check(file, stage.world.rootDigest, 1009)).toEqual(whole);
  });
});
