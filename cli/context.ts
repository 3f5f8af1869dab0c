/**
 * What every command gets: the options that all commands share, the place to write to, and the mesh
 * or an operator's session in it. A session is closed whatever happens.
 */
import { resolve } from 'node:path';
import { usageFault } from './fault.ts';
import { layoutOf, type MeshLayout } from './mesh/layout.ts';
import { requireMesh, type MeshFile } from './mesh/mesh-file.ts';
import { OperatorSession } from './operator-session.ts';
import type { Output } from './output.ts';
import { tellIfSlow, type Look } from './waiting.ts';

/** As commander hands them over: text. */
export interface GlobalOptions {
  readonly dir?: string;
  readonly json?: boolean;
  readonly as?: string;
  readonly timeout?: string;
}

export interface Context {
  readonly output: Output;
  readonly layout: MeshLayout;
  readonly operatorId: string;
  readonly timeoutMs: number;
}

/** Whoever waits longer than this without a word is told what for. */
const noticeAfterMs = 3_000;
const noBusYet: Look = { hindrances: ['the bus has not answered yet'], undecided: false };
const timeoutDefaultMs = 120_000;
const timeoutMsMax = 24 * 3_600_000;

export function contextOf(
  options: GlobalOptions,
  output: Output,
  environment: Readonly<Record<string, string | undefined>>,
): Context {
  const named = options.dir ?? environment['GYRE_DIR'];
  return {
    output,
    layout: layoutOf(resolve(named === undefined || named === '' ? '.gyre' : named)),
    operatorId: options.as ?? 'op-1',
    timeoutMs:
      options.timeout === undefined
        ? timeoutDefaultMs
        : parseWhole(options.timeout, { name: '--timeout', min: 1, max: timeoutMsMax }),
  };
}

/** Runs `work` as the operator of the context. */
export async function inSession<Result>(
  context: Context,
  work: (session: OperatorSession, mesh: MeshFile) => Promise<Result>,
): Promise<Result> {
  const { layout, operatorId, timeoutMs } = context;
  const mesh = await requireMesh(layout.root);
  const patience = {
    afterMs: noticeAfterMs,
    hasTold: () => context.output.hasTold,
    tell: (line: string) => context.output.progress(line),
  };
  const session = await tellIfSlow(OperatorSession.open({ layout, mesh, operatorId, timeoutMs }), {
    ...patience,
    look: () => Promise.resolve(noBusYet),
  });
  try {
    return await tellIfSlow(work(session, mesh), { ...patience, look: () => session.look() });
  } finally {
    await session.close();
  }
}

/** A whole number in bounds, as an option was given. */
export function parseWhole(
  text: string,
  { name, min, max }: { readonly name: string; readonly min: number; readonly max: number },
): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw usageFault(
    `${name} takes a whole number from ${min} to ${max}, not "${text.slice(0, 40)}"`,
    'See the command with --help.',
  );
}
