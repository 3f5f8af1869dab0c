/**
 * Matrices of crashes: `node test/sim/matrix.ts` lets each process die once at every durable write and
 * every send of a rotation of seven layers, a rollback, an epoch change and a registry update, before it
 * and after it; `--pairs` lets two die, at all pairs of points, in pieces that go on where the last one
 * ended. Exit code 1 where a world does not come to rest or an invariant breaks.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandLine } from './command-line.ts';
import { findingText } from './results.ts';
import {
  runScenario,
  scenarioNames,
  type Crash,
  type ScenarioName,
  type ScenarioResult,
} from './scenario.ts';
import { drawsFrom } from './seed.ts';
import { runJobs, serveJobs } from './workers.ts';

interface Job {
  readonly scenario: ScenarioName;
  readonly crashes: readonly Crash[];
}

interface Outcome extends Job {
  readonly result: ScenarioResult;
}

interface Totals {
  runs: number;
  /** Runs in which every crash happened: a second one may find its process past the point. */
  struck: number;
  readonly failures: Outcome[];
}

const usage = `usage: node test/sim/matrix.ts [options]
  --scenario NAME   one of: ${scenarioNames.join(', ')} (all)
  --every N         only every Nth point of each process (1)
  --pairs           two crashes at a time, all pairs of points, in a shuffled order
  --state FILE      with --pairs: where it goes on (.cache/sim/pairs.json)
  --minutes N       begins no run after that
  --jobs N          processes (one per processor)
  --crash A:P[,A:P] one run: agent A dies at its point P; prints what happens
  --json            prints one JSON object
`;

