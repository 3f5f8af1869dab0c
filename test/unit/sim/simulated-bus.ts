/** A bus without agents for the tests of the simulated network: lives, clocks, and a place to die at. */

import type { Bus, BusMessage, PublishRequest } from '#shared/bus/bus.ts';
import { provisionPlan, type BusPrincipal } from '#shared/bus/streams.ts';
import { durableName, subjectsOf } from '#shared/bus/subjects.ts';
import { SimulatedClock } from '../../sim/clock.ts';
import { SimulatedLife } from '../../sim/lives.ts';
import { SimulatedCrash, type CrashPoint, type CrashPoints } from '../../sim/model.ts';
import { SimulatedNetwork } from '../../sim/network.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { SimulatedTime } from '../../sim/time.ts';
import { WorldTrace } from '../../sim/trace.ts';

export const mesh = 'sim';
export const subjects = subjectsOf(mesh);
export const saga = subjects.sagaRotation('r-1');
export const step = subjects.step(1, 'layer-1');
export const report = subjects.report(1, 'layer-1');

export const steps = {
  stream: 'GYRE_CONTROL',
  consumer: durableName('layer-1', 'steps'),
  inFlightMax: 1,
} as const;
export const receipts = {
  stream: 'GYRE_AUDIT',
  consumer: durableName('layer-1', 'receipts'),
  inFlightMax: 8,
} as const;

const principals: readonly BusPrincipal[] = [
  { id: 'orchestrator-1', kind: 'orchestrator' },
  { id: 'orchestrator-2', kind: 'orchestrator' },
  { id: 'auditor', kind: 'auditor' },
  { id: 'layer-1', kind: 'layer', layer: 1 },
];

export class BusWorld {
  readonly time = new SimulatedTime();
  readonly trace = new WorldTrace({ time: this.time, linesKeptMax: 20_000 });
  readonly network: SimulatedNetwork;
  readonly points: CrashPoint[] = [];
  /** The next life that passes such a point dies there. */
  deathAt: CrashPoint | undefined;
  readonly #lives = new Map<string, SimulatedLife>();
  #messages = 0;

  constructor(seed = 1) {
    const crashes: CrashPoints = {
      pass: (life, point) => {
        if (!life.isAlive) throw new SimulatedCrash('dead already');
        this.points.push(point);
        const { deathAt } = this;
        if (point.what !== deathAt?.what || point.when !== deathAt.when) return;
        this.deathAt = undefined;
        this.lifeOf(life.agentId).crash();
        throw new SimulatedCrash(point.what);
      },
    };
    this.network = new SimulatedNetwork({
      plan: provisionPlan({ mesh, principals }),
      time: this.time,
      draws: drawsFrom(seed).fork('network'),
      trace: this.trace,
      crashes,
    });
  }

  lifeOf(agentId: string): SimulatedLife {
    const life = this.#lives.get(agentId);
    if (life === undefined) throw new Error(`${agentId} has no life`);
    return life;
  }

  /** A new life of an agent, and its bus. */
  connect(agentId: string): Bus {
    const number = (this.#lives.get(agentId)?.number ?? 0) + 1;
    const life = new SimulatedLife({ agentId, number, time: this.time });
    this.#lives.set(agentId, life);
    const principal = principals.find(({ id }) => id === agentId);
    if (principal === undefined) throw new Error(`no principal ${agentId}`);
    const clock = new SimulatedClock({ life, time: this.time });
    return this.network.connect({ life, principal, clock });
  }

  message(subject: string, text = 'x', expectLastSubjectSequence?: number): PublishRequest {
    this.#messages += 1;
    return {
      subject,
      data: new TextEncoder().encode(text),
      messageId: `m${this.#messages}`,
      ...(expectLastSubjectSequence === undefined ? {} : { expectLastSubjectSequence }),
    };
  }

  /** Runs until the promise is settled, `withinMs` at the most. */
  async until<Result>(promise: Promise<Result>, withinMs = 60_000): Promise<Result> {
    let isOver = false;
    const over = promise.then(
      () => undefined,
      () => undefined,
    );
    void over.then(() => {
      isOver = true;
    });
    await this.pass(withinMs, () => isOver);
    if (!isOver) throw new Error(`unsettled after ${withinMs} ms`);
    return await promise;
  }

  /** Lets time pass. */
  pass(forMs: number, isOver?: () => boolean): Promise<boolean> {
    return this.time.run(this.time.monotonicMs() + forMs, isOver);
  }
}

export const textOf = ({ data }: Pick<BusMessage, 'data'>): string =>
  new TextDecoder().decode(data);

/** Seen by a follow of one subject, from the beginning. */
export async function followed(world: BusWorld, bus: Bus, subject = saga): Promise<string[]> {
  const seen: string[] = [];
  const options = { stream: 'GYRE_CONTROL', subjects: [subject], fromSequence: 1 } as const;
  const following = bus.follow(options, (message) => {
    seen.push(textOf(message));
  });
  await world.until(following);
  return seen;
}

export const numbers = (count: number): string[] =>
  Array.from({ length: count }, (_, at) => String(at));
