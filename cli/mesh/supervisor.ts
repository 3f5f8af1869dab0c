/**
 * Runs the processes of a mesh: the nats-server first, then the agents, each restarted when it ends
 * and all of them stopped, in order, when the supervisor is told to stop. A start either ends with
 * every process ready or with a fault and nothing left running.
 */
import { rename, rm } from 'node:fs/promises';
import type { BoundSocket } from 'node:net';
import { join } from 'node:path';
import { layerNames } from '#schemas/layers.ts';
import { BusError } from '#shared/bus/bus.ts';
import { CliFault } from '../fault.ts';
import { typed } from '../style.ts';
import { lastFault, lastLines, logSize, type LoggedFault } from './agent-log.ts';
import { natsAddress } from './agent-configs.ts';
import { holdPort } from './held-port.ts';
import type { MeshLayout } from './layout.ts';
import { agents, type Member } from './members.ts';
import type { MeshFile } from './mesh-file.ts';
import { provisionStreams, readBundle, writeServerConfig } from './nats-config.ts';
import { requireFreePort } from './ports.ts';
import { revokedAgents } from './revoked-agents.ts';
import { serviceSpec } from './services.ts';
import { SupervisedProcess, type ProcessReport, type ProcessSpec } from './supervised-process.ts';
import {
  acquireLock,
  readProcesses,
  releaseLock,
  stillRunning,
  writeProcesses,
} from './supervisor-record.ts';
import { projectRoot } from './tools.ts';

export interface SupervisorOptions {
  readonly layout: MeshLayout;
  readonly mesh: MeshFile;
  /** Path of the nats-server. */
  readonly natsServer: string;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
  readonly onProgress: (line: string) => void;
}

/** A busy machine starts a dozen processes in minutes; whoever ends meanwhile is told of at once. */
const readyTimeoutMs = 120_000;
const graceMs = 3_000;
const logBytesMax = 16 * 1024 * 1024;
const natsId = 'nats-server';

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #processes: SupervisedProcess[] = [];
  readonly #failed = Promise.withResolvers<never>();
  /** Ports of services, as long as the mesh runs. */
  readonly #held: BoundSocket[] = [];
  #recording: Promise<void> = Promise.resolve();
  #started = false;
  #stopped: Promise<void> | null = null;

  private constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#failed.promise.catch(() => undefined);
  }

  /** Resolves when every process of the mesh is ready. Faults leave nothing running. */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const { layout, mesh } = options;
    await acquireLock(layout);
    const supervisor = new Supervisor(options);
    const abort = (): void => supervisor.#failed.reject(interrupted());
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      await refuseOrphans(layout);
      await requireFreePort(mesh.port);
      await supervisor.#startAll();
      return supervisor;
    } catch (error) {
      await supervisor.stop();
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', abort);
    }
  }

  /** Ends every process and gives the lock back. Doing it again waits for the same end. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  async #startAll(): Promise<void> {
    const { layout, mesh, natsServer, onProgress } = this.#options;
    const { enrolments } = await readBundle(layout);
    await writeServerConfig(layout, mesh, enrolments);
    const nats = this.#add({
      id: natsId,
      command: natsServer,
      arguments: ['-c', layout.natsConfigFile],
      logFile: layout.logFile(natsId),
      saysReady: false,
    });
    onProgress(`nats-server on ${natsAddress(mesh.port)}`);
    await this.#launch([nats]);
    await this.#orFailed(this.#provision(enrolments));
    const revoked = await revokedAgents(layout, mesh);
    const present = agents.filter(({ id }) => !revoked.has(id));
    onProgress(
      `${present.length} agents${revoked.size === 0 ? '' : `; revoked, not started: ${[...revoked].join(', ')}`}`,
    );
    const launched = [...this.#servicesOf(present), ...this.#agentsOf(present)];
    await this.#launch(launched);
    await this.#orFailed(this.#readyInTime(launched));
    this.#started = true;
    await this.#recording;
  }

  #agentsOf(present: readonly Member[]): SupervisedProcess[] {
    return present.map((agent) => this.#add(agentSpec(this.#options.layout, agent)));
  }

  /** A service outlives its agent: it is a process beside it. */
  #servicesOf(present: readonly Member[]): SupervisedProcess[] {
    const { mesh, layout, onProgress } = this.#options;
    if (mesh.services !== true) return [];
    const layers = present.flatMap(({ layer }) => (layer === undefined ? [] : [layer]));
    onProgress(`${layers.length} services`);
    return layers.map((layer) => {
      const held = holdPort(layout, layer);
      if (held !== undefined) this.#held.push(held);
      return this.#add(serviceSpec(layout, layer, held?.fd()));
    });
  }

  #add(spec: ProcessSpec): SupervisedProcess {
    const process = new SupervisedProcess(spec, {
      onChange: () => this.#record(),
      onExit: (report, fault, halted) => this.#noteExit(report, fault, halted),
    });
    this.#processes.push(process);
    return process;
  }

  async #launch(processes: readonly SupervisedProcess[]): Promise<void> {
    for (const process of processes) {
      await keepLogSmall(this.#options.layout.logFile(process.id));
      await process.start();
    }
  }

  async #provision(enrolments: Parameters<typeof provisionStreams>[2]): Promise<void> {
    const { layout, mesh } = this.#options;
    const deadlineMs = performance.now() + readyTimeoutMs;
    for (;;) {
      try {
        await provisionStreams(layout, mesh, enrolments);
        return;
      } catch (error) {
        const transient = error instanceof BusError && error.code === 'BUS_UNREACHABLE';
        if (!transient || performance.now() > deadlineMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
    }
  }

  async #readyInTime(processes: readonly SupervisedProcess[]): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      void this.#lateFault(processes).then(late.reject);
    }, readyTimeoutMs);
    // A start that failed meanwhile must not wait for it.
    timer.unref();
    try {
      await Promise.race([Promise.all(processes.map((each) => each.whenReady())), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #lateFault(processes: readonly SupervisedProcess[]): Promise<CliFault> {
    const { layout } = this.#options;
    const missing = processes.filter((each) => !each.report().ready);
    const first = missing[0];
    const logFile = layout.logFile(first?.id ?? natsId);
    const fault = first === undefined ? null : await lastFault(logFile, first.logFrom);
    return new CliFault({
      code: fault?.code ?? 'START_FAILED',
      reason: `not ready after ${readyTimeoutMs / 1000} s: ${missing.map(({ id }) => id).join(', ')}${
        fault === null ? '' : ` (${fault.message})`
      }`,
      hint: fault?.remedy ?? `Look into ${layout.logsDirectory}, then try again.`,
    });
  }

  /** During the start an end is a failure of the start; later it is something to recover from. */
  #noteExit(report: ProcessReport, fault: LoggedFault | null, halted: boolean): void {
    const { onProgress } = this.#options;
    if (this.#started) {
      const next = halted ? 'it is not started again' : 'starting it again';
      onProgress(`${report.id} ended${fault === null ? '' : ` (${fault.code})`}: ${next}`);
      return;
    }
    if (fault === null && report.id !== natsId && report.restarts === 0) return;
    void this.#startFault(report, fault).then((error) => this.#failed.reject(error));
  }

  async #startFault(report: ProcessReport, fault: LoggedFault | null): Promise<CliFault> {
    const { layout } = this.#options;
    const logFile = layout.logFile(report.id);
    const from = Math.max(0, (await logSize(logFile)) - 4096);
    const said = fault?.message ?? tellingLine(await lastLines(logFile, from, 30));
    return new CliFault({
      code: fault?.code ?? 'START_FAILED',
      reason: `${report.id} does not start: ${said === '' ? 'it said nothing' : said}`,
      hint: fault?.remedy ?? `Look into ${logFile}, then try again.`,
    });
  }

  #orFailed(work: Promise<void>): Promise<void> {
    return Promise.race([work, this.#failed.promise]);
  }

  /** One write at a time; the last one always says how things stand. */
  #record(): void {
    this.#recording = this.#recording.then(async () => {
      if (this.#stopped !== null) return;
      await writeProcesses(
        this.#options.layout,
        this.#processes.map((each) => each.report()),
      );
    });
  }

  async #stopAll(): Promise<void> {
    const { layout } = this.#options;
    await this.#recording;
    const groups = [
      this.#processes.filter(({ id }) => id !== natsId && id !== 'signer' && id !== 'auditor'),
      this.#processes.filter(({ id }) => id === 'signer' || id === 'auditor'),
      this.#processes.filter(({ id }) => id === natsId),
    ];
    for (const group of groups) await Promise.all(group.map((each) => each.stop(graceMs)));
    for (const held of this.#held) held.close();
    if (this.#processes.length > 0) await rm(layout.processesFile, { force: true });
    await releaseLock(layout);
  }
}

