/**
 * `make chaos`: one long run. GYRE_CHAOS_MINUTES of faults (15 unless told), GYRE_CHAOS_SEED to draw the
 * same faults again. Ends with 0 where everything holds, else with 1 and the folder of the mesh kept.
 */
import { rm } from 'node:fs/promises';
import { reportText } from './report.ts';
import { runChaos } from './run.ts';

const minuteMs = 60_000;
/** Starting, healing and checking take the rest of twenty minutes. */
const minutesMax = 17;
const seed = whole('GYRE_CHAOS_SEED', Math.trunc(Date.now() / 1_000) % 1_000_000, 2 ** 32);
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
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new Error(`${name} is a whole number from 1 to ${most}`);
}
