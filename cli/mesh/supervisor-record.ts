/**
 * What a running supervisor leaves for other commands to read: who it is (and that nobody else may
 * start the mesh meanwhile) and which processes it runs. Both are hints, checked against the running
 * processes before anything is done with them.
 */
import { link, readFile, rm } from 'node:fs/promises';
import type { Static, TSchema } from 'typebox';
import {
  AgentId,
  List,
  StrictObject,
  Text,
  TimeMs,
  Type,
  Uint,
  compile,
  type Validator,
} from '#schemas/primitives.ts';
import { CliFault } from '../fault.ts';
import { typed } from '../style.ts';
import { faultCharactersMax } from './agent-log.ts';
import { createFile, replaceFile, systemErrorCode } from './durable-files.ts';
import type { MeshLayout } from './layout.ts';
import { isRunning, processMark } from './process-identity.ts';

const ProcessId = StrictObject({ pid: Uint(), mark: Text(64) });
export type ProcessId = Static<typeof ProcessId>;

const ProcessRecord = StrictObject({
  id: AgentId(),
  pid: Type.Union([Uint(), Type.Null()]),
  mark: Type.Union([Text(64), Type.Null()]),
  restarts: Uint(),
  ready: Type.Boolean(),
  sinceMs: Type.Optional(TimeMs()),
  fault: Type.Optional(
    StrictObject({
      code: Type.String({ maxLength: faultCharactersMax }),
      message: Type.String({ maxLength: faultCharactersMax }),
      remedy: Type.Optional(Type.String({ maxLength: faultCharactersMax })),
    }),
  ),
});
export type ProcessRecord = Static<typeof ProcessRecord>;

const Processes = StrictObject({ processes: List(ProcessRecord, { itemsMax: 64 }) });

const supervisorCheck = compile(ProcessId);
const processesCheck = compile(Processes);

/** Whoever holds this runs the mesh. MESH_RUNNING where somebody else does. */
export async function acquireLock(layout: MeshLayout): Promise<void> {
  const own = `${layout.lockFile}.${process.pid}`;
  const mark = processMark(process.pid);
  await rm(own, { force: true });
  await createFile(own, JSON.stringify({ pid: process.pid, mark }));
  try {
    for (;;) {
      try {
        await link(own, layout.lockFile);
        return;
      } catch (error) {
        if (systemErrorCode(error) !== 'EEXIST') throw error;
      }
      const holder = await runningSupervisor(layout);
      if (holder !== null) throw alreadyRunning(layout, holder);
      await rm(layout.lockFile, { force: true });
    }
  } finally {
    await rm(own, { force: true });
  }
}

export async function releaseLock(layout: MeshLayout): Promise<void> {
  await rm(layout.lockFile, { force: true });
}

/** The supervisor that runs the mesh now, or null. */
export async function runningSupervisor(layout: MeshLayout): Promise<ProcessId | null> {
  const recorded = await readRecord(layout.lockFile, supervisorCheck);
  return recorded !== null && isRunning(recorded) ? recorded : null;
}

export async function writeProcesses(
  layout: MeshLayout,
  reports: readonly Omit<ProcessRecord, 'mark'>[],
): Promise<void> {
  const processes = reports.map((report) => ({
    ...report,
    mark: report.pid === null ? null : processMark(report.pid),
  }));
  await replaceFile(layout.processesFile, `${JSON.stringify({ processes }, null, 2)}\n`);
}

/** The processes of the run that wrote the record last; empty where there is none. */
export async function readProcesses(layout: MeshLayout): Promise<readonly ProcessRecord[]> {
  return (await readRecord(layout.processesFile, processesCheck))?.processes ?? [];
}

/** Of the recorded processes, those that still run. */
export function stillRunning(records: readonly ProcessRecord[]): readonly ProcessId[] {
  return records.flatMap(({ pid, mark }) =>
    pid !== null && mark !== null && isRunning({ pid, mark }) ? [{ pid, mark }] : [],
  );
}

function alreadyRunning(layout: MeshLayout, { pid }: ProcessId): CliFault {
  return new CliFault({
    code: 'MESH_RUNNING',
    reason: `the mesh in ${layout.root} runs already (process ${pid})`,
    hint: `Use it as it is, or stop it first: gyre down --dir ${typed(layout.root)}.`,
  });
}

async function readRecord<Schema extends TSchema>(
  path: string,
  validator: Validator<Schema>,
): Promise<Static<Schema> | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    return validator.check(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
