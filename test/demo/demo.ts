/**
 * `make demo`: a mesh of real processes on this machine, each layer a service. Users log in, write and
 * read all the time, while the keys of all seven layers are turned; while a rotation is made to fail in
 * layer 5 and goes back; and while stored data keys are damaged, which layer 7 finds, so that an emergency
 * rotation begins by itself. Then the audit is checked with nothing running. Everything is done through
 * `bin/gyre`, as a person would. Ends with 0 only if all of it held, no request failed and no process is
 * left behind.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { layoutOf } from '#cli/mesh/layout.ts';
import { agents } from '#cli/mesh/members.ts';
import { span } from '#cli/style.ts';
import { layerNumbers } from '#schemas/layers.ts';
import { certified } from '../load/front-door.ts';
import { phaseTable, sumOf, type PhaseReport } from '../load/phase-book.ts';
import { StackLoad } from '../load/stack-load.ts';
import type { Measured } from '../load/stack-user.ts';
import { StoredDamage } from '../load/stored-damage.ts';
import { familyOf, leftOf, type ProcessLine } from '../support/processes.ts';
import { runGyre } from '../support/gyre.ts';
import { DemoMesh, DemoFailure, expect, type KeyLine, type Status } from './demo-mesh.ts';
import { changesTable, heading, note } from './report.ts';
import { refuseNewPrimaries } from './sabotage.ts';

const times = { overlapMs: 1_500, heartbeatMs: 500 };
/** Uses of keys are reported with every tenth heartbeat. */
const reportMs = 10 * times.heartbeatMs;
/** Reports on a key before layer 7 knows what is usual for it: three recent ones, and some past. */
const reportsToKnow = 5;
const beforeMs = 5_000;
const afterMs = 3_000;
const startedMs = performance.now();

const mesh = await DemoMesh.choose();
const running: { load?: StackLoad; damage?: StoredDamage } = {};
const interrupt = (): void => void mesh.end().then(() => process.exit(130));
process.on('SIGINT', interrupt);
process.on('SIGTERM', interrupt);

try {
  await demonstrate();
  process.exitCode = 0;
} catch (error) {
  const reason = error instanceof DemoFailure ? error.message : String(error);
  console.error(`\ndemo: ${reason}`);
  if (!(error instanceof DemoFailure)) console.error(error);
  console.error(`demo: the logs are in ${layoutOf(mesh.root).logsDirectory}`);
  process.exitCode = 1;
} finally {
  await running.damage?.stop();
  await running.load?.stop();
  await mesh.end();
}

async function demonstrate(): Promise<void> {
  const { rootDigest, supervisorPid } = await comeUp();
  const family = familyOf(supervisorPid);
  const before = await mesh.keys();
  const load = await beginLoad();
  const damage = await keepObjects(load);
  await sleep(beforeMs);
  load.phase('all seven layers are turned');
  const { planId: committedId, after, turnedAtMs } = await turnTheKeys(before);
  load.phase('between');
  await sleep(times.overlapMs);
  load.phase('a rotation fails and goes back');
  const rolledBackId = await failAndGoBack(after);
  load.phase('between');
  await sleep(Math.max(0, turnedAtMs + reportsToKnow * reportMs - performance.now()));
  load.phase('an anomaly, and the emergency rotation');
  const emergencyId = await healByItself(damage);
  load.phase('after');
  await sleep(afterMs);
  await mendAndRetire(damage, emergencyId);
  const reports = await endLoad(load, damage);
  const file = join(mesh.root, '..', 'demo.audit');
  await exportAudit(file);
  await goDown(family);
  const rotations = [
    { planId: committedId, phases: ['committed', 'retiring', 'retired'] },
    { planId: rolledBackId, phases: ['rolled back'] },
    { planId: emergencyId, phases: ['retired'] },
  ];
  await verifyOffline(file, rootDigest, rotations);
  await rm(mesh.root, { recursive: true, force: true });
  heading('done');
  note(`${sumOf(reports, 'requests')} requests, ${sumOf(reports, 'failed')} failed`);
  note(
    `the audit is in ${file}; check it again: bin/gyre audit verify ${file} --root ${rootDigest}`,
  );
  note(`it took ${span(performance.now() - startedMs)}`);
}

