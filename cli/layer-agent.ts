/** The one answer of all commands to the name of a layer agent that the mesh does not have. */
import type { TrustView } from '#shared/crypto/trust.ts';
import { CliFault } from './fault.ts';

/** @throws CliFault AGENT_UNKNOWN */
export function requireLayerAgent(trust: TrustView, agentId: string): void {
  if (trust.agent(agentId)?.kind === 'layer') return;
  throw unknownLayerAgent(agentId);
}

export function unknownLayerAgent(agentId: string): CliFault {
  return new CliFault({
    code: 'AGENT_UNKNOWN',
    reason: `there is no layer agent ${agentId.slice(0, 63)}`,
    hint: 'See which there are: gyre capabilities.',
  });
}
