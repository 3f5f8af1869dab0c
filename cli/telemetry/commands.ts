/** `gyre telemetry …`: what layer agents say of themselves, and the proof that one said it. */
import { parseRootDigest } from '../audit/commands.ts';
import { checks } from '../answers.ts';
import { positionalAt, textOption, type CommandSpec, type Options } from '../command.ts';
import { inSession, parseWhole } from '../context.ts';
import { exitCodes, usageFault } from '../fault.ts';
import { requireLayerAgent } from '../layer-agent.ts';
import { verifyProofFile, writeProof } from './actions.ts';
import { renderProven, renderRecent, renderWritten } from './render.ts';

const recent: CommandSpec = {
  name: 'recent',
  summary: 'show when each layer agent was last heard, and what it said',
  arguments: [['[agent]', 'one agent, with its measurements and latest events']],
  details:
    'As one orchestrator remembers it, since it began. Telemetry is evidence: nothing in the mesh\n' +
    'decides by it. Ends with 1 where one of all agents is silent, 5 where the one that was named is.',
  examples: ['gyre telemetry recent', 'gyre telemetry recent database-a --json'],
  run: async (context, _options, [agentId]) => {
    const result = await inSession(context, (session) => {
      if (agentId !== undefined) requireLayerAgent(session.trust, agentId);
      const query = {
        ask: 'telemetry-recent',
        ...(agentId === undefined ? {} : { agentId }),
      } as const;
      return session.askOrchestrator(query, checks.telemetryRecent);
    });
    context.output.result(result, (style) => renderRecent(result, style, agentId !== undefined));
    if (!result.agents.some(({ silent }) => silent)) return exitCodes.done;
    return agentId === undefined ? exitCodes.failed : exitCodes.unreachable;
  },
};

const prove: CommandSpec = {
  name: 'prove',
  summary: 'write one event of telemetry to a file that anyone can check',
  arguments: [['<agent>', 'whose event']],
  options: [
    ['--out <file>', 'where to; a file that is there is replaced'],
    ['--batch <hash>', 'the batch, as telemetry recent --json names it (default: the newest)'],
    ['--index <number>', 'place of the event in that batch, from 0'],
  ],
  details: 'The file shows this event, its place and its sender, and nothing of the others.',
  examples: ['gyre telemetry prove database-a --out heartbeat.proof'],
  run: async (context, options, positional) => {
    const agentId = positionalAt(positional, 0);
    const file = textOption(options, 'out');
    if (file === undefined) {
      throw usageFault('a proof needs --out', 'Write gyre telemetry prove AGENT --out FILE.');
    }
    const query = { agentId, ...eventOf(options) };
    const written = await inSession(context, (session) => {
      requireLayerAgent(session.trust, agentId);
      return writeProof(session, file, query);
    });
    context.output.result(written, () => renderWritten(written));
    return exitCodes.done;
  },
};

const verify: CommandSpec = {
  name: 'verify',
  summary: 'check a proof of telemetry against the digest of the root',
  arguments: [['<file>', 'what gyre telemetry prove wrote']],
  options: [['--root <digest>', 'SHA3-256 of the root document, 64 hexadecimal characters']],
  details: 'Needs no mesh, no bus and no secret. Ends with 0 when it holds, 1 when it does not.',
  examples: ['gyre telemetry verify heartbeat.proof --root <digest that gyre status printed>'],
  run: async ({ output }, options, positional) => {
    const rootDigest = parseRootDigest(textOption(options, 'root'));
    const proven = await verifyProofFile(positionalAt(positional, 0), rootDigest);
    output.result({ ok: true, ...proven }, (style) => renderProven(proven, style));
    return exitCodes.done;
  },
};

export const telemetryCommands: readonly CommandSpec[] = [recent, prove, verify];

function eventOf(options: Options): { event?: { batch: string; index: number } } {
  const [batch, index] = [textOption(options, 'batch'), textOption(options, 'index')];
  if (batch === undefined && index === undefined) return {};
  if (batch === undefined || index === undefined || !/^[0-9a-f]{64}$/.test(batch)) {
    throw usageFault(
      '--batch and --index go together, and a batch has 64 hexadecimal characters',
      'gyre telemetry recent AGENT --json names both.',
    );
  }
  return { event: { batch, index: parseWhole(index, { name: '--index', min: 0, max: 255 }) } };
}
