/**
 * `node test/sim/planted/planted.ts`: shows that the simulator finds every planted bug. Each hunt begins
 * with the seeds that its bug names, goes on with those around them, and then from the first seed on; a
 * seed counts that breaks an invariant with the bug and is clean without it. Exit code 1 where a bug is not
 * found, or a seed is not clean without one; 2 for a wrong call. What is found comes with the call that
 * shows it.
 */

import { CommandLine } from '../command-line.ts';
import { hunt, Hunter } from './hunt.ts';
import { bugs } from './list.ts';
import type { PlantedBug } from './mutation.ts';
import { flagsOf } from './profile.ts';
import { bugsMin, headText, rowText, summaryOf, summaryText, type Row } from './report.ts';

const usage = `usage: node test/sim/planted/planted.ts [options]
  --only NAME    one bug; may be given several times
  --from N       first seed of the search behind the seeds that the bug names (1)
  --seeds N      seeds of that search (60)
  --minutes N    for all together (30)
  --jobs N       hunts at a time (2)
  --list         prints the bugs, what they need, and seeds that have shown them
  --json         prints JSON: one object, or with --list an array
`;

/** Seeds around one that has shown a bug: the code changes, and what it leads to moves a little. */
const window = [1, -1, 2, -2, 3, -3];

const line = new CommandLine('planted');
const { values } = line.flags({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '60' },
    minutes: { type: 'string', default: '30' },
    jobs: { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) process.stdout.write(usage);
else if (values.list) process.stdout.write(values.json ? listJson() : listText());
else process.exitCode = await huntAll();

async function huntAll(): Promise<number> {
  const from = line.whole('--from', values.from, 0);
  const seedsMax = line.whole('--seeds', values.seeds, 0);
  const jobs = line.whole('--jobs', values.jobs);
  const deadlineMs = performance.now() + line.minutes(values.minutes) * 60_000;
  const chosen = chosenBugs();
  const control = new Hunter('');
  const rows: Row[] = [];
  const waiting = [...chosen];
  const work = async (): Promise<void> => {
    for (let bug = waiting.shift(); bug !== undefined; bug = waiting.shift()) {
      const row = { bug, hunt: await hunt(bug, { seeds: seedsOf(bug), deadlineMs, control }) };
      rows.push(row);
      progress(`${rows.length} of ${chosen.length}: ${rowText(row)}`);
    }
  };
  const seedsOf = ({ seeds = [] }: PlantedBug): number[] => {
    const near = seeds.flatMap((seed) => window.map((offset) => seed + offset));
    const all = Array.from({ length: seedsMax }, (_, index) => from + index);
    return [...new Set([...seeds, ...near.filter((seed) => seed >= 0), ...all])];
  };
  await Promise.all(Array.from({ length: jobs }, work));
  await control.end();
  const ordered = chosen.flatMap((bug) => rows.filter((row) => row.bug === bug));
  const summary = summaryOf(ordered, values.only.length === 0 ? bugsMin : 0);
  if (values.json) {
    const calls = ordered.map((row) => ({ ...row, call: callOf(row) }));
    process.stdout.write(`${JSON.stringify({ rows: calls, summary })}\n`);
  } else {
    const calls = ordered.flatMap((row) => callOf(row) ?? []);
    const shown = calls.length === 0 ? [] : ['', 'calls that show them:', ...calls];
    const text = [headText, ...ordered.map(rowText), summaryText(summary), ...shown];
    process.stdout.write(`${text.join('\n')}\n`);
  }
  return summary.isProven ? 0 : 1;
}

/** The simulator with the bug in it, on the seed that showed it. */
function callOf({ bug, hunt }: Row): string | undefined {
  if (hunt.status !== 'found') return undefined;
  const command = 'node --import ./test/sim/planted/hook.ts test/sim/main.ts';
  return `GYRE_PLANTED_BUG=${bug.name} ${command} --seed ${hunt.seed} ${flagsOf(bug)}`;
}

function chosenBugs(): readonly PlantedBug[] {
  const { only } = values;
  const unknown = only.find((name) => bugs.every((bug) => bug.name !== name));
  if (unknown !== undefined) line.refuse(`--only: there is no planted bug ${unknown}, see --list`);
  return only.length === 0 ? bugs : bugs.filter(({ name }) => only.includes(name));
}

function listText(): string {
  return bugs
    .map((bug) => {
      const { name, invariant, what, needs, seeds = [] } = bug;
      const needed = needs.faults.length === 0 ? 'no fault' : needs.faults.join(', ');
      const story = `  needs: ${needed}. ${needs.story}\n  flags: ${flagsOf(bug)}\n`;
      const shown = `  seeds: ${seeds.length === 0 ? 'none named' : seeds.join(', ')}\n`;
      return `${name} (invariant ${invariant})\n  ${what}\n${story}${shown}`;
    })
    .join('\n');
}

function listJson(): string {
  const list = bugs.map((bug) => {
    const { name, invariant, what, needs, seeds = [] } = bug;
    return { name, invariant, what, needs, flags: flagsOf(bug), seeds };
  });
  return `${JSON.stringify(list)}\n`;
}

function progress(text: string): void {
  process.stderr.write(`planted: ${text}\n`);
}
