/** `gyre status`: processes, layers, signer, audit and the root digest of a mesh. */
import type { CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { collectStatus, isHealthy } from './collect.ts';
import { renderStatus } from './render.ts';

export const statusCommand: CommandSpec = {
  name: 'status',
  summary: 'show processes, layers, signer, audit and the root digest of the mesh',
  details:
    'Ends with 0 when everything runs and answers, 1 when something does not, 5 when nothing does.',
  examples: ['gyre status --dir ./mesh', 'gyre status --json'],
  run: async (context) => {
    const status = await inSession(context, (session, mesh) =>
      collectStatus(session, context.layout, mesh),
    );
    const healthy = isHealthy(status);
    context.output.result({ healthy, ...status }, (style) => renderStatus(status, style));
    return healthy ? exitCodes.done : exitCodes.failed;
  },
};
