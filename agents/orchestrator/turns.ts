/** Which orchestrator goes first with what all of them hear; the others step in when it does not. */

import type { OrchestratorPorts } from './ports.ts';

/**
 * By the hash of what was heard, so that work spreads and all agree. `isUnheard`: whose events nobody
 * would listen to, so that their turn is another's.
 */
export function goesFirst(
  { trust, agentId }: Pick<OrchestratorPorts, 'trust' | 'agentId'>,
  hash: string,
  isUnheard: (agentId: string) => boolean = () => false,
): boolean {
  const orchestrators = trust
    .agents()
    .filter((agent) => agent.kind === 'orchestrator' && !isUnheard(agent.agentId))
    .map((agent) => agent.agentId)
    .toSorted();
  const turn = Number.parseInt(hash.slice(0, 8), 16) % Math.max(1, orchestrators.length);
  return orchestrators[turn] === agentId;
}
