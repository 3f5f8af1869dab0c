/** `gyre capabilities`: what each layer agent offers in negotiations, and what it asks for. */
import { negotiatedKinds, type AgentCapabilities } from '#schemas/negotiation.ts';
import { checks } from '../answers.ts';
import type { CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { unknownLayerAgent } from '../layer-agent.ts';
import { constraintsText, parseAgentId } from '../negotiation/arguments.ts';
import { table, type Style } from '../style.ts';

export const capabilitiesCommand: CommandSpec = {
  name: 'capabilities',
  summary: 'list the algorithms that layer agents offer, asked live',
  arguments: [['[agent]', 'one agent; without it all of them']],
  details:
    'Ends with 1 when one of all agents does not answer, 5 when the one that was named does not.',
  examples: ['gyre capabilities', 'gyre capabilities network-a --json'],
  run: async (context, _options, positional) => {
    const wanted = positional[0] === undefined ? undefined : parseAgentId(positional[0]);
    const { output } = context;
    const list = await inSession(context, (session) =>
      session.askOrchestrator({ ask: 'capabilities-list' }, checks.capabilitiesList),
    );
    const agents = list.agents
      .filter(({ agentId }) => wanted === undefined || agentId === wanted)
      .toSorted((one, other) => one.layer - other.layer || (one.agentId < other.agentId ? -1 : 1));
    if (wanted !== undefined && agents.length === 0) throw unknownLayerAgent(wanted);
    const silent = agents.filter(({ ready, algorithms }) => !ready && isEmpty(algorithms));
    for (const { agentId, reason } of silent) {
      output.progress(`${agentId} does not say: ${reason ?? 'no reason given'}`);
    }
    output.result({ agents }, (style) => renderCapabilities(agents, style));
    if (silent.length === 0) return exitCodes.done;
    return wanted === undefined ? exitCodes.failed : exitCodes.unreachable;
  },
};

export function renderCapabilities(agents: readonly AgentCapabilities[], style: Style): string {
  const head = ['agent', 'kind', 'algorithm', 'status', 'speed', ''].map(style.dim);
  const rows = agents.flatMap(({ agentId, algorithms }) =>
    negotiatedKinds.flatMap((kind) =>
      algorithms[kind].map((offer) => [
        agentId,
        kind,
        offer.algorithm,
        offer.status,
        offer.performanceTier,
        offer.hardwareAccelerated === true ? 'in hardware' : '',
      ]),
    ),
  );
  return [table([head, ...rows]), ...agents.flatMap(constraintLines)].join('\n');
}

function constraintLines({ agentId, constraints, tlsVersionMin }: AgentCapabilities): string[] {
  const limits = constraintsText(constraints);
  const tls = tlsVersionMin === undefined ? [] : [`TLS from ${tlsVersionMin}`];
  const all = limits === '' ? tls : [limits, ...tls];
  return all.length === 0 ? [] : [`${agentId}: ${all.join(', ')}`];
}

function isEmpty(algorithms: AgentCapabilities['algorithms']): boolean {
  return negotiatedKinds.every((kind) => algorithms[kind].length === 0);
}
