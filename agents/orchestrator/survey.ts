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

export type SurveyPorts = Pick<OrchestratorPorts, 'trust'> & {
  readonly exchange: Pick<OrchestratorPorts['exchange'], 'ask'>;
};

/** As `surveyLayers`, without the agents whose enrolments were revoked: what there is to look at. */
export async function surveyMembers(ports: OrchestratorPorts): Promise<LayerInspection[]> {
  const inspections = await surveyLayers(ports);
  return inspections.filter(({ agentId }) => ports.trust.agent(agentId)?.revokedAtMs === undefined);
}

/** Inspections of all agents of `layers` (all layers unless told), in order of agent id. */
export async function surveyLayers(
  ports: SurveyPorts,
  layers?: readonly number[],
): Promise<LayerInspection[]> {
  const agents = ports.trust
    .agents()
    .filter(({ kind, layer }) => kind === 'layer' && layer !== undefined)
    .filter(({ layer }) => layers === undefined || layers.includes(layer ?? 0));
  return Promise.all(agents.map((agent) => inspect(ports, agent)));
}

async function inspect(ports: SurveyPorts, agent: Enrolled): Promise<LayerInspection> {
  if (agent.revokedAtMs !== undefined) return absent(agent, revokedReason(agent.revokedAtMs));
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

/** Nobody asks an agent whose enrolment has ended, and nobody waits for its answer. */
function revokedReason(atMs: number): string {
  return `its enrolment was revoked at ${new Date(atMs).toISOString()}`;
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
