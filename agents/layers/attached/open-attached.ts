/** The systems of somebody else's that a configuration can name, opened as what an agent turns. */

import type { AttachedSystem } from '#schemas/config.ts';
import type { Log } from '#shared/runtime/ports.ts';
import type { LayerAdapter } from '../adapter.ts';
import type { EmbeddedOptions } from '../embedded/embedded-adapter.ts';
import type { UsageCount } from '../embedded/key-usage.ts';
import type { CertifiedSystem } from '../service/certificate-authority.ts';
import { RemoteAdapter } from '../service/remote-adapter.ts';
import { openCertificateFiles } from './certificate-files-adapter.ts';
import { CommandChannel } from './command-channel.ts';
import { FailureLog } from './failure-log.ts';
import { openKeyFiles } from './key-files-adapter.ts';
import type { ProgramSpec } from './program.ts';

export interface Attached {
  readonly adapter: LayerAdapter;
  /** The same, where its keys are certified. */
  readonly certified?: CertifiedSystem;
  readonly measure?: () => Readonly<Record<string, number>>;
  readonly takeCounts: () => readonly UsageCount[] | Promise<readonly UsageCount[]>;
  readonly close: () => void;
}

export interface AttachOptions extends EmbeddedOptions {
  /** Absolute path of a path in the configuration. */
  readonly resolve: (relative: string) => string;
  readonly log: Log;
  /** For trying it: how soon after a reload a server has to show its certificate. */
  readonly shownWithinMs?: number;
}

/** @throws AdapterError where the system does not answer */
export async function openAttached(
  system: AttachedSystem,
  options: AttachOptions,
): Promise<Attached> {
  const { crypto } = options;
  const failures = new FailureLog(options);
  const programOf = (program: Omit<Program, 'kind'>): ProgramSpec => ({
    ...specOf(program, options.resolve),
    onFailure: (failure) => failures.note(failure),
  });
  if (system.kind === 'command') {
    const channel = new CommandChannel({ crypto, ...programOf(system) });
    const adapter = await RemoteAdapter.connect(channel);
    return { adapter, takeCounts: () => adapter.takeCounts(), close: () => adapter.close() };
  }
  if (system.kind === 'certificate-files') {
    const { directory, names, address, reload } = system;
    const { adapter, keys, measure } = openCertificateFiles({
      ...options,
      directory: options.resolve(directory),
      names,
      address,
      reload: programOf(reload),
    });
    const takeCounts = () => keys.usage.takeCounts();
    return { adapter, certified: adapter, measure, takeCounts, close: () => keys.close() };
  }
  const { directory, reload } = system;
  const { adapter, keys } = await openKeyFiles({
    ...options,
    directory: options.resolve(directory),
    ...(reload === undefined ? {} : { reload: programOf(reload) }),
  });
  return { adapter, takeCounts: () => keys.usage.takeCounts(), close: () => keys.close() };
}

type Program = Extract<AttachedSystem, { kind: 'command' }>;

/** Programs run in the folder of the configuration; one without a slash is looked for on the PATH. */
function specOf(
  { program, arguments: words, timeoutMs, logsStandardError }: Omit<Program, 'kind'>,
  resolve: AttachOptions['resolve'],
): ProgramSpec {
  return {
    program: program.includes('/') ? resolve(program) : program,
    directory: resolve('.'),
    ...(words === undefined ? {} : { arguments: words }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(logsStandardError === undefined ? {} : { logsStandardError }),
  };
}
