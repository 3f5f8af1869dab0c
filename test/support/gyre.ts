/**
 * Runs `bin/gyre` itself, as a person or a script does, and hands back exit code, standard output and
 * standard error. `--json` output is parsed, and must be exactly one document.
 */
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { patienceMs } from './patience.ts';

export interface GyreRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

export interface GyreOptions {
  /** Called for every line of standard error as it comes. */
  readonly onProgress?: (line: string) => void;
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export const projectRoot = resolve(import.meta.dirname, '../..');
const binary = join(projectRoot, 'bin', 'gyre');

export function runGyre(args: readonly string[], options: GyreOptions = {}): Promise<GyreRun> {
  const { onProgress, environment = {}, timeoutMs = patienceMs } = options;
  const startedMs = performance.now();
  const child = spawn(binary, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', ...environment },
  });
  let [stdout, stderr, pending] = ['', '', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    const lines = (pending + text).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) onProgress?.(line);
  });
  const timer = setTimeout(() => child.kill('SIGTERM'), timeoutMs);
  return new Promise((done, failed) => {
    child.once('error', failed);
    child.once('close', (code) => {
      clearTimeout(timer);
      done({ code: code ?? -1, stdout, stderr, durationMs: performance.now() - startedMs });
    });
  });
}

/** Runs with `--json` and parses the one document; `Shape` is what the caller relies on. */
export async function gyreJson<Shape>(
  args: readonly string[],
  options: GyreOptions = {},
): Promise<GyreRun & { readonly document: Shape }> {
  const run = await runGyre([...args, '--json'], options);
  try {
    const document: Shape = JSON.parse(run.stdout);
    return { ...run, document };
  } catch (cause) {
    const said = `${run.stdout.slice(0, 500)}\n${run.stderr.slice(-2_000)}`;
    throw new Error(`gyre ${args.join(' ')} printed no JSON document (exit ${run.code}): ${said}`, {
      cause,
    });
  }
}