/** How an agent of a mesh is started. */
export function agentSpec(layout: MeshLayout, agent: Member): ProcessSpec {
  const folder =
    agent.layer === undefined
      ? agent.kind
      : join('layers', `${agent.layer}-${layerNames[agent.layer]}`);
  const main = join(projectRoot, 'agents', folder, 'main.ts');
  return {
    id: agent.id,
    command: process.execPath,
    arguments: ['--disable-warning=ExperimentalWarning', main, layout.configFile(agent)],
    logFile: layout.logFile(agent.id),
    saysReady: true,
  };
}

/** A supervisor that was killed leaves its nats-server behind; it would hold the port and the store. */
async function refuseOrphans(layout: MeshLayout): Promise<void> {
  const left = stillRunning(await readProcesses(layout));
  if (left.length === 0) return;
  throw new CliFault({
    code: 'MESH_RUNNING',
    reason: `processes of an earlier run are still there: ${left.map(({ pid }) => pid).join(', ')}`,
    hint: `End them: gyre down --dir ${typed(layout.root)}.`,
  });
}

/** Of what a process printed before it ended, the line that says why. */
function tellingLine(lines: readonly string[]): string {
  const named = lines.findLast((line) => /^(?:\w*Error|nats-server):|\[FTL\]|\[ERR\]/.test(line));
  return (named ?? lines.at(-1) ?? '').trim().slice(0, 400);
}

function interrupted(): CliFault {
  return new CliFault({
    code: 'INTERRUPTED',
    reason: 'the start was interrupted',
    hint: 'Start again: gyre up.',
  });
}

async function keepLogSmall(path: string): Promise<void> {
  if ((await logSize(path)) > logBytesMax) await rename(path, `${path}.1`);
}