async function comeUp(): Promise<Status> {
  heading('a mesh comes up');
  const durationMs = await mesh.start(times);
  const status = await mesh.status();
  note(`${status.processes.length + 1} processes are ready after ${span(durationMs)}`);
  note(
    `these are the supervisor, the nats-server, ${agents.length} agents and ${layerNumbers.length} services; with those that hold the two tokens there are ${familyOf(status.supervisorPid).length}`,
  );
  note(`signer: ${status.signer.value.notice}`);
  return status;
}

/** From here on every phase is under load. */
async function beginLoad(): Promise<StackLoad> {
  await certified(layoutOf(mesh.root));
  const load = new StackLoad(layoutOf(mesh.root), { patients: 2, pauseMs: 250 });
  await load.start();
  running.load = load;
  load.phase('before');
  note('two patients and a doctor now log in, get capabilities, write and read, all over TLS');
  return load;
}

/** Objects of an owner who is none of the load's. */
async function keepObjects(load: StackLoad): Promise<StoredDamage> {
  const { client } = load;
  const note = (measured: Measured): void => load.note(measured);
  const damage = new StoredDamage(layoutOf(mesh.root), { client, note });
  running.damage = damage;
  await damage.start();
  return damage;
}

/** A dry run, then the rotation of all layers. */
async function turnTheKeys(before: readonly KeyLine[]) {
  heading('layers 1 to 7 are turned while they are used');
  const planId = await mesh.plan('the demo turns everything');
  const early = await mesh.gyre(['rotation', 'execute', planId], { quiet: true });
  expect(early.code === 6, `execution without approval ended with ${early.code} instead of 6`);
  note('execution without an approval is refused (exit 6)');
  const dryRun = await mesh.gyre(['rotation', 'execute', planId, '--dry-run'], { quiet: true });
  expect(dryRun.code === 0, `the dry run ended with ${dryRun.code}: ${dryRun.stderr.trim()}`);
  expect(sameKeys(before, await mesh.keys()), 'the dry run changed keys');
  note('dry run: everything is as the plan has it, and no key has changed');
  await mesh.approve(planId);
  const executed = await mesh.execute(planId);
  const turnedAtMs = performance.now();
  expect(executed.code === 0, `the rotation ended with ${executed.code} instead of 0`);
  const after = await mesh.keys();
  console.log(changesTable(before, after));
  expect(
    before.every(({ slot, keyId }) => after.find((key) => key.slot === slot)?.keyId !== keyId),
    'a slot kept its old key',
  );
  note(`committed ${span(executed.decidedMs)} after the request to execute`);
  return { planId, after, turnedAtMs };
}

/** The database of layer 5 refuses new primary keys: the layers before it go back. */
async function failAndGoBack(before: readonly KeyLine[]): Promise<string> {
  heading('layer 5 fails, and everything goes back');
  const planId = await mesh.plan('the demo makes this one fail');
  await mesh.approve(planId);
  const allowAgain = refuseNewPrimaries(mesh.stateDirectory(5));
  try {
    note('the key store of layer 5 now refuses to make a new key primary');
    const executed = await mesh.execute(planId);
    expect(executed.code === 7, `the rotation ended with ${executed.code} instead of 7`);
    note(`rolled back ${span(executed.decidedMs)} after the request to execute (exit 7)`);
  } finally {
    allowAgain();
  }
  const after = await mesh.keys();
  expect(sameKeys(before, after), 'after the rollback a slot does not have its old key');
  note(`all ${after.length} slots have the keys they had before`);
  return planId;
}

