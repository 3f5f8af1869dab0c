/**
 * A program of somebody else's, run once for one question: JSON on its standard input, JSON on its
 * standard output, bounded in time and size. No shell reads its arguments. What it says on standard error
 * is for nobody, or, where whoever attached it says so, its end is for the agent's own log when it failed.
 */

import { spawn } from 'node:child_process';
import { openStandardError, type StandardError } from './standard-error.ts';

export interface ProgramSpec {
  /** Absolute, or found on the PATH of the agent. */
  readonly program: string;
  readonly arguments?: readonly string[];
  /** Working folder; that of the agent unless told. */
  readonly directory?: string;
  /** 30,000 unless told. After it the program and what it started are killed. */
  readonly timeoutMs?: number;
  /** False unless told: what a program says may be a secret. */
  readonly logsStandardError?: boolean;
  /** Told by whoever runs it each time that it failed. */
  readonly onFailure?: (failure: ProgramFailure) => void;
}

export type ProgramOutcome = {
  /** The end of what it said on standard error, escaped; nothing unless that is to be logged. */
  readonly complaint: string | undefined;
} & Ending;

type Ending =
  | { readonly status: 'ended'; readonly exitCode: number; readonly output: string }
  | {
      readonly status: 'failed';
      readonly code: 'NOT_STARTED' | 'TIMEOUT' | 'KILLED' | 'OUTPUT_TOO_LONG';
      /** The system's code or the signal, where there was one. */
      readonly detail?: string;
    };

/** For a log. */
export interface ProgramFailure {
  readonly program: string;
  readonly operation: string;
  /** `exit code 3`, `not started: ENOENT` …: in one line, of gyre's own words. */
  readonly what: string;
  readonly complaint: string | undefined;
}

type FailureCode = Extract<Ending, { status: 'failed' }>['code'];

export const outputBytesMax = 1024 * 1024;
const timeoutMsDefault = 30_000;
/** After its end, for what is still in the pipe of its output. */
const lingerMs = 500;
/** What a program is given of the agent's environment; secrets of whoever started it are not in it. */
const environmentNames = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

/** Never rejects for what the program does. */
export async function runProgram(spec: ProgramSpec, input: string): Promise<ProgramOutcome> {
  const standardError = openStandardError(spec.logsStandardError ?? false);
  try {
    const ending = await run(spec, input, standardError.target);
    return { ...ending, complaint: standardError.end() };
  } finally {
    standardError.close();
  }
}

async function run(
  spec: ProgramSpec,
  input: string,
  standardError: StandardError['target'],
): Promise<Ending> {
  return await new Promise((resolve) => {
    const { program, directory, timeoutMs = timeoutMsDefault } = spec;
    const child = spawn(program, [...(spec.arguments ?? [])], {
      // A group of its own, so that nothing it started stays behind.
      detached: true,
      stdio: ['pipe', 'pipe', standardError],
      env: environment(),
      ...(directory === undefined ? {} : { cwd: directory }),
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    let failure: FailureCode | undefined;
    const settle = (ending: Ending): void => {
      clearTimeout(timer);
      // What it started and left behind may hold the pipe open: nobody reads it any more.
      child.stdout?.destroy();
      resolve(ending);
    };
    const fail = (code: FailureCode, detail?: string | null): void =>
      settle({
        status: 'failed',
        code: failure ?? code,
        ...(failure === undefined && typeof detail === 'string' ? { detail } : {}),
      });
    const kill = (code: FailureCode): void => {
      failure ??= code;
      endGroup(child.pid);
      fail(failure);
    };
    const timer = setTimeout(() => kill('TIMEOUT'), timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > outputBytesMax) kill('OUTPUT_TOO_LONG');
      else chunks.push(chunk);
    });
    child.once('error', (error: NodeJS.ErrnoException) => fail('NOT_STARTED', error.code));
    const ended = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (failure !== undefined || exitCode === null) {
        fail('KILLED', signal);
        return;
      }
      settle({ status: 'ended', exitCode, output: Buffer.concat(chunks).toString('utf8') });
    };
    child.once('close', ended);
    // Its output is complete, unless what it left behind goes on writing.
    child.once('exit', (...how) => setTimeout(() => ended(...how), lingerMs));
    // A program that does not read its input ends the pipe: that is its own affair.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

/** How it went, in a few words: what a program itself said is not among them. */
export function outcomeText(outcome: ProgramOutcome): string {
  if (outcome.status === 'ended') return `exit code ${outcome.exitCode}`;
  const { code, detail } = outcome;
  const text = code.toLowerCase().replaceAll('_', ' ');
  return detail === undefined ? text : `${text}: ${detail}`;
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // It has just ended by itself, or has become somebody else's.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}

function environment(): Record<string, string> {
  return Object.fromEntries(
    environmentNames.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}
