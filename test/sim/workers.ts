/**
 * Many runs over several processes: each process takes the next few when it is done with its own. One that
 * dies takes the whole run down: a simulator that loses runs proves nothing.
 */

import { fork, type ChildProcess } from 'node:child_process';

export interface JobsRun<Job, Result> {
  /** Started with `--worker`, it serves jobs (`serveJobs`). */
  readonly file: string;
  readonly jobs: Iterator<Job>;
  readonly processes: number;
  /** No job is begun after this, `performance.now()`. */
  readonly deadlineMs: number;
  /** True: no job is begun any more. */
  readonly onResult: (result: Result) => boolean;
}

interface Ended {
  isOver: boolean;
}

const portionMax = 8;

/** Resolves when every job that was begun is done. Rejects when a worker ends by itself. */
export async function runJobs<Job, Result>(run: JobsRun<Job, Result>): Promise<void> {
  const ended: Ended = { isOver: false };
  try {
    await Promise.all(Array.from({ length: run.processes }, () => work(run, ended)));
  } finally {
    ended.isOver = true;
  }
}

/** In a worker: answers each job, one after the other. */
export function serveJobs<Job, Result>(run: (job: Job) => Promise<Result>): void {
  let turn = Promise.resolve();
  // Whoever gives the jobs is gone, and with it the reason to run.
  process.on('disconnect', () => process.exit(1));
  process.on('message', (portion) => {
    turn = turn.then(async () => {
      for (const job of portion as readonly Job[]) process.send?.(await run(job));
    });
  });
}

async function work<Job, Result>(run: JobsRun<Job, Result>, ended: Ended): Promise<void> {
  const child = fork(run.file, ['--worker'], { execArgv: process.execArgv });
  const lost = new Promise<never>((_, reject) => {
    child.once('exit', (code, signal) => {
      reject(new Error(`a worker of the simulator ended (${signal ?? code})`));
    });
  });
  // Whoever waits for an answer hears of it; nobody does between two portions.
  lost.catch(() => undefined);
  const end = (): unknown => child.kill('SIGKILL');
  process.once('exit', end);
  try {
    while (!ended.isOver && performance.now() < run.deadlineMs) {
      const portion = nextOf(run.jobs);
      if (portion.length === 0) return;
      const done = answered<Result>(child, portion.length, (result) => {
        if (run.onResult(result)) ended.isOver = true;
      });
      child.send(portion);
      await Promise.race([done, lost]);
    }
  } finally {
    child.removeAllListeners('exit');
    process.off('exit', end);
    end();
  }
}

function nextOf<Job>(jobs: Iterator<Job>): Job[] {
  const portion: Job[] = [];
  while (portion.length < portionMax) {
    const { done, value } = jobs.next();
    if (done === true) break;
    portion.push(value);
  }
  return portion;
}

function answered<Result>(
  child: ChildProcess,
  count: number,
  take: (result: Result) => void,
): Promise<void> {
  return new Promise((resolve) => {
    let missing = count;
    const onMessage = (message: unknown): void => {
      take(message as Result);
      missing -= 1;
      if (missing > 0) return;
      child.off('message', onMessage);
      resolve();
    };
    child.on('message', onMessage);
  });
}
