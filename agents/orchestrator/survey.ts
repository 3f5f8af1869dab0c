/**
 * What the layer agents say of themselves, asked live: the ground on which plans are made, checked
 * and compared at execution. An agent that does not answer is reported as not ready, with the reason.
 */

import { nothingAdvertised } from '#schemas/negotiation.ts';
import { LayerInspection } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import { askTimeoutMs, type OrchestratorPorts } from './ports.ts';

const inspectionCheck = compile(LayerInspection);
const zeroDigest = '0'.repeat(64);

/** Inspections of all agents of `layers` (all layers unless told), in order of agent id. */
export async function surveyLayers(
  ports: OrchestratorPorts,
  layers?: readonly number[],
): Promise<LayerInspection[]> {
  const agents = ports.trust
    .agents()
    .filter(({ kind, layer }) => kind === 'layer' && layer !== undefined)
    .filter(({ layer }) => layers === undefined || layers.includes(layer ?? 0));
  return Promise.all(agents.map((agent) => inspect(ports, agent)));
}

async function inspect(ports: OrchestratorPorts, agent: Enrolled): Promise<LayerInspection> {
  const to = { agentId: agent.agentId, channel: `layer-${agent.layer}` };
  try {
    const answer = await ports.exchange.ask(to, { ask: 'layer-inspect' }, askTimeoutMs);
    if (!answer.ok) return absent(agent, answer.reason);
    if (!inspectionCheck.check(answer.result)) return absent(agent, 'its answer is malformed');
    return answer.result;
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
    return absent(agent, `no answer (${error.code})`);
  }
}

function absent(agent: Enrolled, reason: string): LayerInspection {
  return {
    agentId: agent.agentId,
    adapter: 'unknown',
    ...nothingAdvertised,
    fingerprint: zeroDigest,
    ready: false,
    reason,
    slots: [],
  };
}
