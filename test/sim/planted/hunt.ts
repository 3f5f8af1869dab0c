/**
 * One hunt: the simulator goes through seeds in a process of its own, with a bug in it or without, until
 * a seed shows it or none is left. The process is given an end by its seeds and by its time.
 */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Finding, RunResult, Totals } from '../results.ts';
import { plantingFailed } from './plant.ts';

const hookFile = fileURLToPath(new URL('hook.ts', import.meta.url));
const mainFile = fileURLToPath(new URL('../main.ts', import.meta.url));

export interface HuntOptions {
  /** Empty: without a bug. */
  readonly bug: string;
  readonly from: number;
  readonly to: number;
  readonly jobs: number;
  /** No seed is begun after so many, in whole minutes; a minute later the process is ended. */
  readonly seconds: number;
}

export type Hunt =
  | { readonly status: 'found'; readonly seed: number; readonly findings: readonly Finding[] }
  /** No seed showed anything. */
  | { readonly status: 'clean'; readonly runs: number }
  /** The simulator did not come to an end by itself, or said nothing that can be read. */
  | { readonly status: 'broken'; readonly reason: string };

export type TimedHunt = Hunt & { readonly seconds: number };

const graceMs = 60_000;
const complaintCharsMax = 2_000;

export async function hunt(options: HuntOptions): Promise<TimedHunt> {
  const beganMs = performance.now();
  const result = await run(options);
  return { ...result, seconds: (performance.now() - beganMs) / 1000 };
}

function run({ bug, from, to, jobs, seconds }: HuntOptions): Promise<Hunt> {
  const flags = ['--seeds', `${from}..${to}`, '--jobs', String(jobs), '--stop-at-first', '--json'];
  const child = spawn(
    process.execPath,
    ['--import', hookFile, mainFile, ...flags, '--minutes', String(Math.ceil(seconds / 60))],
    {
      env: { ...process.env, GYRE_PLANTED_BUG: bug },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that its workers end with it.
      detached: true,
    },
  );
  const end = (): void => endGroup(child.pid);
  const timer = setTimeout(end, Math.ceil(seconds / 60) * 60_000 + graceMs);
  process.once('exit', end);
  let said = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-complaintCharsMax);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      process.off('exit', end);
      resolve(huntOf({ code, signal, said, complaint }));
    });
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // It is over already.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly said: string;
  readonly complaint: string;
}

function huntOf({ code, signal, said, complaint }: Ending): Hunt {
  if (code === plantingFailed) return { status: 'broken', reason: complaint.trim() };
  if (code !== 0 && code !== 1) {
    const last = complaint.trim().split('\n').slice(-6).join(' / ');
    return { status: 'broken', reason: `the simulator ended (${signal ?? code}): ${last}` };
  }
  const { totals, failures } = JSON.parse(said) as {
    readonly totals: Totals;
    readonly failures: readonly RunResult[];
  };
  const [first] = failures.toSorted((one, other) => one.seed - other.seed);
  return first === undefined
    ? { status: 'clean', runs: totals.runs }
    : { status: 'found', seed: first.seed, findings: first.findings };
}
