/**
 * `make bench`: measures sealing, lanes, publishing, decisions, the token, whole rotations and emergencies, and prints what they were
 * measured on. Every part is bounded by runs and by time; what was started is stopped, also when the
 * run is interrupted or a part fails.
 *
 *   node bench/run.ts [--only seal|lanes|publish|core|epochs|token|rotation|emergency] [--runs N] [--json] [--token softhsm|file]
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CliFault } from '#cli/fault.ts';
import { projectRoot } from '#cli/mesh/tools.ts';
import { decidingRows } from './deciding.ts';
import { laneRows } from './lanes.ts';
import { emergencyRows } from './emergency.ts';
import { machineFacts } from './machine.ts';
import { publishingRows } from './publishing.ts';
import { machineText, rowsText, type Row } from './report.ts';
import { rotationRows, rotationRunsMax } from './rotation.ts';
import { sealingRows } from './sealing.ts';
import { epochRows } from './epochs.ts';
import { tokenRows } from './token.ts';

const parts = [
  'seal',
  'lanes',
  'publish',
  'core',
  'epochs',
  'token',
  'rotation',
  'emergency',
] as const;
type Part = (typeof parts)[number];

interface Choices {
  readonly parts: readonly Part[];
  /** Undefined: each part's own number. */
  readonly runs: number | undefined;
  readonly json: boolean;
  readonly token: 'softhsm' | 'file';
}

const runsOf: Readonly<Record<Part, number>> = {
  seal: 500,
  lanes: 100,
  publish: 20,
  core: 1000,
  epochs: 500,
  token: 200,
  rotation: 20,
  emergency: 20,
};
const runsMax = 100_000;
const exitUsage = 2;

const choices = choicesOf(process.argv.slice(2));
if (choices === undefined) {
  process.stderr.write(
    `usage: node bench/run.ts [--only ${parts.join('|')}] [--runs 1-${runsMax}] [--json] [--token softhsm|file]\n`,
  );
  process.exitCode = exitUsage;
} else {
  process.exitCode = await run(choices);
}

async function run({ parts: chosen, runs, json, token }: Choices): Promise<number> {
  const folder = join(projectRoot, '.cache', 'bench');
  mkdirSync(folder, { recursive: true });
  const interruption = new AbortController();
  const interrupt = (): void => interruption.abort(new Error('interrupted'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const say = (text: string): void => void (json || process.stdout.write(`${text}\n`));
  const facts = await machineFacts(folder);
  say(machineText(facts));
  const rows: Row[] = [];
  let exitCode = 0;
  for (const part of chosen) {
    if (interruption.signal.aborted) return 1;
    const count = runs ?? runsOf[part];
    progress(`measuring: ${part} (${count} runs)`);
    try {
      const { signal } = interruption;
      const found = await rowsOf(part, count, { token, folder, signal, onProgress: progress });
      rows.push(...found);
      for (const group of new Set(found.map((row) => row.group))) {
        say(`\n${group}\n${rowsText(found.filter((row) => row.group === group))}`);
      }
    } catch (error) {
      if (!(error instanceof CliFault)) throw error;
      progress(`${part}: ${error.code}: ${error.reason} (${error.hint})`);
      exitCode = 1;
    }
  }
  if (json) process.stdout.write(`${JSON.stringify({ machine: facts, rows }, null, 2)}\n`);
  return exitCode;
}

function rowsOf(
  part: Part,
  runs: number,
  bench: Omit<Parameters<typeof rotationRows>[0], 'runs'>,
): Promise<Row[]> {
  switch (part) {
    case 'seal':
      return sealingRows(runs);
    case 'lanes':
      return laneRows(runs);
    case 'publish':
      return publishingRows(runs);
    case 'core':
      return decidingRows(runs);
    case 'epochs':
      return epochRows(runs);
    case 'token':
      return tokenRows(runs);
    case 'rotation':
      return rotationRows({ ...bench, runs: Math.min(runs, rotationRunsMax) });
    case 'emergency':
      return emergencyRows(runs);
  }
}

function choicesOf(args: readonly string[]): Choices | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string', multiple: true },
        runs: { type: 'string' },
        json: { type: 'boolean', default: false },
        token: { type: 'string', default: 'softhsm' },
      },
    });
    const only = values.only ?? [...parts];
    const chosen = parts.filter((part) => only.includes(part));
    const runs = values.runs === undefined ? undefined : Number(values.runs);
    const isCount = runs === undefined || (Number.isInteger(runs) && runs >= 1 && runs <= runsMax);
    const { json, token } = values;
    if (chosen.length !== new Set(only).size || !isCount) return undefined;
    if (token !== 'softhsm' && token !== 'file') return undefined;
    return { parts: chosen, runs, json, token };
  } catch (error) {
    // What parseArgs refuses is a usage error like any other.
    if (error instanceof TypeError && 'code' in error) return undefined;
    throw error;
  }
}
