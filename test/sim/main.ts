/**
 * The simulator from the command line: `node test/sim/main.ts --seeds 1..10000`, or `--seed 17 --trace`
 * to see one run. Exit code 1 where a run breaks an invariant, 2 for a wrong call.
 */

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { CommandLine } from './command-line.ts';
import { profileOf, profileOptions, profileUsage } from './profile-flags.ts';
import { addRun, findingText, noTotals, totalsText, type RunResult } from './results.ts';
import { runWorld, type Profile } from './run.ts';
import { NothingToShrink, shrink } from './shrink.ts';
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
  --jobs N          with --seeds: processes (one per processor)
  --minutes N       with --seeds: begins no seed after that
  --stop-at-first   with --seeds: begins no seed after the first that fails
  --json            prints one JSON object; a trace goes to stderr then
`;

const line = new CommandLine('sim');
const { values } = line.flags({
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
else process.exitCode = await run();

async function run(): Promise<number> {
  const { seed, seeds = '1..1000', jobs, minutes, trace } = values;
  if (seed === undefined) {
    if (trace || values.shrink) line.refuse('--trace and --shrink are for one run: --seed N');
    const processes = jobs === undefined ? availableParallelism() : line.whole('--jobs', jobs);
    return await many(rangeOf(seeds), processes, line.minutes(minutes) * 60_000);
  }
  if (values.seeds !== undefined) line.refuse('--seed and --seeds do not go together');
  if (jobs !== undefined || minutes !== undefined || values['stop-at-first']) {
    line.refuse('--jobs, --minutes and --stop-at-first are for many runs: --seeds FROM..TO');
  }
  return await one(line.whole('--seed', seed, 0));
}

async function one(seed: number): Promise<number> {
  const profile = profileOfCall();
  const options = values.shrink ? await shrunk(seed, profile) : {};
  const output = values.json ? process.stderr : process.stdout;
  const print = (text: string): unknown => output.write(`${text}\n`);
  const result = await runWorld(seed, {
    ...profile,
    ...options,
    ...(values.trace ? { print } : {}),
  });
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else process.stdout.write(`${runText(result)}\n`);
  return result.findings.length === 0 ? 0 : 1;
}

async function shrunk(seed: number, profile: Profile): ReturnType<typeof shrink> {
  try {
    return await shrink(seed, profile, progress);
  } catch (error) {
    if (!(error instanceof NothingToShrink)) throw error;
    return line.refuse(`--shrink: ${error.message}, there is nothing to leave out`);
  }
}

async function many(
  { from, to }: { readonly from: number; readonly to: number },
  processes: number,
  forMs: number,
): Promise<number> {
  const totals = noTotals();
  const failures: RunResult[] = [];
  const beganMs = performance.now();
  let shownMs = beganMs;
  await runJobs<Job, RunResult>({
    file: fileURLToPath(import.meta.url),
    jobs: jobsOf(from, to, profileOfCall()),
    processes,
    deadlineMs: beganMs + forMs,
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
  const lines = findings.map((finding) => `  ${findingText(finding)}`);
  const verdict = findings.length === 0 ? 'holds' : 'FAILS';
  const size = `${(simulatedMs / 1000).toFixed(0)} s simulated, ${events} events`;
  return [`seed ${seed} ${verdict}, ${size}, trace ${traceHash}`, ...lines].join('\n');
}

function progress(text: string): void {
  process.stderr.write(`sim: ${text}\n`);
}

function rangeOf(text: string): { from: number; to: number } {
  const [, first, last] = /^(\d+)\.\.(\d+)$/.exec(text) ?? [];
  if (first === undefined || last === undefined) {
    return line.refuse(`--seeds: '${text}' is no FROM..TO`);
  }
  const [from, to] = [line.whole('--seeds', first, 0), line.whole('--seeds', last, 0)];
  if (from <= to) return { from, to };
  return line.refuse(`--seeds: there is no seed from ${from} to ${to}`);
}

function profileOfCall(): Profile {
  try {
    return profileOf(values);
  } catch (error) {
    if (error instanceof RangeError) return line.refuse(error.message);
    throw error;
  }
}
