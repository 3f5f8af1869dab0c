/**
 * `node test/sim/planted/planted.ts`: shows that the simulator finds every planted bug. First the seeds
 * must be clean without one; then each bug has its seeds and its share of the time, two at a time. Exit
 * code 1 where a bug is not found, or the seeds are not clean without it; 2 for a wrong call.
 */

import { parseArgs } from 'node:util';
import { hunt, type TimedHunt } from './hunt.ts';
import { bugs } from './list.ts';
import type { PlantedBug } from './mutation.ts';
import { headText, rowText, summaryOf, summaryText, type Row } from './report.ts';

const usage = `usage: node test/sim/planted/planted.ts [options]
  --only NAME    one bug; may be given several times
  --from N       first seed (1)
  --seeds N      seeds for a bug that names no number itself (400)
  --minutes N    for all together (10)
  --jobs N       hunts at a time (2)
  --no-control   without the run of the same seeds that has no bug in it
  --list         prints the bugs and what they need
  --json         prints one JSON object
`;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '400' },
    minutes: { type: 'string', default: '10' },
    jobs: { type: 'string', default: '2' },
    'no-control': { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) process.stdout.write(usage);
else if (values.list) process.stdout.write(listText());
else process.exitCode = await huntAll();

async function huntAll(): Promise<number> {
  const from = numberOf(values.from);
  const seedsMax = numberOf(values.seeds);
  const jobs = Math.max(1, numberOf(values.jobs));
  const deadlineMs = performance.now() + numberOf(values.minutes) * 60_000;
  const chosen = chosenBugs();
  const secondsLeft = (): number => Math.max(0, (deadlineMs - performance.now()) / 1000);
  const lastSeed = from + Math.max(...chosen.map(({ seeds = seedsMax }) => seeds)) - 1;
  const control = values['no-control']
    ? undefined
    : await hunt({ bug: '', from, to: lastSeed, jobs, seconds: secondsLeft() / 3 });
  if (control !== undefined) progress(controlText(control));
  const rows: Row[] = [];
  const waiting = [...chosen];
  const work = async (): Promise<void> => {
    for (let bug = waiting.shift(); bug !== undefined; bug = waiting.shift()) {
      const to = from + (bug.seeds ?? seedsMax) - 1;
      const seconds = secondsLeft();
      const found: TimedHunt =
        seconds > 1
          ? await hunt({ bug: bug.name, from, to, jobs: 1, seconds })
          : { status: 'broken', reason: 'no time was left', seconds: 0 };
      rows.push({ bug, from, hunt: found });
      progress(`${rows.length} of ${chosen.length}: ${rowText({ bug, from, hunt: found })}`);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  const ordered = chosen.flatMap((bug) => rows.filter((row) => row.bug === bug));
  const summary = summaryOf(ordered, control);
  if (values.json) process.stdout.write(`${JSON.stringify({ control, rows: ordered, summary })}\n`);
  else {
    const table = [headText, ...ordered.map(rowText)];
    process.stdout.write(`${table.join('\n')}\n${summaryText(summary)}\n`);
  }
  return summary.isProven ? 0 : 1;
}

function controlText(control: TimedHunt): string {
  const took = `${control.seconds.toFixed(0)} s`;
  switch (control.status) {
    case 'clean':
      return `without a bug: ${control.runs} seeds are clean, ${took}`;
    case 'found':
      return `without a bug: seed ${control.seed} is not clean: ${control.findings[0]?.what ?? ''}`;
    case 'broken':
      return `without a bug: ${control.reason}`;
  }
}

function chosenBugs(): readonly PlantedBug[] {
  const { only } = values;
  const unknown = only.find((name) => bugs.every((bug) => bug.name !== name));
  if (unknown !== undefined) wrongCall(`there is no planted bug ${unknown}`);
  return only.length === 0 ? bugs : bugs.filter(({ name }) => only.includes(name));
}

function listText(): string {
  return bugs
    .map(({ name, invariant, what, needs: { faults, story } }) => {
      const needed = faults.length === 0 ? 'no fault' : faults.join(', ');
      return `${name} (invariant ${invariant})\n  ${what}\n  needs: ${needed}. ${story}\n`;
    })
    .join('\n');
}

function progress(line: string): void {
  process.stderr.write(`planted: ${line}\n`);
}

function numberOf(text: string): number {
  const number = Number(text);
  return Number.isFinite(number) && number >= 0 ? number : wrongCall(`${text} is no number`);
}

function wrongCall(why: string): never {
  process.stderr.write(`${why}\n${usage}`);
  process.exit(2);
}
