/** Which orchestrator goes first with what all of them hear; the others step in when it does not. */

import type { OrchestratorPorts } from './ports.ts';

/** By the hash of what was heard, so that work spreads and all agree. */
export function goesFirst(
  { trust, agentId }: Pick<OrchestratorPorts, 'trust' | 'agentId'>,
  hash: string,
): boolean {
  const orchestrators = trust
    .agents()
    .filter(({ kind }) => kind === 'orchestrator')
    .map((agent) => agent.agentId)
    .toSorted();
  const turn = Number.parseInt(hash.slice(0, 8), 16) % Math.max(1, orchestrators.length);
  return orchestrators[turn] === agentId;
}
