/**
 * `make load`: a mesh whose layers are services, users of all of them, and under these users, for as long
 * as it takes: rotations of all layers, rotations that layer 5's key store refuses and that go back, an
 * emergency that layer 7 asks for by itself, and processes killed at random the whole time, services
 * among them. Ends with 1 where one request failed (a broken connection may be tried once more within a
 * second), or where anything that was ever written does not come back as it was, where the emergency did
 * not heal, a rotation goes on at the end or was committed and is not retired, an old token was refused
 * in its overlap or is accepted after it, the overlap was not looked at, or the audit does not hold.
 *
 * GYRE_LOAD_SEED (drawn and printed unless told), GYRE_LOAD_SECONDS (120) and GYRE_LOAD_ROTATIONS (50): it
 * goes on until both are over; GYRE_LOAD_PATIENTS (2) beside the doctor; GYRE_LOAD_KILLS=no;
 * GYRE_POSTGRES=no: on PGlite, also where PostgreSQL is installed.
 */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cpus } from 'node:os';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import type { RotationSummary } from '#cli/answers.ts';
import { span } from '#cli/style.ts';
import { drawsFrom } from '../sim/seed.ts';
import { TestMesh } from '../support/mesh.ts';
import { startPostgres, type PostgresServer } from '../support/postgres.ts';
import { Campaign } from './campaign.ts';
import { verifyAudit, verifyChain } from './checks.ts';
import { certified } from './front-door.ts';
import { Kills } from './kills.ts';
import { phaseTable, sumOf } from './phase-book.ts';
import { settingsOf, type LoadSettings } from './settings.ts';
import { StackLoad } from './stack-load.ts';
import { Course } from './course.ts';

const overlapMs = 2_000;
const heartbeatMs = 500;
/** Steps of agents that are killed in the midst of them take longer. */
const stepTimeoutMs = 10_000;
/** Sessions live a minute, and keep their key so long. */
const restMs = 240_000;
/** To tell what holds those that are not over by then. */
const heldMs = 20_000;

const settings = settingsOrEnd();
const draws = drawsFrom(settings.seed);
const beganMs = performance.now();
const faults: string[] = [];
const interrupted: { course?: Course; isAgain: boolean } = { isAgain: false };

/** A value that there is none of is one line, and ends with 2. */
function settingsOrEnd(): LoadSettings {
  try {
    return settingsOf(process.env);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    process.stderr.write(`load: ${error.message}\n`);
    process.exit(2);
  }
}

function tell(line: string): void {
  process.stderr.write(`${span(performance.now() - beganMs).padStart(12)}  ${line}\n`);
}

async function useDatabase(layout: MeshLayout, { url }: PostgresServer): Promise<void> {
  const file = join(layout.serviceDirectory(5), 'database-url');
  await writeFile(file, url);
  await chmod(file, 0o600);
  const path = layout.serviceConfigFile(5);
  const config: unknown = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...Object(config), databaseUrlFile: 'database-url' }));
}

async function run(mesh: TestMesh): Promise<void> {
  const { layout } = mesh;
  await certified(layout);
  const { patients, kills: wantsKills } = settings;
  const random = draws.fork('load');
  const load = new StackLoad(layout, { patients, pauseMs: 100, random: () => random.fraction() });
  const kills = new Kills(layout, draws.fork('kills'));
  const campaign = new Campaign(mesh);
  const course = new Course({ layout, load, kills, campaign, settings, tell, draws });
  interrupted.course = course;
  try {
    await load.start();
    if (wantsKills) kills.start();
    await course.run();
    await kills.stop();
    load.phase('until the old keys are gone');
    const all = await campaign.rest(restMs);
    tell(`rotations: ${phasesOf(all)}`);
    for (const line of await campaign.held(all, heldMs)) tell(line);
    faults.push(...course.verifyRest(all), ...(await course.verifyOld()));
    await load.readAll('everything read once more');
  } finally {
    await kills.stop();
    await course.end();
    faults.push(...course.faults);
    await campaign.end();
    print(load, kills, campaign, course);
    await load.stop();
  }
  const chain = await verifyChain(layout);
  faults.push(...chain.faults);
  tell(`${chain.verified} entries of the record chain verified, ${chain.faults.length} faults`);
  const audit = await verifyAudit(mesh);
  tell(audit.said);
  if (!audit.holds) faults.push(`the audit does not hold: ${audit.said}`);
}

function phasesOf(all: readonly RotationSummary[]): string {
  const phases = new Map<string, number>();
  for (const { phase } of all) phases.set(phase, (phases.get(phase) ?? 0) + 1);
  return [...phases].map(([phase, count]) => `${count} ${phase}`).join(', ');
}

function print(load: StackLoad, kills: Kills, campaign: Campaign, course: Course): void {
  const reports = load.reports();
  console.log(phaseTable(reports));
  const listed = [...kills.counts].map(([kind, count]) => `${kind} ${count}`).join(', ');
  const told = Object.entries(campaign.faults).map(([code, count]) => `${code} ${count}`);
  console.log(`killed ${kills.total}: ${listed}`);
  console.log(`operators asked again after: ${told.length === 0 ? 'nothing' : told.join(', ')}`);
  console.log(course.summary());
  const failed = sumOf(reports, 'failed');
  console.log(
    `${sumOf(reports, 'requests')} requests, ${failed} failed, ${sumOf(reports, 'retries')} tried again; ` +
      `${load.written} things written, each read again`,
  );
  if (failed > 0) faults.push(`${failed} requests failed`);
}

const postgres = settings.usesPostgres ? await startPostgres() : undefined;
const mesh = await TestMesh.start({
  ...((process.env['GYRE_SOFTHSM_LIB'] ?? '') === '' ? { token: 'file' as const } : {}),
  times: { overlapMs, stepTimeoutMs },
  making: { services: true, emergencyApprovals: 0, heartbeatMs },
  prepare: async (layout) => {
    if (postgres !== undefined) await useDatabase(layout, postgres);
  },
});
/** Once: ends early, and tells what was seen. Again: ends. */
const interrupt = (): void => {
  tell('interrupted');
  if (interrupted.course !== undefined && !interrupted.isAgain) interrupted.course.hurry();
  else void mesh.remove().then(() => process.exit(130));
  interrupted.isAgain = true;
};
process.on('SIGINT', interrupt);
process.on('SIGTERM', interrupt);
try {
  console.log(`node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`);
  const database = postgres === undefined ? 'PGlite' : 'PostgreSQL';
  console.log(`seed ${settings.seed}, ${database}, in ${mesh.folder}`);
  await run(mesh);
} catch (error) {
  faults.push(String(error));
  console.error(error);
} finally {
  if (faults.length > 0 && process.env['GYRE_LOAD_KEEP'] === 'yes') await mesh.stop();
  else await mesh.remove();
  await postgres?.stop();
}
for (const fault of faults) console.log(`wrong: ${fault}`);
console.log(`it took ${span(performance.now() - beganMs)}; seed ${settings.seed}`);
process.exitCode = faults.length === 0 ? 0 : 1;
