/**
 * `gyre up`: makes the mesh if the directory holds none, and starts it, in this process or in one of
 * its own that stays. A mesh that was made by this very call and does not start is removed again.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CliFault, usageFault } from '../fault.ts';
import { rewritePort } from './agent-configs.ts';
import { environmentOfChildren } from './compile-cache.ts';
import { replaceFile, secretMode } from './durable-files.ts';
import { layoutOf, type MeshLayout } from './layout.ts';
import { findMesh, outdated, type MeshFile, type TokenKind } from './mesh-file.ts';
import { developmentTimes, type RotationTimes } from './policy-body.ts';
import { freePort, requireFreePort } from './ports.ts';
import { meshNameOf, provisionMesh } from './provisioning.ts';
import { isSupervisorMessage } from './supervisor-messages.ts';
import { runningSupervisor } from './supervisor-record.ts';
import { Supervisor } from './supervisor.ts';
import { findNatsServer, requireSoftHsm, toolEnvironment } from './tools.ts';

export interface StartRequest {
  /** Absolute path of the mesh directory. */
  readonly root: string;
  /** 0 takes any free port; undefined keeps the mesh's own. */
  readonly port?: number;
  readonly token?: TokenKind;
  /** Only while a mesh is made: they go into its signed policy. */
  readonly times?: Partial<RotationTimes>;
  /** The same: approvers of an emergency beside who asks for it. */
  readonly emergencyApprovals?: number;
  /** The same: between two heartbeats of a layer agent. */
  readonly heartbeatMs?: number;
  /** The same: what the mesh is called. */
  readonly name?: string;
  /** The same: services of their own hold the layers' keys. */
  readonly services?: boolean;
  readonly onProgress: (line: string) => void;
}

export interface Started {
  readonly mesh: MeshFile;
  readonly created: boolean;
  readonly supervisorPid: number;
}

interface Prepared {
  readonly layout: MeshLayout;
  readonly mesh: MeshFile;
  readonly created: boolean;
  readonly natsServer: string;
}

/** Starts a mesh that outlives this process; resolves when it is ready. */
export async function startDetached(request: StartRequest): Promise<Started> {
  const prepared = await prepare(request);
  return await orRemoved(prepared, async () => {
    const supervisorPid = await spawnSupervisor(prepared, request.onProgress);
    return { mesh: prepared.mesh, created: prepared.created, supervisorPid };
  });
}

/** Starts a mesh in this process. The caller stops the supervisor. */
export async function startHere(
  request: StartRequest,
  signal: AbortSignal,
): Promise<Started & { readonly supervisor: Supervisor }> {
  const prepared = await prepare(request);
  const { onProgress } = request;
  return await orRemoved(prepared, async () => {
    const supervisor = await Supervisor.start({ ...prepared, signal, onProgress });
    const { mesh, created } = prepared;
    return { mesh, created, supervisorPid: process.pid, supervisor };
  });
}

async function prepare(request: StartRequest): Promise<Prepared> {
  const { root, onProgress } = request;
  const layout = layoutOf(root);
  const existing = await findMesh(root);
  if (existing !== null) {
    const old = outdated(existing, root);
    if (old !== undefined) throw old;
    refuseChanges(existing, request);
  }
  const environment = await toolEnvironment();
  const { path: natsServer } = await findNatsServer(environment);
  if (existing === null) {
    const port = await choosePort(request.port ?? 0);
    const choice =
      request.token === 'file'
        ? ({ kind: 'file' } as const)
        : ({ kind: 'softhsm', libraryPath: requireSoftHsm(environment) } as const);
    onProgress(`making a mesh in ${root}`);
    const times = { ...developmentTimes, ...request.times };
    const name = request.name ?? meshNameOf(root);
    const services = request.services ?? false;
    const { emergencyApprovals, heartbeatMs } = request;
    const making = { root, port, token: choice, times, name, services, onProgress };
    const approvals = emergencyApprovals === undefined ? {} : { emergencyApprovals };
    const heartbeat = heartbeatMs === undefined ? {} : { heartbeatMs };
    const mesh = await provisionMesh({ ...making, ...approvals, ...heartbeat });
    return { layout, mesh, created: true, natsServer };
  }
  if ((await runningSupervisor(layout)) !== null || request.port === undefined) {
    return { layout, mesh: existing, created: false, natsServer };
  }
  const mesh = await movePort(layout, existing, await choosePort(request.port));
  return { layout, mesh, created: false, natsServer };
}

