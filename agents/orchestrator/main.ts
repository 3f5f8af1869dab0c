/** Starts an orchestrator: `node agents/orchestrator/main.ts <config.json>`. */

import { subjectsOf } from '#shared/bus/subjects.ts';
import { bootAgent, runAgent } from '#shared/runtime/boot.ts';
import { Orchestrator } from './orchestrator.ts';

const takeoverDefaultMs = 1_500;

runAgent(async () => {
  const agent = await bootAgent(process.argv[2] ?? 'config.json');
  const orchestrator = new Orchestrator({
    ...agent,
    agentId: agent.config.agentId,
    subjects: subjectsOf(agent.trust.mesh),
    takeoverMs: agent.config.takeoverMs ?? takeoverDefaultMs,
  });
  await agent.notices.start();
  await orchestrator.start();
  return orchestrator;
});
