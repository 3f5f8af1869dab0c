/** No layer is turned without those that depend on it, whoever asks and whoever draws up the plan. */

import { expect, it } from 'vitest';
import type { LayerNumber } from '#schemas/layers.ts';
import { servedBy, withDependants } from '#shared/core/dependants.ts';
import { planFaults } from '#shared/core/plan-faults.ts';
import { planRotation } from '#shared/core/planner.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import { agentsOf, nowMs, planningInput, planOf, requestOf, signed } from './mesh.ts';

it('layers that depend on others are turned with them: a plan without them is refused by their names', () => {
  const planned = (layers: LayerNumber[]) =>
    planRotation(planningInput({ request: requestOf(layers) }));
  expect(planned([1])).toMatchObject({
    refused: 'ORCH-8008',
    reason: expect.stringMatching(/^layer 1: layer 2 has to be turned with it: capability keys/),
  });
  expect(planned([1, 2, 4])).toMatchObject({
    refused: 'ORCH-8008',
    reason: expect.stringContaining('layer 4: layer 5 has to be turned with it'),
  });
  for (const layers of [[2], [5], [1, 2], [2, 4, 5]] as LayerNumber[][]) {
    expect(planned(layers)).toHaveProperty('plan');
  }
  expect(withDependants([4, 1, 6], servedBy(agentsOf()))).toEqual([1, 2, 4, 5, 6]);
  expect(withDependants([4, 1], servedBy(agentsOf([1, 2, 4])))).toEqual([1, 2, 4]);
});

it('a signed plan without them begins as refused, for orchestrators, auditor and verifier', () => {
  const whole = planOf({ request: requestOf([1, 2]) });
  const keys = whole.affected_keys.filter(({ layer }) => layer === 1);
  const torn = {
    ...whole,
    affected_layers: [1] as LayerNumber[],
    affected_keys: keys,
    dependencies: [],
    coordination_sequence: [1] as LayerNumber[],
    rollback_plan: {
      ...whole.rollback_plan,
      sequence: [1] as LayerNumber[],
      checkpoints: whole.rollback_plan.checkpoints.slice(0, keys.length),
    },
  };
  expect(planFaults(torn).map(({ code, subject }) => [code, subject])).toEqual([
    ['ORCH-8008', 'layer 1'],
  ]);
  const opening = { sagaId: torn.rotation_plan_id, planDigest: '', entryHash: '' };
  const event = { type: 'plan-drafted', atMs: nowMs, plan: signed(torn) } as const;
  const { phase, failure } = beginRotation(opening, { index: 0, consumed: [], event });
  expect([phase, failure?.code]).toEqual(['refused', 'ORCH-8008']);
});

it('a mesh in which nobody serves them is not held up', () => {
  const plan = planOf({ agents: agentsOf([1, 4]), request: requestOf([1, 4]) });
  expect(planFaults(plan)).toEqual([]);
});
