/**
 * The processes of a world: starts of agents, their ends, and who starts them again. Like the supervisor
 * of a real mesh it starts again whatever ends, after a pause that grows; and like the system it ends a
 * process whose handler throws or whose promise nobody catches, as `runAgent` does.
 */

import type { Booted, Running } from '../support/mesh-agents.ts';
import { SimulatedClock } from './clock.ts';
import { running as runningLife, SimulatedLife } from './lives.ts';
import {
  SimulatedCrash,
  type CrashPoint,
  type CrashPoints,
  type Draws,
  type Life,
  type Trace,
} from './model.ts';
import type { SimulatedTime } from './time.ts';

export interface ProcessPorts {
  readonly time: SimulatedTime;
  readonly trace: Trace;
  readonly draws: Draws;
  /** Boots and starts the agent in this life. */
  readonly start: (life: SimulatedLife, clock: SimulatedClock) => Promise<Started>;
  readonly onLife: (agentId: string, event: LifeEvent) => void;
  /** It ended by an error of its own; undefined where a fault of the outside explains that. */
  readonly onFault: (agentId: string, error: unknown) => void;
}

export type LifeEvent = 'started' | 'crashed' | 'ended' | 'paused' | 'resumed';

export interface Started {
  readonly booted: Booted;
  readonly running: Running;
}

interface Process {
  readonly agentId: string;
  life: SimulatedLife | undefined;
  clock: SimulatedClock | undefined;
  started: Started | undefined;
  lives: number;
  /** Starts that ended before the agent was up, one after the other. */
  failures: number;
  /** Error of the machine's clock; it outlives the process. */
  skewMs: number;
  /** Nobody starts it again. */
  isOff: boolean;
  /** The life ends at the point after so many others. */
  armed: number | undefined;
  /** What the next life is armed with. */
  armedNext: number | undefined;
  passed: number;
}

const restartMsMin = 300;
const restartMsMax = 2_500;

export class Processes implements CrashPoints {
  readonly #ports: ProcessPorts;
  readonly #processes = new Map<string, Process>();
  /** The largest error that a clock had so far. */
  clockErrorMsMax = 0;
  #restarts = 0;
  #points = 0;

