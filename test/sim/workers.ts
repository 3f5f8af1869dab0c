/**
 * Many seeds over several processes: each takes the next few when it is done with its own. A process that
 * dies takes the run down: a simulator that loses seeds proves nothing.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { RunResult } from './results.ts';

/** What a worker is sent, and what it answers once for each seed. */
export interface Portion {
  readonly seeds: readonly number[];
}

export interface SeedsRun {
  readonly from: number;
  readonly to: number;
  readonly jobs: number;
  /** Seeds that are not begun after this, `performance.now()`. */
  readonly deadlineMs: number;
  /** True: no seed is begun any more. */
  readonly onResult: (result: RunResult) => boolean;
}

const portionMax = 8;
const mainFile = fileURLToPath(new URL('main.ts', import.meta.url));

/** Resolves when every seed that was begun is done. Rejects when a worker ends by itself. */
export async function runSeeds(run: SeedsRun): Promise<void> {
  const seeds = { next: run.from, isOver: false };
  const jobs = Array.from({ length: run.jobs }, () => work(run, seeds));
  try {
    await Promise.all(jobs);
  } finally {
    seeds.isOver = true;
  }
}

async function work(
  { to, deadlineMs, onResult }: SeedsRun,
  seeds: { next: number; isOver: boolean },
): Promise<void> {
  const child = fork(mainFile, ['--worker'], { execArgv: process.execArgv });
  const ended = new Promise<never>((_, reject) => {
    child.once('exit', (code, signal) => {
      reject(new Error(`a worker of the simulator ended (${signal ?? code})`));
    });
  });
  ended.catch(() => undefined);
  try {
    while (!seeds.isOver && seeds.next <= to && performance.now() < deadlineMs) {
      const portion: number[] = [];
      while (portion.length < portionMax && seeds.next <= to) portion.push(seeds.next++);
      const done = answered(child, portion.length, (result) => {
        if (onResult(result)) seeds.isOver = true;
      });
      child.send({ seeds: portion } satisfies Portion);
      await Promise.race([done, ended]);
    }
  } finally {
    child.removeAllListeners('exit');
    child.kill('SIGKILL');
  }
}

function answered(
  child: ChildProcess,
  count: number,
  take: (result: RunResult) => void,
): Promise<void> {
  return new Promise((resolve) => {
    let missing = count;
    const onMessage = (message: unknown): void => {
      take(message as RunResult);
      missing -= 1;
      if (missing > 0) return;
      child.off('message', onMessage);
      resolve();
    };
    child.on('message', onMessage);
  });
}
