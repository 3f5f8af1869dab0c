import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkMaterial, check, fileOf, type Material } from './exports.ts';
import { Stage } from './story.ts';

let stage: Stage;
let material: Material;

beforeAll(async () => {
  stage = await Stage.open();
  await stage.tell({ planId: 'plan-a', layers: [1, 2] });
  await stage.tell({ planId: 'plan-b', layers: [7], fails: 'activate' });
  await stage.tell({ planId: 'plan-c', layers: [4], until: 'reports-received' });
  const checkpoint = await stage.checkpoint();
  material = { world: stage.world, records: await stage.records(), checkpoints: [checkpoint] };
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
