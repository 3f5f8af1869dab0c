/** `gyre status`: processes, layers, signer, audit and the root digest of a mesh. */
import type { CommandSpec } from '../command.ts';
import { inSession, type Context } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { requireMesh } from '../mesh/mesh-file.ts';
import { runningSupervisor } from '../mesh/supervisor-record.ts';
import { translateFault } from '../translate-fault.ts';
import { collectStatus, isAnswering, isHealthy, silentStatus, type Status } from './collect.ts';
import { renderStatus } from './render.ts';

export const statusCommand: CommandSpec = {
  name: 'status',
  summary: 'show processes, layers, signer, audit and the root digest of the mesh',
  details:
    'Names the documents in force, who is locked out for a bad one and until when, why a process does\n' +
    'not start, for how long each process has been as it is, when the layers were asked, what is\n' +
    'attached to them, and where clients reach layer 3. The root digest is that of the first root, which\n' +
    'every agent pins. Ends with 0 when everything runs and answers, 1 when something does not, 5 when\n' +
    'nothing does.',
  examples: ['gyre status --dir ./mesh', 'gyre status --json'],
  run: async (context) => {
    const status = await statusOf(context);
    const healthy = isHealthy(status);
    context.output.result({ healthy, ...status }, (style) => renderStatus(status, style));
    if (healthy) return exitCodes.done;
    return isAnswering(status) ? exitCodes.failed : exitCodes.unreachable;
  },
};

/** Without a bus there still are processes to show, as long as the mesh is meant to run. */
async function statusOf(context: Context): Promise<Status> {
  const { layout } = context;
  try {
    return await inSession(context, (session, mesh) => collectStatus(session, layout, mesh));
  } catch (error) {
    const fault = translateFault(error);
    const isShown =
      fault.exitCode === exitCodes.unreachable && (await runningSupervisor(layout)) !== null;
    if (!isShown) throw error;
    return silentStatus(layout, await requireMesh(layout.root), fault);
  }
}
