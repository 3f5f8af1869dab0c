/**
 * A million seeds, in order: what they came to is added to a file as they are done. Whoever stops it loses
 * the few since the file was written; the next call goes on behind the last seed that is in it. A seed
 * that fails is written down with what it broke, and the others go on; the exit code says so.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandLine } from './command-line.ts';
import {
  addRun,
  findingText,
  noTotals,
  totalsText,
  type RunResult,
  type Totals,
} from './results.ts';
import type { Profile } from './run.ts';
import { runJobs } from './workers.ts';

const usage = `usage: node test/sim/million.ts [options]
  --seeds N     how many in all (1000000)
  --piece N     seeds that processes run before others take their place (2000)
  --minutes N   begins no seed after that
  --jobs N      processes (one per processor)
  --state FILE  what was run so far (.cache/sim/million.json)
  --anew        begins with the first seed again
`;

interface State {
  /** What is added up, and how worlds are drawn: those of two versions do not add up. */
  readonly version: number;
  /** All before it are added up, and none from it on. */
  next: number;
  seconds: number;
  totals: Totals;
  /** The first ones, with the first thing that each of them broke. */
  readonly broken: { readonly seed: number; readonly what: string }[];
}

const version = 3;
const brokenMax = 200;
/** Seeds that are lost at most where the process is killed, but for those that are under way. */
const unwrittenMax = 100;
const showMs = 5_000;
const mainFile = fileURLToPath(new URL('main.ts', import.meta.url));

const line = new CommandLine('sim-million');
const { values } = line.flags({
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
  const seeds = line.whole('--seeds', values.seeds);
  const piece = line.whole('--piece', values.piece);
  const processes =
    values.jobs === undefined ? availableParallelism() : line.whole('--jobs', values.jobs);
  const deadlineMs = performance.now() + line.minutes(values.minutes) * 60_000;
  const state = values.anew ? fresh() : read(values.state);
  const goesOn = state.next > seeds ? 'nothing is left' : `goes on with seed ${state.next}`;
  tell(`${values.state}: ${state.totals.runs} of ${seeds} seeds are done, ${goesOn}`);
  const keeper = keeperOf(state, seeds);
  for (const [name, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
    process.once(name, () => {
      keeper.write();
      tell(`stopped; the next call goes on with seed ${state.next}`);
      process.exit(code);
    });
  }
  while (state.next <= seeds && performance.now() < deadlineMs) {
    const to = Math.min(seeds, state.next + piece - 1);
    await runPiece(keeper, { from: state.next, to, processes, deadlineMs });
  }
  const { totals, broken, seconds } = state;
  for (const { seed, what } of broken) process.stdout.write(`seed ${seed}: ${what}\n`);
  process.stdout.write(`${totalsText(totals)}\ntook               ${seconds.toFixed(0)} s\n`);
  return totals.failed.length === 0 ? 0 : 1;
}

interface Piece {
  readonly from: number;
  readonly to: number;
  readonly processes: number;
  /** Ends the piece early: what was begun by then is run to its end, and it was begun in order. */
  readonly deadlineMs: number;
}

async function runPiece(keeper: Keeper, { from, to, ...limits }: Piece): Promise<void> {
  try {
    await runJobs<{ readonly seed: number; readonly profile: Profile }, RunResult>({
      ...limits,
      file: mainFile,
      jobs: seedsOf(from, to),
      onResult: (result) => {
        keeper.take(result);
        return false;
      },
    });
  } finally {
    keeper.write();
  }
}

interface Keeper {
  readonly take: (result: RunResult) => void;
  readonly write: () => void;
}

/** Adds results up in the order of their seeds, whatever order they come in. */
function keeperOf(state: State, seeds: number): Keeper {
  /** Those that come before an earlier seed is done. */
  const early = new Map<number, RunResult>();
  let writtenNext = state.next;
  let writtenMs = performance.now();
  let shownMs = writtenMs;
  const write = (): void => {
    const nowMs = performance.now();
    state.seconds += (nowMs - writtenMs) / 1000;
    [writtenMs, writtenNext] = [nowMs, state.next];
    writeState(values.state, state);
  };
  const take = (result: RunResult): void => {
    early.set(result.seed, result);
    for (let next = early.get(state.next); next !== undefined; next = early.get(state.next)) {
      early.delete(state.next);
      add(state, next);
    }
    if (state.next - writtenNext >= unwrittenMax) write();
    if (performance.now() - shownMs < showMs) return;
    shownMs = performance.now();
    tell(`${state.totals.runs} of ${seeds} seeds, ${state.totals.failed.length} failed`);
  };
  return { take, write };
}

function add(state: State, result: RunResult): void {
  state.next = result.seed + 1;
  addRun(state.totals, result);
  const [first] = result.findings;
  if (first === undefined) return;
  const what = findingText(first).split('\n')[0] ?? '';
  tell(`seed ${result.seed} FAILS: ${what}`);
  if (state.broken.length < brokenMax) state.broken.push({ seed: result.seed, what });
}

function* seedsOf(from: number, to: number) {
  for (let seed = from; seed <= to; seed += 1) yield { seed, profile: {} };
}

function fresh(): State {
  return { version, next: 1, seconds: 0, totals: noTotals(), broken: [] };
}

function read(file: string): State {
  if (!existsSync(file)) return fresh();
  const state = parsed(readFileSync(file, 'utf8'));
  if (state === undefined) return line.refuse(`${file} is damaged; --anew begins again`);
  if (state.version === version) return state;
  return line.refuse(`${file} is of another version of the simulator; --anew begins again`);
}

function parsed(text: string): State | undefined {
  try {
    const state = JSON.parse(text) as State | null;
    const isWhole =
      state !== null &&
      Number.isSafeInteger(state.version) &&
      Number.isSafeInteger(state.next) &&
      Number.isFinite(state.seconds) &&
      Array.isArray(state.broken) &&
      Array.isArray(state.totals.failed) &&
      state.totals.runs === state.next - 1;
    return isWhole ? state : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Whole or not at all. */
function writeState(file: string, state: State): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(state));
  renameSync(`${file}.new`, file);
}

function tell(text: string): void {
  process.stderr.write(`sim-million: ${text}\n`);
}
