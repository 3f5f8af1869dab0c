/**
 * Who is in a development mesh: two operators, two orchestrators, the signer, the auditor and one
 * agent per layer; and which channels each of them belongs to. Membership decides who gets which
 * channel secret, so a layer agent never holds the key of another layer's channel.
 */
import { layerNames, layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { factorsCapability } from '#shared/core/approvals.ts';

export interface Member {
  readonly id: string;
  readonly kind: AgentKind;
  readonly layer?: LayerNumber;
  readonly capabilities: readonly string[];
}

export const operators: readonly Member[] = [operator('op-1'), operator('op-2')];

export const agents: readonly Member[] = [
  { id: 'signer', kind: 'signer', capabilities: ['sign'] },
  { id: 'auditor', kind: 'auditor', capabilities: ['audit'] },
  { id: 'orchestrator-a', kind: 'orchestrator', capabilities: ['orchestrate'] },
  { id: 'orchestrator-b', kind: 'orchestrator', capabilities: ['orchestrate'] },
  ...layerNumbers.map((layer): Member => ({
    id: `${layerNames[layer]}-a`,
    kind: 'layer',
    layer,
    capabilities: ['rotate', 'verify'],
  })),
];

export const members: readonly Member[] = [...operators, ...agents];

function operator(id: string): Member {
  return { id, kind: 'operator', capabilities: ['request', 'approve', factorsCapability] };
}
