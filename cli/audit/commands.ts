/** `gyre audit …`: the story of the mesh in one file, and its verification by anyone. */
import { textOption, type CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { exitCodes, usageFault } from '../fault.ts';
import { exportAudit, verifyFile, verifyMesh } from './actions.ts';
import { renderExported, renderVerdict, verdictResult } from './render.ts';

const exportCommand: CommandSpec = {
  name: 'export',
  summary: 'write the whole audit log with a checkpoint that covers it to a file',
  options: [['--out <file>', 'where to; a file that is there is replaced']],
  examples: ['gyre audit export --out mesh.audit'],
  run: async (context, options) => {
    const file = textOption(options, 'out');
    if (file === undefined) {
      throw usageFault('an export needs --out', 'Write gyre audit export --out FILE.');
    }
    const exported = await inSession(context, (session) =>
      exportAudit(session, file, (line) => context.output.progress(line)),
    );
    context.output.result(exported, () => renderExported(exported));
    return exitCodes.done;
  },
};

const verifyCommand: CommandSpec = {
  name: 'verify',
  summary: 'check the audit, from a file or from the running mesh, against the digest of the root',
  arguments: [['[file]', 'an export; without it the auditor of the running mesh is asked']],
  options: [['--root <digest>', 'SHA3-256 of the root document, 64 hexadecimal characters']],
  details:
    'Integrity, content and meaning are checked and reported apart; the first event that does not\n' +
    'hold is named. A file needs no mesh, no bus and no secret. Take the digest from a source that\n' +
    'you trust, not from the file. Ends with 0 when all three hold, 1 when one does not.',
  examples: ['gyre audit verify mesh.audit --root <digest that gyre status printed>'],
  run: async (context, options, positional) => {
    const rootDigest = parseRootDigest(textOption(options, 'root'));
    const [file] = positional;
    const { output } = context;
    const verdict =
      file === undefined
        ? await inSession(context, (session) =>
            verifyMesh(session, rootDigest, (line) => output.progress(line)),
          )
        : await verifyFile(file, rootDigest);
    output.result(verdictResult(verdict), (style) => renderVerdict(verdict, style));
    return verdict.ok ? exitCodes.done : exitCodes.failed;
  },
};

export function parseRootDigest(text: string | undefined): string {
  const digest = text?.toLowerCase() ?? '';
  if (/^[0-9a-f]{64}$/.test(digest)) return digest;
  throw usageFault(
    text === undefined
      ? 'a verification needs --root, the digest of the root document'
      : `"${text.slice(0, 80)}" is not the digest of a root document`,
    'It has 64 hexadecimal characters; gyre status prints it.',
  );
}

export const auditCommands: readonly CommandSpec[] = [exportCommand, verifyCommand];
