/**
 * Which layers are turned together. What a dependent layer holds is certified or wrapped by keys of the
 * layer before it, so that whoever turns these turns it as well. A plan names the agents of a dependent
 * layer where there are any, as members of the keys that they rely on, so that the plan by itself shows
 * whether it is whole; where nobody serves that layer, because it never had an agent or its last one was
 * revoked, nothing relies on it and it is not turned. Who serves is said by the enrolments in force, to
 * operators who ask, to orchestrators and to the signer alike; whoever judges the log takes the plan,
 * which the signer has held against them.
 */

import { layerDependencies, type LayerDependency, type LayerNumber } from '#schemas/layers.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { LayerAgent } from './plan-members.ts';

/** Whether one of these serves a layer: agents that are enrolled, without those that are revoked. */
export function servedBy(
  agents: readonly Pick<LayerAgent, 'layer'>[],
): (layer: LayerNumber) => boolean {
  const served = new Set(agents.map(({ layer }) => layer));
  return (layer) => served.has(layer);
}

/** The layers and all that depend on them, as far as somebody serves these; ascending. */
export function withDependants(
  layers: readonly LayerNumber[],
  isServed: (layer: LayerNumber) => boolean,
): LayerNumber[] {
  const turned = new Set(layers);
  for (let size = 0; size !== turned.size;) {
    size = turned.size;
    for (const { prerequisite, dependent } of layerDependencies) {
      if (turned.has(prerequisite) && isServed(dependent)) turned.add(dependent);
    }
  }
  return [...turned].sort((one, other) => one - other);
}

/** The dependencies that a plan does not heed: it names agents of a layer that it does not turn. */
export function unheededDependencies(
  plan: Pick<RotationPlanBody, 'affected_keys'>,
): LayerDependency[] {
  const turned = new Set(plan.affected_keys.map(({ layer }) => layer));
  return layerDependencies.filter(
    ({ prerequisite, dependent }) =>
      !turned.has(dependent) &&
      plan.affected_keys.some(
        ({ layer, members }) =>
          layer === prerequisite && members.some((member) => member.layer === dependent),
      ),
  );
}