const line = new CommandLine('matrix');
const { values } = line.flags({
  options: {
    scenario: { type: 'string' },
    every: { type: 'string', default: '1' },
    pairs: { type: 'boolean', default: false },
    state: { type: 'string', default: '.cache/sim/pairs.json' },
    minutes: { type: 'string' },
    jobs: { type: 'string' },
    crash: { type: 'string' },
    json: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const processes =
  values.jobs === undefined ? availableParallelism() : line.whole('--jobs', values.jobs);
const forMs = line.minutes(values.minutes) * 60_000;

if (values.help) process.stdout.write(usage);
else if (values.worker) {
  serveJobs(async (job: Job): Promise<Outcome> => ({
    ...job,
    result: await runScenario(job.scenario, job.crashes),
  }));
} else process.exitCode = await runCall();

async function runCall(): Promise<number> {
  if (values.crash !== undefined) return await showOne(values.crash);
  return values.pairs ? await pairs() : await singles();
}

async function showOne(text: string): Promise<number> {
  if (values.pairs || values.json) line.refuse('--crash goes with neither --pairs nor --json');
  const crashes = text.split(',').map((part): Crash => {
    const [, agentId, point] = /^([a-z0-9-]+):(\d+)$/.exec(part) ?? [];
    if (agentId === undefined) return line.refuse(`--crash: '${part}' is no AGENT:POINT`);
    return { agentId, point: Number(point) };
  });
  const [scenario = 'rotation'] = wanted();
  const { points } = await runScenario(scenario);
  for (const { agentId, point } of crashes) verifyPoint(points, agentId, point);
  const print = (said: string): unknown => process.stdout.write(`${said}\n`);
  const result = await runScenario(scenario, crashes, print);
  process.stdout.write(`${outcomeText({ scenario, crashes, result })}\n`);
  return result.findings.length === 0 ? 0 : 1;
}

function verifyPoint(points: ScenarioResult['points'], agentId: string, point: number): void {
  const count = points[agentId];
  if (count === undefined) {
    return line.refuse(`--crash: there is no agent ${agentId}: ${Object.keys(points).join(', ')}`);
  }
  if (point < count) return;
  line.refuse(`--crash: ${agentId} has no point ${point}: it has ${count}, the first is 0`);
}

async function singles(): Promise<number> {
  const every = line.whole('--every', values.every);
  const failures: Outcome[] = [];
  const report: object[] = [];
  for (const scenario of wanted()) {
    const points = await pointsOf(scenario);
    const all = points.filter((_, index) => index % every === 0);
    const jobs = all.map((crash): Job => ({ scenario, crashes: [crash] }));
    const { totals, seconds } = await run(jobs.values(), `${scenario}, of ${jobs.length}`);
    failures.push(...totals.failures);
    const { runs, struck } = totals;
    const failed = totals.failures.length;
    report.push({ scenario, points: points.length, runs, struck, failed, seconds });
    if (values.json) continue;
    process.stdout.write(
      `${scenario}: ${points.length} points, ${runs} runs, ${struck} crashes, ` +
        `${failed} failed, ${seconds.toFixed(0)} s\n`,
    );
  }
  return conclude(failures, report);
}

/** All pairs of points of a scenario, in an order that a piece of them is a fair sample of. */
async function pairs(): Promise<number> {
  const failures: Outcome[] = [];
  const report: object[] = [];
  const state = readState();
  const names = wanted();
  for (const scenario of names) {
    const points = await pointsOf(scenario);
    const count = (points.length * (points.length - 1)) / 2;
    const known = state[scenario];
    const from = known?.points === points.length ? known.done : 0;
    const jobs = pairsFrom(scenario, points, from);
    const share = 1 / names.length;
    const { totals, seconds } = await run(
      jobs,
      `${scenario}, pairs from ${from} of ${count}`,
      share,
    );
    failures.push(...totals.failures);
    const done = from + totals.runs;
    state[scenario] = { points: points.length, done };
    writeState(state);
    report.push({
      scenario,
      pairs: count,
      done,
      runs: totals.runs,
      failed: totals.failures.length,
    });
    if (values.json) continue;
    process.stdout.write(
      `${scenario}: ${done} of ${count} pairs until now, ${totals.runs} in this piece, ` +
        `${totals.failures.length} failed, ${seconds.toFixed(0)} s\n`,
    );
  }
  return conclude(failures, report);
}

function* pairsFrom(
  scenario: ScenarioName,
  points: readonly Crash[],
  from: number,
): Generator<Job> {
  const shuffled = drawsFrom(1).fork(`pairs of ${scenario}`).shuffled(points);
  let index = 0;
  // Every distance in turn: early pairs take in every point once before any comes again.
  for (let distance = 1; distance < shuffled.length; distance += 1) {
    for (let at = 0; at + distance < shuffled.length; at += 1, index += 1) {
      const [one, other] = [shuffled[at], shuffled[at + distance]];
      if (index < from || one === undefined || other === undefined) continue;
      yield { scenario, crashes: [one, other] };
    }
  }
}

/** Every point of every process in a run without a crash. */
async function pointsOf(scenario: ScenarioName): Promise<Crash[]> {
  const { points, findings } = await runScenario(scenario);
  if (findings.length > 0) {
    throw new Error(`the ${scenario} fails without a crash: ${findings[0]?.what}`);
  }
  return Object.entries(points).flatMap(([agentId, count]) =>
    Array.from({ length: count }, (_, point): Crash => ({ agentId, point })),
  );
}

async function run(jobs: Iterator<Job>, what: string, share = 1) {
  const totals: Totals = { runs: 0, struck: 0, failures: [] };
  const beganMs = performance.now();
  let shownMs = beganMs;
  await runJobs<Job, Outcome>({
    file: fileURLToPath(import.meta.url),
    jobs,
    processes,
    deadlineMs: beganMs + forMs * share,
    onResult: (outcome) => {
      totals.runs += 1;
      if (outcome.result.crashes >= outcome.crashes.length) totals.struck += 1;
      if (outcome.result.findings.length > 0) {
        totals.failures.push(outcome);
        process.stderr.write(`matrix: ${outcomeText(outcome).split('\n', 2).join(':')}\n`);
      }
      if (performance.now() - shownMs > 10_000) {
        shownMs = performance.now();
        const failed = totals.failures.length;
        process.stderr.write(`matrix: ${what}: ${totals.runs} runs, ${failed} failed\n`);
      }
      return false;
    },
  });
  return { totals, seconds: (performance.now() - beganMs) / 1000 };
}

function conclude(failures: readonly Outcome[], report: readonly object[]): number {
  if (values.json) process.stdout.write(`${JSON.stringify({ report, failures })}\n`);
  else for (const one of failures.slice(0, 10)) process.stdout.write(`${outcomeText(one)}\n`);
  return failures.length === 0 ? 0 : 1;
}

function outcomeText({ scenario, crashes, result }: Outcome): string {
  const where = crashes.map(({ agentId, point }) => `${agentId}:${point}`).join(',');
  const lines = result.findings.map((finding) => `  ${findingText(finding)}`);
  const verdict = lines.length === 0 ? 'holds' : 'FAILS';
  return [`--scenario '${scenario}' --crash ${where} ${verdict}`, ...lines].join('\n');
}

type State = Partial<Record<ScenarioName, { readonly points: number; readonly done: number }>>;

function readState(): State {
  try {
    return JSON.parse(readFileSync(values.state, 'utf8')) as State;
  } catch (error) {
    if (error instanceof SyntaxError) {
      return line.refuse(`${values.state} is damaged; without it the pairs begin again`);
    }
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw error;
  }
}

function writeState(state: State): void {
  mkdirSync(path.dirname(values.state), { recursive: true });
  writeFileSync(values.state, `${JSON.stringify(state)}\n`);
}

function wanted(): readonly ScenarioName[] {
  if (values.scenario === undefined) return scenarioNames;
  const known = scenarioNames.find((name) => name === values.scenario);
  return known === undefined
    ? line.refuse(`--scenario: there is no ${values.scenario}: ${scenarioNames.join(', ')}`)
    : [known];
}
