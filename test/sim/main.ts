/**
 * The simulator from the command line: `node test/sim/main.ts --seeds 1..10000`, or `--seed 17 --trace`
 * to see one run. Exit code 1 where a run breaks an invariant, 2 for a wrong call.
 */

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { profileOf, profileOptions, profileUsage } from './profile-flags.ts';
import { addRun, noTotals, totalsText, type RunResult } from './results.ts';
import { runWorld, type Profile } from './run.ts';
import { shrink } from './shrink.ts';
import { runJobs, serveJobs } from './workers.ts';

interface Job {
  readonly seed: number;
  readonly profile: Profile;
}

const usage = `usage: node test/sim/main.ts [--seeds FROM..TO | --seed N] [options]
  --seeds FROM..TO  runs every seed from FROM to TO (1..1000)
  --seed N          runs one seed
${profileUsage}  --trace           with --seed: prints what happens, line by line
  --shrink          with --seed: leaves out what the failure does not need, then prints that run
  --jobs N          processes (one per processor)
  --minutes N       begins no seed after that
  --stop-at-first   begins no seed after the first that fails
  --json            prints one JSON object
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    ...profileOptions,
    trace: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
    jobs: { type: 'string' },
    minutes: { type: 'string' },
    'stop-at-first': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) process.stdout.write(usage);
else if (values.worker) serveJobs(({ seed, profile }: Job) => runWorld(seed, profile));
else if (values.seed !== undefined) process.exitCode = await one(numberOf(values.seed));
else process.exitCode = await many(rangeOf(values.seeds ?? '1..1000'));

async function one(seed: number): Promise<number> {
  const profile = profileOfCall();
  const options = values.shrink ? await shrink(seed, profile, progress) : {};
  const print = (line: string): unknown => process.stdout.write(`${line}\n`);
  const result = await runWorld(seed, {
    ...profile,
    ...options,
    ...(values.trace ? { print } : {}),
  });
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else process.stdout.write(`${runText(result)}\n`);
  return result.findings.length === 0 ? 0 : 1;
}

async function many({ from, to }: { from: number; to: number }): Promise<number> {
  const totals = noTotals();
  const failures: RunResult[] = [];
  const beganMs = performance.now();
  let shownMs = beganMs;
  await runJobs<Job, RunResult>({
    file: fileURLToPath(import.meta.url),
    jobs: jobsOf(from, to, profileOfCall()),
    processes: values.jobs === undefined ? availableParallelism() : numberOf(values.jobs),
    deadlineMs:
      values.minutes === undefined ? Infinity : beganMs + numberOf(values.minutes) * 60_000,
    onResult: (result) => {
      addRun(totals, result);
      if (result.findings.length > 0) {
        failures.push(result);
        progress(runText(result).split('\n', 2).join(':'));
      }
      if (performance.now() - shownMs > 5_000) {
        shownMs = performance.now();
        progress(`${totals.runs} of ${to - from + 1} seeds, ${totals.failed.length} failed`);
      }
      return values['stop-at-first'] && failures.length > 0;
    },
  });
  const seconds = (performance.now() - beganMs) / 1000;
  if (values.json) process.stdout.write(`${JSON.stringify({ totals, failures, seconds })}\n`);
  else {
    for (const failure of failures.slice(0, 10)) process.stdout.write(`${runText(failure)}\n`);
    process.stdout.write(`${totalsText(totals)}\ntook               ${seconds.toFixed(0)} s\n`);
  }
  return failures.length === 0 ? 0 : 1;
}

function* jobsOf(from: number, to: number, profile: Profile): Generator<Job> {
  for (let seed = from; seed <= to; seed += 1) yield { seed, profile };
}

function runText({ seed, traceHash, findings, simulatedMs, events }: RunResult): string {
  const lines = findings.map(
    ({ invariant, agent, what }) => `  invariant ${invariant}, ${agent}: ${what}`,
  );
  const verdict = findings.length === 0 ? 'holds' : 'FAILS';
  const size = `${(simulatedMs / 1000).toFixed(0)} s simulated, ${events} events`;
  return [`seed ${seed} ${verdict}, ${size}, trace ${traceHash}`, ...lines].join('\n');
}

function progress(line: string): void {
  process.stderr.write(`sim: ${line}\n`);
}

function numberOf(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  return wrongCall(`${text} is no whole number`);
}

function rangeOf(text: string): { from: number; to: number } {
  const [, from, to] = /^(\d+)\.\.(\d+)$/.exec(text) ?? [];
  if (from === undefined || to === undefined) return wrongCall(`${text} is no FROM..TO`);
  return { from: Number(from), to: Number(to) };
}

function profileOfCall(): Profile {
  try {
    return profileOf(values);
  } catch (error) {
    if (error instanceof RangeError) return wrongCall(error.message);
    throw error;
  }
}

function wrongCall(why: string): never {
  process.stderr.write(`${why}\n${usage}`);
  process.exit(2);
}
