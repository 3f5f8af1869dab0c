/**
 * A program of somebody else's, run once for one question: JSON on its standard input, JSON on its
 * standard output, bounded in time and size. No shell reads its arguments. What it says on standard error is
 * nobody's but its own: it may hold secrets and never goes into a log.
 */

import { spawn } from 'node:child_process';

export interface ProgramSpec {
  /** Absolute, or found on the PATH of the agent. */
  readonly program: string;
  readonly arguments?: readonly string[];
  /** Working folder; that of the agent unless told. */
  readonly directory?: string;
  /** 30,000 unless told. After it the program and what it started are killed. */
  readonly timeoutMs?: number;
}

export type ProgramOutcome =
  | { readonly status: 'ended'; readonly exitCode: number; readonly output: string }
  | {
      readonly status: 'failed';
      readonly code: 'NOT_STARTED' | 'TIMEOUT' | 'KILLED' | 'OUTPUT_TOO_LONG';
    };

type FailureCode = Extract<ProgramOutcome, { status: 'failed' }>['code'];

export const outputBytesMax = 1024 * 1024;
const timeoutMsDefault = 30_000;
/** After its end, for what is still in the pipe. */
const lingerMs = 500;
/** What a program is given of the agent's environment; secrets of whoever started it are not in it. */
const environmentNames = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

/** Never rejects for what the program does. */
export async function runProgram(spec: ProgramSpec, input: string): Promise<ProgramOutcome> {
  return await new Promise((resolve) => {
    const { program, directory, timeoutMs = timeoutMsDefault } = spec;
    const child = spawn(program, [...(spec.arguments ?? [])], {
      // A group of its own, so that nothing it started stays behind.
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
      env: environment(),
      ...(directory === undefined ? {} : { cwd: directory }),
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    let failure: FailureCode | undefined;
    const settle = (outcome: ProgramOutcome): void => {
      clearTimeout(timer);
      // What it started and left behind may hold the pipe open: nobody reads it any more.
      child.stdout.destroy();
      resolve(outcome);
    };
    const kill = (code: FailureCode): void => {
      failure ??= code;
      endGroup(child.pid);
      settle({ status: 'failed', code: failure });
    };
    const timer = setTimeout(() => kill('TIMEOUT'), timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > outputBytesMax) kill('OUTPUT_TOO_LONG');
      else chunks.push(chunk);
    });
    child.once('error', () => settle({ status: 'failed', code: failure ?? 'NOT_STARTED' }));
    const ended = (exitCode: number | null): void => {
      if (failure !== undefined || exitCode === null) {
        settle({ status: 'failed', code: failure ?? 'KILLED' });
        return;
      }
      settle({ status: 'ended', exitCode, output: Buffer.concat(chunks).toString('utf8') });
    };
    child.once('close', ended);
    // Its output is complete, unless what it left behind goes on writing.
    child.once('exit', (exitCode) => setTimeout(() => ended(exitCode), lingerMs));
    // A program that does not read its input ends the pipe: that is its own affair.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
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
