/**
 * Who belongs to a slot: every agent of its layer, the lexically first as its owner, and for keys with
 * a public half the agents of the layers that depend on it. The planner makes plans by this rule, and
 * the signer holds them against it: who is left out would be asked for no acceptance (invariant 1).
 */

import {
  layerDependencies,
  slotDefinitions,
  type KeyKind,
  type LayerNumber,
} from '#schemas/layers.ts';
import type { RotationPlanBody, SlotMember } from '#schemas/plan.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { sameData, sameMembers } from './equality.ts';

export interface LayerAgent {
  readonly agentId: string;
  readonly layer: number;
}

/** The layer agents among those that are enrolled, without those that are revoked. */
export function servingAgents(
  enrolled: readonly {
    readonly agentId: string;
    readonly kind: AgentKind;
    readonly layer?: number;
    readonly revokedAtMs?: number;
  }[],
): LayerAgent[] {
  return enrolled.flatMap(({ agentId, kind, layer, revokedAtMs }) =>
    kind === 'layer' && layer !== undefined && revokedAtMs === undefined
      ? [{ agentId, layer }]
      : [],
  );
}

/** Members of a slot in the order of plans, the owner first; empty where the layer has no agent. */
export function slotMembers(
  agents: readonly LayerAgent[],
  { layer, keyKind }: { readonly layer: LayerNumber; readonly keyKind: KeyKind },
): SlotMember[] {
  const [owner, ...others] = agentsOf(agents, layer);
  if (owner === undefined) return [];
  const isShared = keyKind === 'signature' || keyKind === 'kem' || keyKind === 'hybrid-kem';
  if (!isShared) return [{ ...owner, role: 'owner' }];
  const dependants = layerDependencies
    .filter(({ prerequisite }) => prerequisite === layer)
    .flatMap(({ dependent }) => agentsOf(agents, dependent));
  return [
    { ...owner, role: 'owner' },
    ...[...others, ...dependants].map((member) => ({ ...member, role: 'verifier' as const })),
  ];
}

/** Layers whose agents have a part in turning `layers`: nobody else's state says anything about it. */
export function layersConcerned(
  agents: readonly LayerAgent[],
  layers: readonly LayerNumber[],
): LayerNumber[] {
  const slots = slotDefinitions.filter(({ layer }) => layers.includes(layer));
  const members = slots.flatMap((slot) => slotMembers(agents, slot));
  return [...new Set(members.map(({ layer }) => layer))];
}

/** The first slot or member that is missing from a plan, or has no place in it; or undefined. */
export function memberShortfall(
  plan: RotationPlanBody,
  agents: readonly LayerAgent[],
): string | undefined {
  const due = slotDefinitions.filter(({ layer }) => plan.affected_layers.includes(layer));
  const planned = plan.affected_keys.map(({ slot }) => slot);
  const slots = due.map(({ slot }) => slot);
  if (!sameMembers(planned, slots)) return 'the slots are not those of the layers';
  const other = due.find(({ slot, keyKind, layer }) => {
    const key = plan.affected_keys.find((affected) => affected.slot === slot);
    const members = slotMembers(agents, { layer, keyKind });
    return key?.key_kind !== keyKind || !sameData(key.members, members);
  });
  return other === undefined ? undefined : `the members of ${other.slot} are others`;
}

function agentsOf(
  agents: readonly LayerAgent[],
  layer: LayerNumber,
): { agent_id: string; layer: LayerNumber }[] {
  return agents
    .filter((agent) => agent.layer === layer)
    .map(({ agentId }) => agentId)
    .sort()
    .map((agent_id) => ({ agent_id, layer }));
}
