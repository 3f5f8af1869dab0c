/**
 * `make demo`: a mesh of real processes on this machine. A workload uses the keys of all seven layers
 * while they are turned; then a rotation is made to fail in layer 5 and goes back; then the audit is
 * checked with nothing running. Everything is done through `bin/gyre`, as a person would. Ends with 0
 * only if all of it held and no process is left behind.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layerNumbers } from '#schemas/layers.ts';
import { layoutOf } from '#cli/mesh/layout.ts';
import { agents } from '#cli/mesh/members.ts';
import { span } from '#cli/style.ts';
import { familyOf, leftOf, type ProcessLine } from '../support/processes.ts';
import { runGyre } from '../support/gyre.ts';
import { DemoMesh, DemoFailure, expect, type KeyLine, type Status } from './demo-mesh.ts';
import { Probe, type ProbeReport } from './probe.ts';
import { changesTable, heading, note, probeTable } from './report.ts';
import { refuseNewPrimaries } from './sabotage.ts';

const overlapMs = 1_500;
const startedMs = performance.now();

const mesh = await DemoMesh.choose();
const probe = new Probe();
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
  await probe.stop();
  await mesh.end();
}

async function demonstrate(): Promise<void> {
  const { rootDigest, supervisorPid } = await comeUp();
  const family = familyOf(supervisorPid);
  const before = await mesh.keys();
  await probe.start(probeTargets());
  note(
    `a workload now uses ${probe.slotCount} keys in ${layerNumbers.length} layers, all the time`,
  );
  const { planId: committedId, after } = await turnTheKeys(before);
  const rolledBackId = await failAndGoBack(after);
  const report = await endProbe();
  const file = join(mesh.root, '..', 'demo.audit');
  await exportAudit(file);
  await goDown(family);
  await verifyOffline(file, rootDigest, { committedId, rolledBackId });
  await rm(mesh.root, { recursive: true, force: true });
  heading('done');
  note(
    `${report.total.made + report.total.takenBack} uses of keys, ${report.total.failures} failures`,
  );
  note(
    `the audit is in ${file}; check it again: bin/gyre audit verify ${file} --root ${rootDigest}`,
  );
  note(`it took ${span(performance.now() - startedMs)}`);
}

async function comeUp(): Promise<Status> {
  heading('a mesh comes up');
  const durationMs = await mesh.start(overlapMs);
  const status = await mesh.status();
  note(`${status.processes.length + 1} processes are ready after ${span(durationMs)}`);
  note(
    `these are the supervisor, the nats-server and ${agents.length} agents; with the one that holds the signer's token there are ${familyOf(status.supervisorPid).length}`,
  );
  note(`signer: ${status.signer.value.notice}`);
  return status;
}

/** A dry run, then the rotation of all layers, until the old keys are gone. */
async function turnTheKeys(before: readonly KeyLine[]) {
  heading('layers 1 to 7 are turned while the workload runs');
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
  expect(executed.code === 0, `the rotation ended with ${executed.code} instead of 0`);
  const after = await mesh.keys();
  console.log(changesTable(before, after));
  expect(
    before.every(({ slot, keyId }) => after.find((key) => key.slot === slot)?.keyId !== keyId),
    'a slot kept its old key',
  );
  note(`committed ${span(executed.decidedMs)} after the request to execute`);
  const watched = await mesh.gyre(['rotation', 'watch', planId], { quiet: true });
  expect(watched.code === 0, `the old keys were not retired (exit ${watched.code})`);
  note(
    `old keys destroyed after an overlap of ${span(overlapMs)}, when nothing used them any more`,
  );
  return { planId, after };
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

async function endProbe(): Promise<ProbeReport> {
  heading('what the workload saw');
  const report = await probe.stop();
  console.log(probeTable(report));
  expect(report.total.failures === 0, `the workload failed: ${report.failures.join('; ')}`);
  for (const layer of layerNumbers) {
    const counts = report.layers.get(layer);
    expect((counts?.made ?? 0) > 0 && (counts?.takenBack ?? 0) > 0, `layer ${layer} was not used`);
  }
  expect(report.total.withOlderKey > 0, 'nothing made with an old key was verified or opened');
  note('no failure: what was made with old keys could be verified or opened as long as it lived');
  return report;
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
  { committedId, rolledBackId }: { committedId: string; rolledBackId: string },
): Promise<void> {
  const verified = await runGyre(['audit', 'verify', file, '--root', rootDigest]);
  console.log(verified.stdout.trimEnd().replaceAll(/^/gm, '  '));
  expect(verified.code === 0, `the audit does not hold: ${verified.stdout}${verified.stderr}`);
  for (const [planId, phase] of [
    [committedId, 'retired'],
    [rolledBackId, 'rolled back'],
  ] as const) {
    const lines = verified.stdout.split('\n').map((line) => line.trim());
    const isTold = lines.includes(`${planId}  ${phase}`);
    expect(isTold, `the audit does not tell that ${planId} is ${phase}`);
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

function probeTargets() {
  const layout = layoutOf(mesh.root);
  return agents.flatMap(({ id: agentId, layer }) =>
    layer === undefined ? [] : [{ agentId, layer, socketPath: layout.keyServiceSocket(agentId) }],
  );
}

function sameKeys(before: readonly KeyLine[], after: readonly KeyLine[]): boolean {
  return (
    before.length === after.length &&
    before.every(({ slot, keyId }) => after.find((key) => key.slot === slot)?.keyId === keyId)
  );
}
