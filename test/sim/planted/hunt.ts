/**
 * One hunt: a process that has a bug in it runs seeds until one of them shows it or none is left. What a
 * seed shows counts only where a checker says so, and where the same seed is clean without the bug: that
 * is asked of another process, which has none and serves all hunts.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Finding, RunResult } from '../results.ts';
import type { Shot } from './hunter.ts';
import type { PlantedBug } from './mutation.ts';
import { plantingFailed } from './plant.ts';
import { profileOf } from './profile.ts';

const hookFile = fileURLToPath(new URL('hook.ts', import.meta.url));
const hunterFile = fileURLToPath(new URL('hunter.ts', import.meta.url));

export interface HuntOptions {
  /** In this order. */
  readonly seeds: readonly number[];
  /** No seed is begun after it, `performance.now()`. */
  readonly deadlineMs: number;
  /** Runs seeds without a bug. */
  readonly control: Hunter;
}

export type Hunt = {
  /** How many seeds were run. */
  readonly runs: number;
  /** Seeds that broke something without the bug too: they say nothing. */
  readonly unclean: readonly number[];
} & (
  | { readonly status: 'found'; readonly seed: number; readonly findings: readonly Finding[] }
  /** No seed showed anything. */
  | { readonly status: 'clean' }
  /** The simulator did not come to an end by itself, or there was no time. */
  | { readonly status: 'broken'; readonly reason: string }
);

export type TimedHunt = Hunt & { readonly seconds: number };

/** Of one seed; a world that hangs takes longer. */
const shotMs = 120_000;
const complaintCharsMax = 2_000;

export async function hunt(bug: PlantedBug, options: HuntOptions): Promise<TimedHunt> {
  const beganMs = performance.now();
  const progress = { runs: 0, unclean: [] as number[] };
  const found = await withHunter(bug, (hunter) => search(bug, hunter, { ...options, progress }));
  return { ...found, ...progress, seconds: (performance.now() - beganMs) / 1000 };
}

async function withHunter(
  bug: PlantedBug,
  use: (hunter: Hunter) => Promise<Found>,
): Promise<Found> {
  const hunter = new Hunter(bug.name);
  try {
    const found = await use(hunter);
    await hunter.end();
    return found;
  } catch (error) {
    if (!(error instanceof HunterError)) throw error;
    return { status: 'broken', reason: error.message };
  }
}

type Found =
  | { readonly status: 'found'; readonly seed: number; readonly findings: readonly Finding[] }
  | { readonly status: 'clean' }
  | { readonly status: 'broken'; readonly reason: string };

async function search(
  bug: PlantedBug,
  hunter: Hunter,
  {
    seeds,
    deadlineMs,
    control,
    progress,
  }: HuntOptions & { readonly progress: { runs: number; readonly unclean: number[] } },
): Promise<Found> {
  const profile = profileOf(bug);
  for (const seed of seeds) {
    if (performance.now() > deadlineMs) return { status: 'broken', reason: 'no time was left' };
    const { findings } = await hunter.run({ seed, profile });
    progress.runs += 1;
    if (!findings.some(isOfChecker)) continue;
    const without = await control.run({ seed, profile });
    if (without.findings.length === 0) return { status: 'found', seed, findings };
    progress.unclean.push(seed);
  }
  return { status: 'clean' };
}

/** Invariant 0 is a process that ended by an error, which is no checker's word. */
function isOfChecker({ invariant }: Finding): boolean {
  return invariant > 0;
}

/** The process could not plant, or ended in the middle of a seed. */
export class HunterError extends Error {
  override readonly name = 'HunterError';
}

/** A process that runs seeds, one at a time, whoever asks. */
export class Hunter {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #complaint = '';
  #turn: Promise<unknown> = Promise.resolve();

  /** An empty name: without a bug. */
  constructor(bug: string) {
    const child = fork(hunterFile, {
      execArgv: ['--import', hookFile],
      env: { ...process.env, GYRE_PLANTED_BUG: bug },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', () => resolve(null));
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-complaintCharsMax);
    });
  }

  /** @throws HunterError */
  run(shot: Shot): Promise<RunResult> {
    const result = this.#turn.then(() => this.#shoot(shot));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** @throws HunterError where it says at its end that the bug was in nothing that was loaded */
  async end(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), shotMs);
    const code = await this.#ended;
    clearTimeout(late);
    if (code === plantingFailed) throw this.#error(code);
  }

  #shoot(shot: Shot): Promise<RunResult> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => child.kill('SIGKILL'), shotMs);
      const stopWaiting = (): void => {
        clearTimeout(late);
        child.removeAllListeners('message');
      };
      child.once('message', (result) => {
        stopWaiting();
        resolve(result as RunResult);
      });
      void this.#ended.then((code) => {
        stopWaiting();
        reject(this.#error(code));
      });
      if (child.connected) child.send(shot);
    });
  }

  #error(code: number | null): HunterError {
    const last = this.#complaint.trim().split('\n').slice(-6).join(' / ');
    return new HunterError(code === plantingFailed ? last : `it ended (${code}): ${last}`);
  }
}