  constructor(ports: ProcessPorts, agentIds: readonly string[]) {
    this.#ports = ports;
    for (const agentId of agentIds) {
      this.#processes.set(agentId, {
        agentId,
        life: undefined,
        clock: undefined,
        started: undefined,
        lives: 0,
        failures: 0,
        skewMs: 0,
        isOff: false,
        armed: undefined,
        armedNext: undefined,
        passed: 0,
      });
    }
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Places that were passed at which a process could have died. */
  get points(): number {
    return this.#points;
  }

  pointsOf(agentId: string): number {
    return this.#of(agentId).passed;
  }

  lifeOf(agentId: string): SimulatedLife | undefined {
    return this.#of(agentId).life;
  }

  startedOf(agentId: string): Started | undefined {
    return this.#of(agentId).started;
  }

  /** Whether all that are not switched off have started and run. */
  areUp(): boolean {
    return [...this.#processes.values()].every(
      ({ isOff, started, life }) => isOff || (started !== undefined && life?.isPaused === false),
    );
  }

  /** A short account of those that are not up, for a report. */
  down(): string {
    return [...this.#processes.values()]
      .filter(({ isOff, started }) => !isOff && started === undefined)
      .map(({ agentId, lives }) => `${agentId} (life ${lives})`)
      .join(', ');
  }

  start(agentId: string): void {
    const process = this.#of(agentId);
    if (process.life?.isAlive === true || process.isOff) return;
    const { time, trace, onLife, start } = this.#ports;
    process.lives += 1;
    if (process.lives > 1) this.#restarts += 1;
    const life: SimulatedLife = new SimulatedLife({
      agentId,
      number: process.lives,
      time,
      onFault: (error) => this.ended(life, error),
    });
    const clock = new SimulatedClock({ life, time, skewMs: process.skewMs });
    process.life = life;
    process.clock = clock;
    process.armed = process.armedNext;
    process.armedNext = undefined;
    trace.note('start', { agent: agentId, life: life.number });
    onLife(agentId, 'started');
    void runningLife.run(life, async () => {
      try {
        const started = await start(life, clock);
        if (!life.isAlive) return;
        process.started = started;
        process.failures = 0;
        trace.note('up', { agent: agentId, life: life.number });
      } catch (error) {
        process.failures += 1;
        this.ended(life, error);
      }
    });
  }

  /** A process ends by what it did not catch. */
  ended(life: Life, error: unknown): void {
    if (error instanceof SimulatedCrash || !life.isAlive) return;
    const { trace, onFault } = this.#ports;
    trace.note('ended', { agent: life.agentId, life: life.number, error: nameOf(error) });
    onFault(life.agentId, error);
    this.#end(this.#of(life.agentId), 'ended');
  }

  crash(agentId: string): void {
    const process = this.#of(agentId);
    if (process.life?.isAlive !== true) return;
    this.#ports.trace.note('crash', { agent: agentId, life: process.life.number });
    this.#end(process, 'crashed');
  }

  /** It dies at the point that comes after `points` others; and once more so in the life after it. */
  arm(agentId: string, points: number, pointsInNextLife?: number): void {
    const process = this.#of(agentId);
    process.armed = points;
    process.armedNext = pointsInNextLife;
  }

  disarm(): void {
    for (const process of this.#processes.values()) {
      process.armed = undefined;
      process.armedNext = undefined;
    }
  }

  pause(agentId: string): void {
    const { life } = this.#of(agentId);
    if (life?.isAlive !== true || life.isPaused) return;
    this.#ports.trace.note('pause', { agent: agentId });
    life.pause();
    this.#ports.onLife(agentId, 'paused');
  }

  resume(agentId: string): void {
    const { life } = this.#of(agentId);
    if (life?.isAlive !== true || !life.isPaused) return;
    this.#ports.trace.note('resume', { agent: agentId });
    this.#ports.onLife(agentId, 'resumed');
    life.resume();
  }

  /** The machine's clock is set: at once, and for every later life. */
  jumpClock(agentId: string, byMs: number): void {
    const process = this.#of(agentId);
    if (byMs === 0) return;
    process.skewMs += byMs;
    this.clockErrorMsMax = Math.max(this.clockErrorMsMax, Math.abs(process.skewMs));
    process.clock?.jump(byMs);
    this.#ports.trace.note('clock', { agent: agentId, byMs });
  }

  skewOf(agentId: string): number {
    return this.#of(agentId).skewMs;
  }

  switchOff(agentId: string): void {
    this.#of(agentId).isOff = true;
    this.crash(agentId);
  }

  pass(life: Life, point: CrashPoint): void {
    if (!life.isAlive) throw new SimulatedCrash(`${life.agentId} is dead`);
    const process = this.#processes.get(life.agentId);
    // An operator's session: nothing kills it.
    if (process === undefined) return;
    process.passed += 1;
    this.#points += 1;
    if (process.armed === undefined) return;
    process.armed -= 1;
    if (process.armed >= 0) return;
    process.armed = undefined;
    this.#ports.trace.note('crash', {
      agent: life.agentId,
      life: life.number,
      at: `${point.when} ${point.kind} ${point.what}`,
    });
    this.#end(process, 'crashed');
    throw new SimulatedCrash(`${life.agentId} died ${point.when} ${point.kind} ${point.what}`);
  }

  #end(process: Process, event: 'crashed' | 'ended'): void {
    const { time, draws, onLife } = this.#ports;
    process.started = undefined;
    process.life?.crash();
    onLife(process.agentId, event);
    if (process.isOff) return;
    const pauseMs = Math.min(restartMsMin * 2 ** process.failures, restartMsMax);
    const delayMs = pauseMs * (0.5 + draws.fraction());
    time.after(delayMs, () => this.start(process.agentId));
  }

  #of(agentId: string): Process {
    const process = this.#processes.get(agentId);
    if (process === undefined) throw new Error(`there is no process ${agentId}`);
    return process;
  }
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? ` ${String(error.code)}` : '';
  return `${error.name}${code}: ${error.message}`;
}