/** One bit of each stored data key of one owner is another: layer 7 finds what follows from it. */
async function healByItself(damage: StoredDamage): Promise<string> {
  heading('an anomaly, and what becomes of it');
  const struckAtMs = await damage.strike();
  note("one bit of each of an owner's stored data keys was flipped on layer 4's disk");
  note('nobody does anything: layer 7 hears that uses of a key fail, and asks');
  const { planId, layers, beganAtMs } = await mesh.emergency();
  note(
    `${planId} began by itself after ${span(beganAtMs - struckAtMs)}: layers ${layers.join(', ')}`,
  );
  const committedAtMs = await mesh.committedAtMs(planId);
  note(`committed ${span(committedAtMs - struckAtMs)} after the damage, all layers verified`);
  return planId;
}

/** A damaged data key keeps its old KEK, in case a backup mends it; here one does. */
async function mendAndRetire(damage: StoredDamage, emergencyId: string): Promise<void> {
  heading('what was damaged comes back from a copy, and old keys go');
  await damage.mend();
  await mesh.rest(emergencyId);
  note('the old keys of layers 4 and 5 were destroyed as soon as nothing was under them any more');
  note('an old key of sessions stays until the last session under it has ended, after a minute');
}

async function endLoad(load: StackLoad, damage: StoredDamage): Promise<readonly PhaseReport[]> {
  heading('what the users saw');
  const { opened, refused } = await damage.stop();
  await load.readAll('everything that was written, read once more');
  const reports = await load.stop();
  console.log(phaseTable(reports, 2));
  const failed = sumOf(reports, 'failed');
  expect(failed === 0, `${failed} requests failed`);
  for (const { phase, requests } of reports) expect(requests > 0, `nobody asked during: ${phase}`);
  note(`${load.written} things were written, and each came back as it was`);
  note(
    `among these requests ${opened} reads of the owner's objects while they were whole, and ${refused} refused, as they have to be, while they were damaged`,
  );
  expect(refused > 0, 'no damaged object was read');
  return reports;
}

async function exportAudit(file: string): Promise<void> {
  heading('the audit');
  const exported = await mesh.gyre(['audit', 'export', '--out', file], { quiet: true });
  expect(exported.code === 0, `the audit was not exported: ${exported.stderr.trim()}`);
  note(exported.stdout.split('\n')[0] ?? '');
}

async function goDown(family: readonly ProcessLine[]): Promise<void> {
  await mesh.end();
  const left = leftOf(family, mesh.root);
  const list = left.map(({ pid, command }) => `${pid} ${command}`).join('; ');
  expect(left.length === 0, `processes are left behind: ${list}`);
  note(`the mesh is down: none of its ${family.length} processes is left`);
}

async function verifyOffline(
  file: string,
  rootDigest: string,
  rotations: readonly { readonly planId: string; readonly phases: readonly string[] }[],
): Promise<void> {
  const verified = await runGyre(['audit', 'verify', file, '--root', rootDigest]);
  console.log(verified.stdout.trimEnd().replaceAll(/^/gm, '  '));
  expect(verified.code === 0, `the audit does not hold: ${verified.stdout}${verified.stderr}`);
  for (const { planId, phases } of rotations) {
    const lines = verified.stdout.split('\n').map((line) => line.trim());
    const isTold = phases.some((phase) => lines.includes(`${planId}  ${phase}`));
    expect(isTold, `the audit does not tell that ${planId} is ${phases.join(' or ')}`);
  }
  const bytes = await readFile(file);
  const forged = `${file}.forged`;
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  await writeFile(forged, bytes);
  const refused = await runGyre(['audit', 'verify', forged, '--root', rootDigest]);
  await rm(forged);
  expect(refused.code === 1, `one changed byte went unnoticed (exit ${refused.code})`);
  note('with one bit of the file changed it does not hold any more (exit 1)');
}

function sameKeys(before: readonly KeyLine[], after: readonly KeyLine[]): boolean {
  return (
    before.length === after.length &&
    before.every(({ slot, keyId }) => after.find((key) => key.slot === slot)?.keyId === keyId)
  );
}
