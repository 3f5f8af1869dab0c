/**
 * One process of the mesh under supervision: started with its log, started again when it ends, with
 * a growing pause so that a process that cannot run does not eat the machine, and ended for good on
 * request. Each has a process group of its own, so that nothing it forked stays behind.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { listenVariable } from '#agents/layers/3-network/listening-descriptor.ts';
import { environmentOfChildren } from './compile-cache.ts';
import { secretMode } from './durable-files.ts';
import { lastFault, logSize, type LoggedFault } from './agent-log.ts';
import { signalProcess } from './process-identity.ts';

export interface ProcessSpec {
  readonly id: string;
  readonly command: string;
  readonly arguments: readonly string[];
  readonly logFile: string;
  /** Says that it is ready over its channel, and ends when that closes. */
  readonly saysReady: boolean;
  /** A descriptor of this process that it listens on, told by GYRE_LISTEN_FD. */
  readonly listensOn?: number;
}

export interface ProcessReport {
  readonly id: string;
  readonly pid: number | null;
  readonly restarts: number;
  readonly ready: boolean;
  /** When it was started, became ready or ended, whichever came last. */
  readonly sinceMs: number;
  /** Why the last run ended, until the process has become ready again. */
  readonly fault?: LoggedFault;
}

export interface SupervisionEvents {
  onChange(): void;
  /** It ended by itself; `halted` when it will not be started again. */
  onExit(report: ProcessReport, fault: LoggedFault | null, halted: boolean): void;
}

const restartPauseMinMs = 100;
const restartPauseMaxMs = 5_000;
/** After so long a life, the pause begins at its least again. */
const steadyMs = 10_000;
/** Starting again would try a PIN again, and wrong PINs lock a token. */
const haltingCodes: ReadonlySet<string> = new Set(['TOKEN_PIN_WRONG', 'TOKEN_PIN_LOCKED']);

export class SupervisedProcess {
  readonly id: string;
  readonly #spec: ProcessSpec;
  readonly #events: SupervisionEvents;
  #child: ChildProcess | null = null;
  #restarts = 0;
  #pauseMs = restartPauseMinMs;
  #timer: NodeJS.Timeout | null = null;
  #ready = Promise.withResolvers<void>();
  #isReady = false;
  #sinceMs = Date.now();
  #stopping = false;
  #logFrom = 0;
  #fault: LoggedFault | undefined;

  constructor(spec: ProcessSpec, events: SupervisionEvents) {
    this.id = spec.id;
    this.#spec = spec;
    this.#events = events;
    this.#ready.promise.catch(() => undefined);
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Where this run began in the log. */
  get logFrom(): number {
    return this.#logFrom;
  }

  report(): ProcessReport {
    const fault = this.#fault === undefined ? {} : { fault: this.#fault };
    const { id, pid } = this;
    const [restarts, ready, sinceMs] = [this.#restarts, this.#isReady, this.#sinceMs];
    return { id, pid, restarts, ready, sinceMs, ...fault };
  }

  async start(): Promise<void> {
    this.#logFrom = await logSize(this.#spec.logFile);
    if (!this.#stopping) this.#spawn();
  }

  /** Resolves when the process has said that it is ready (one that never says so: at its start). */
  whenReady(): Promise<void> {
    return this.#ready.promise;
  }

  /** SIGTERM, and SIGKILL to the whole group after `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const child = this.#child;
    if (child?.pid === undefined) return;
    const { pid } = child;
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    signalProcess(pid, 'SIGTERM', false);
    const timer = setTimeout(() => signalProcess(pid, 'SIGKILL', true), graceMs);
    await exited;
    clearTimeout(timer);
  }

  #spawn(): void {
    const { command, logFile, saysReady, listensOn } = this.#spec;
    const log = openSync(logFile, 'a', secretMode);
    const startedMs = performance.now();
    const child = spawn(command, [...this.#spec.arguments], {
      detached: true,
      env: {
        ...environmentOfChildren(process.env),
        ...(listensOn === undefined ? {} : { [listenVariable]: '4' }),
      },
      stdio: [
        ...(['ignore', log, log] as const),
        saysReady ? 'ipc' : 'ignore',
        ...(listensOn === undefined ? [] : [listensOn]),
      ],
    });
    closeSync(log);
    this.#child = child;
    this.#sinceMs = Date.now();
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      if (child.pid !== undefined) signalProcess(child.pid, 'SIGKILL', true);
      this.#child = null;
      this.#isReady = false;
      this.#sinceMs = Date.now();
      void this.#afterExit(performance.now() - startedMs);
    };
    child.once('exit', end);
    child.once('error', end);
    if (saysReady) child.on('message', (message) => message === 'ready' && this.#becomeReady());
    else this.#becomeReady();
    this.#events.onChange();
  }

  #becomeReady(): void {
    this.#isReady = true;
    this.#sinceMs = Date.now();
    this.#fault = undefined;
    this.#ready.resolve();
    this.#events.onChange();
  }

  async #afterExit(livedMs: number): Promise<void> {
    if (!this.#stopping) {
      const fault = await lastFault(this.#spec.logFile, this.#logFrom);
      this.#fault = fault ?? undefined;
      const halted = fault !== null && haltingCodes.has(fault.code);
      this.#pauseMs =
        livedMs >= steadyMs ? restartPauseMinMs : Math.min(this.#pauseMs, restartPauseMaxMs);
      if (!halted && !this.#stopping) {
        this.#timer = setTimeout(() => void this.#restart(), this.#pauseMs);
        this.#pauseMs *= 2;
      }
      this.#events.onExit(this.report(), fault, halted);
    }
    this.#events.onChange();
  }

  async #restart(): Promise<void> {
    this.#timer = null;
    this.#restarts += 1;
    await this.start();
  }
}