async function choosePort(wanted: number): Promise<number> {
  if (wanted === 0) return await freePort();
  await requireFreePort(wanted);
  return wanted;
}

/** Token, policy and configuration are decided when a mesh is made. */
function refuseChanges(mesh: MeshFile, request: StartRequest): void {
  const { root, token, times, name, services, emergencyApprovals } = request;
  if (services === true && mesh.services !== true) {
    throw usageFault(
      `the agents of the mesh in ${root} hold the layers' keys themselves`,
      'That is decided when a mesh is made; make another one with --dir.',
    );
  }
  if (name !== undefined && name !== mesh.mesh) {
    throw usageFault(
      `the mesh in ${root} is called ${mesh.mesh}`,
      'Its documents say so; make another mesh with --dir.',
    );
  }
  if (token !== undefined && token !== mesh.token) {
    throw usageFault(
      `the mesh in ${root} has the token ${mesh.token}`,
      'A token cannot be exchanged; make another mesh with --dir.',
    );
  }
  if (request.heartbeatMs !== undefined) {
    throw usageFault(
      `the agents of the mesh in ${root} have their configuration already`,
      '--heartbeat counts when a mesh is made; heartbeatMs in their config.json says it later.',
    );
  }
  if (emergencyApprovals !== undefined || Object.keys(times ?? {}).length > 0) {
    throw usageFault(
      `the mesh in ${root} has its policy already`,
      '--soak, --overlap and --emergency-approvals count when a mesh is made; gyre policy amends it.',
    );
  }
}

async function movePort(layout: MeshLayout, mesh: MeshFile, port: number): Promise<MeshFile> {
  if (port === mesh.port) return mesh;
  const moved = { ...mesh, port };
  await rewritePort(layout, port);
  await replaceFile(layout.meshFile, `${JSON.stringify(moved, null, 2)}\n`);
  return moved;
}

async function orRemoved<Result>(
  { created, layout }: Prepared,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    if (!created) throw error;
    await rm(layout.root, { recursive: true, force: true });
    throw withoutTraces(error);
  }
}

/** The logs are gone with the rest: the fault must not send anybody there. */
function withoutTraces(error: unknown): unknown {
  if (!(error instanceof CliFault) || error.code !== 'START_FAILED') return error;
  const { code, reason, exitCode } = error;
  const hint = 'Nothing was left behind; gyre doctor checks what a mesh needs.';
  return new CliFault({ code, reason, hint, exitCode, cause: error });
}

function spawnSupervisor(
  { layout, natsServer }: Prepared,
  onProgress: (line: string) => void,
): Promise<number> {
  const main = join(import.meta.dirname, 'supervisor-main.ts');
  const log = openSync(layout.logFile('supervisor'), 'a', secretMode);
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', main, layout.root, natsServer],
    {
      detached: true,
      env: environmentOfChildren(process.env),
      stdio: ['ignore', log, log, 'ipc'],
    },
  );
  closeSync(log);
  return new Promise((resolve, reject) => {
    let fault = new CliFault({
      code: 'START_FAILED',
      reason: 'the supervisor ended before the mesh was ready',
      hint: `Look into ${layout.logFile('supervisor')}, then try again.`,
    });
    const interrupt = (): void => void child.kill('SIGTERM');
    process.on('SIGINT', interrupt);
    process.on('SIGTERM', interrupt);
    const settle = (end: () => void): void => {
      process.off('SIGINT', interrupt);
      process.off('SIGTERM', interrupt);
      end();
    };
    child.on('message', (message: unknown) => {
      if (!isSupervisorMessage(message)) return;
      if (message.type === 'progress') onProgress(message.line);
      if (message.type === 'fault') fault = new CliFault(message);
      if (message.type === 'ready') {
        child.disconnect();
        child.unref();
        settle(() => resolve(child.pid ?? 0));
      }
    });
    child.once('error', (cause) => settle(() => reject(cause)));
    child.once('exit', () => settle(() => reject(fault)));
  });
}
