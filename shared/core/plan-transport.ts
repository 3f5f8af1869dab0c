/**
 * The policy's lowest TLS version, held against what the agents of layer 3 say of their systems. An
 * agent whose systems speak no TLS names no version and is not asked.
 */

import { tlsVersions } from '#schemas/negotiation.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import type { PlanFault } from './plan-faults.ts';
import type { LayerAgent } from './plan-members.ts';

/** An agent of layer 3 that still speaks a TLS version below the policy's. */
export function transportFault(
  agents: readonly LayerAgent[],
  { inspections, policy }: { inspections: readonly LayerInspection[]; policy: PolicyBody },
): PlanFault | undefined {
  const { min_tls_version: lowest } = policy.policies.layer_specific.layer_3;
  const ofLayer = new Set(agents.flatMap(({ agentId, layer }) => (layer === 3 ? [agentId] : [])));
  const outdated = inspections.find(
    ({ agentId, tlsVersionMin: spoken }) =>
      spoken !== undefined &&
      ofLayer.has(agentId) &&
      tlsVersions.indexOf(spoken) < tlsVersions.indexOf(lowest),
  );
  if (outdated === undefined) return undefined;
  const { agentId, tlsVersionMin } = outdated;
  const reason = `${agentId} still speaks TLS ${tlsVersionMin}, below ${lowest}`;
  return { code: 'ORCH-8002', subject: agentId, reason };
}
