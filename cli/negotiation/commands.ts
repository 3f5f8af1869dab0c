/** `gyre negotiate …`: two live agents agree on algorithms, and anyone computes it again. */
import { parseRootDigest } from '../audit/commands.ts';
import { positionalAt, textOption, textsOption, type CommandSpec } from '../command.ts';
import { inSession, type Context } from '../context.ts';
import { exitCodes, usageFault } from '../fault.ts';
import { verdictResult } from '../audit/render.ts';
import { negotiate, verifyInFile, verifyInMesh, type Recomputation } from './actions.ts';
import {
  constraintNames,
  parseAgentId,
  parseConstraints,
  parseNegotiationId,
} from './arguments.ts';
import { eventLine, renderNegotiation, renderRecomputation } from './render.ts';

export const negotiateCommand: CommandSpec = {
  name: 'negotiate',
  summary: 'have two layer agents agree on algorithms, and show what it rests on',
  arguments: [
    ['<client>', 'one agent'],
    ['<server>', 'the other'],
  ],
  options: [
    ['--constraint <name=value>', `${constraintNames.join(', ')}; may be repeated`, 'repeatable'],
  ],
  details:
    'Both advertise what they can do, both select by policy, constraints, strength and preference, and\n' +
    'both confirm. The result is computed here again from what they signed. Ends with 0 when they\n' +
    'agreed, 1 when they did not, 5 when one of them cannot be reached.',
  examples: [
    'gyre negotiate network-a encryption-a',
    'gyre negotiate identity-a phi-a --constraint max-signature-bytes=5000 --json',
  ],
  run: async (context, options, positional) => {
    const wish = {
      client: parseAgentId(positionalAt(positional, 0)),
      server: parseAgentId(positionalAt(positional, 1)),
      constraints: parseConstraints(textsOption(options, 'constraint')),
    };
    if (wish.client === wish.server) {
      throw usageFault(
        `${wish.client} cannot negotiate with itself`,
        'Name two layer agents; see which there are: gyre capabilities.',
      );
    }
    const { output } = context;
    const result = await inSession(context, (session) =>
      negotiate(session, wish, (event) => output.progress(eventLine(event))),
    );
    output.result(result, (style) => renderNegotiation(result, style));
    return exitCodes.done;
  },
};

const verify: CommandSpec = {
  name: 'verify',
  summary: 'compute a negotiation again from the audit',
  arguments: [['<negotiation-id>', 'id of the negotiation, as negotiate prints it']],
  options: [
    ['--audit <file>', 'an export; without it the auditor of the running mesh is asked'],
    ['--root <digest>', 'SHA3-256 of the root document; needed with --audit'],
  ],
  details:
    'The audit is verified as a whole first. A file needs no mesh, no bus and no secret. Ends with 0\n' +
    'when the negotiation ended as the audit says, 1 when that does not follow.',
  examples: [
    'gyre negotiate verify neg-0123456789abcdef',
    'gyre negotiate verify neg-0123456789abcdef --audit mesh.audit --root <digest>',
  ],
  run: async (context, options, positional) => {
    const negotiationId = parseNegotiationId(positionalAt(positional, 0));
    const recomputation = await recompute(context, negotiationId, {
      file: textOption(options, 'audit'),
      root: textOption(options, 'root'),
    });
    const document = { ...recomputation, audit: verdictResult(recomputation.audit) };
    context.output.result(document, (style) => renderRecomputation(recomputation, style));
    return recomputation.ok ? exitCodes.done : exitCodes.failed;
  },
};

/** Under `negotiate`. */
export const negotiationCommands: readonly CommandSpec[] = [verify];

function recompute(
  context: Context,
  negotiationId: string,
  { file, root }: { readonly file: string | undefined; readonly root: string | undefined },
): Promise<Recomputation> {
  if (file !== undefined) {
    if (root === undefined) {
      throw usageFault(
        'an export is checked against --root, the digest of the root document',
        'Take it from a source that you trust; gyre status prints it.',
      );
    }
    return verifyInFile(file, parseRootDigest(root), negotiationId);
  }
  return inSession(context, (session) => {
    // The operator's own configuration pins one.
    const rootDigest = root === undefined ? session.trust.rootDigest : parseRootDigest(root);
    const progress = (line: string): void => context.output.progress(line);
    return verifyInMesh(session, { rootDigest, negotiationId }, progress);
  });
}
