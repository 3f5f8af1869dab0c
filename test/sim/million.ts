/**
 * A million seeds, in pieces: each piece is one run of the simulator over the next seeds, and what it came
 * to is added to a file. Whoever stops it loses at most one piece; the next call goes on where it ended.
 * A seed that fails is written down with what it broke, and the pieces go on; the exit code says so.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addRun, noTotals, totalsText, type RunResult, type Totals } from './results.ts';
import type { Profile } from './run.ts';
import { runJobs } from './workers.ts';

const usage = `usage: node test/sim/million.ts [options]
  --seeds N     how many in all (1000000)
  --piece N     seeds of a piece (2000)
  --minutes N   begins no piece after that
  --jobs N      processes (one per processor)
  --state FILE  what was run so far (.cache/sim/million.json)
  --anew        begins with the first seed again
`;

interface State {
  /** What is added up, and how worlds are drawn: pieces of two versions do not add up. */
  readonly version: number;
  /** The first seed of the next piece. */
  next: number;
  seconds: number;
  totals: Totals;
  /** The first ones, with the first thing that each of them broke. */
  readonly broken: { readonly seed: number; readonly what: string }[];
}

const version = 2;
const brokenMax = 200;
const mainFile = fileURLToPath(new URL('main.ts', import.meta.url));

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000000' },
    piece: { type: 'string', default: '2000' },
    minutes: { type: 'string' },
    jobs: { type: 'string' },
    state: { type: 'string', default: path.join('.cache', 'sim', 'million.json') },
    anew: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) process.stdout.write(usage);
else process.exitCode = await runAll();

async function runAll(): Promise<number> {
  const [seeds, piece] = [numberOf(values.seeds), numberOf(values.piece)];
  const minutes = values.minutes === undefined ? Infinity : numberOf(values.minutes);
  const deadlineMs = performance.now() + minutes * 60_000;
  const state = values.anew ? fresh() : read(values.state);
  while (state.next <= seeds && performance.now() < deadlineMs) {
    const to = Math.min(seeds, state.next + piece - 1);
    await runPiece(state, to);
    write(values.state, state);
    const failed = state.totals.failed.length;
    process.stderr.write(`sim: ${state.next - 1} of ${seeds} seeds, ${failed} failed\n`);
  }
  const { totals, broken, seconds } = state;
  for (const { seed, what } of broken) process.stdout.write(`seed ${seed}: ${what}\n`);
  process.stdout.write(`${totalsText(totals)}\ntook               ${seconds.toFixed(0)} s\n`);
  return totals.failed.length === 0 ? 0 : 1;
}

/** All of a piece or nothing of it is in the state. */
async function runPiece(state: State, to: number): Promise<void> {
  const beganMs = performance.now();
  const results: RunResult[] = [];
  await runJobs<{ readonly seed: number; readonly profile: Profile }, RunResult>({
    file: mainFile,
    jobs: seedsOf(state.next, to),
    processes: values.jobs === undefined ? availableParallelism() : numberOf(values.jobs),
    deadlineMs: Infinity,
    onResult: (result) => {
      results.push(result);
      return false;
    },
  });
  for (const result of results.toSorted((one, other) => one.seed - other.seed)) {
    addRun(state.totals, result);
    const [first] = result.findings;
    if (first === undefined || state.broken.length >= brokenMax) continue;
    const what = `invariant ${first.invariant}, ${first.agent}: ${first.what.split('\n')[0] ?? ''}`;
    state.broken.push({ seed: result.seed, what });
  }
  state.next = to + 1;
  state.seconds += (performance.now() - beganMs) / 1000;
}

function* seedsOf(from: number, to: number) {
  for (let seed = from; seed <= to; seed += 1) yield { seed, profile: {} };
}

function fresh(): State {
  return { version, next: 1, seconds: 0, totals: noTotals(), broken: [] };
}

function read(file: string): State {
  if (!existsSync(file)) return fresh();
  const state = JSON.parse(readFileSync(file, 'utf8')) as State;
  if (state.version === version) return state;
  process.stderr.write(`${file} is of another version of the simulator; --anew begins again\n`);
  return process.exit(2);
}

/** Whole or not at all. */
function write(file: string, state: State): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(state));
  renameSync(`${file}.new`, file);
}

function numberOf(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  process.stderr.write(`${text} is no number of seeds\n${usage}`);
  process.exit(2);
}
