/** Starts an orchestrator: `node agents/orchestrator/main.ts <config.json>`. */

import { subjectsOf } from '#shared/bus/subjects.ts';
import { bootAgent, runAgent } from '#shared/runtime/boot.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { Orchestrator } from './orchestrator.ts';
import { TelemetryDesk } from './telemetry-desk.ts';

const takeoverDefaultMs = 1_500;

runAgent(async () => {
  const agent = await bootAgent(process.argv[2] ?? 'config.json');
  const { agentId } = agent.config;
  const subjects = subjectsOf(agent.trust.mesh);
  const receiver = new BulkReceiver(agent);
  const orchestrator = new Orchestrator({
    ...agent,
    agentId,
    subjects,
    telemetry: new TelemetryDesk({ ...agent, agentId, subjects, receiver }),
    takeoverMs: agent.config.takeoverMs ?? takeoverDefaultMs,
  });
  await agent.notices.start();
  await orchestrator.start();
  return orchestrator;
});
