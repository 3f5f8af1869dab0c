/**
 * `make chaos`: one long run. GYRE_CHAOS_MINUTES of faults (15 unless told), GYRE_CHAOS_SEED to draw the
 * same faults again. Ends with 0 where everything holds, else with 1 and the folder of the mesh kept; with
 * 2 for a wrong call.
 */
import { rm } from 'node:fs/promises';
import { reportText } from './report.ts';
import { runChaos } from './run.ts';

const minuteMs = 60_000;
/** Starting, healing and checking take the rest of twenty minutes. */
const minutesMax = 17;
const seedMax = 2 ** 32;
const usage = `usage: make chaos, or node test/chaos/cluster/main.ts
Brings up a mesh on three servers, breaks it for some minutes, lets it heal and checks everything. Ends
with 0 where everything holds, with 1 where something does not: the folder of the mesh is kept then.
  GYRE_CHAOS_MINUTES  minutes of faults, 1 to ${minutesMax} (15)
  GYRE_CHAOS_SEED     draws the same faults again, 1 to ${seedMax} (drawn from the time, and printed)
`;

const [first, ...others] = process.argv.slice(2);
if (first === '--help' && others.length === 0) {
  process.stdout.write(usage);
  process.exit(0);
}
if (first !== undefined) refuse(`it takes no arguments: '${[first, ...others].join(' ')}'`);
const seed = whole('GYRE_CHAOS_SEED', Math.trunc(Date.now() / 1_000) % 1_000_000, seedMax);
const minutes = whole('GYRE_CHAOS_MINUTES', 15, minutesMax);

for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130));
console.log(
  `chaos: ${minutes} minutes of faults, seed ${seed} (GYRE_CHAOS_SEED=${seed} draws them again)`,
);
const report = await runChaos({
  seed,
  faultsMs: minutes * minuteMs,
  onProgress: (line) => console.log(line),
});
console.log(reportText(report));
if (report.violations.length > 0) process.exitCode = 1;
else await rm(report.folder, { recursive: true, force: true });

function whole(name: string, otherwise: number, most: number): number {
  const text = process.env[name] ?? '';
  if (text === '') return otherwise;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= most) return value;
  return refuse(`${name}: '${text}' is no whole number from 1 to ${most}`);
}

function refuse(why: string): never {
  process.stderr.write(`chaos: ${why} (--help tells how to call it)\n`);
  process.exit(2);
}
