/**
 * One thing that an operator does in a mesh without faults, but for the processes that die at named
 * points of it: what the matrices are made of.
 */

import { planned } from './activities.ts';
import type { Draws } from './model.ts';
import type { Operator, RotationDetails } from './operator.ts';
import { checkAtRest, heal, textOf, whileCurrent } from './run.ts';
import type { Finding } from './results.ts';
import { SimulatedWorld } from './world.ts';

/** Dies at the point that comes after `point` others of its process since the scenario began. */
export interface Crash {
  readonly agentId: string;
  readonly point: number;
}

export interface ScenarioResult {
  readonly traceHash: string;
  /** Points that each process passed from the beginning of the scenario to its rest. */
  readonly points: Readonly<Record<string, number>>;
  /** Crashes that happened. */
  readonly crashes: number;
  readonly findings: readonly Finding[];
}

export const scenarioNames = ['rotation', 'rollback', 'epoch change', 'registry update'] as const;
export type ScenarioName = (typeof scenarioNames)[number];

const bootMs = 60_000;
const scenarioMs = 180_000;
const planTriesMax = 5;
const planPauseMs = 1_000;
const waitMs = 60_000;
const allLayers = [1, 2, 3, 4, 5, 6, 7] as const;
/** All scenarios are of one seed: what differs is where processes die. */
const seed = 1;

export async function runScenario(
  name: ScenarioName,
  crashes: readonly Crash[] = [],
  print?: (line: string) => void,
): Promise<ScenarioResult> {
  const world = await SimulatedWorld.make({
    seed,
    second: [],
    hasEpochs: name === 'epoch change',
    takeoverMs: 500,
    print,
  });
  return await whileCurrent(world, () => runIn(world, name, crashes));
}

async function runIn(
  world: SimulatedWorld,
  name: ScenarioName,
  crashes: readonly Crash[],
): Promise<ScenarioResult> {
  const { time, processes, agents } = world;
  world.start();
  if (!(await time.run(bootMs, () => processes.areUp() && world.hasJoined()))) {
    world.fail(13, processes.down(), 'the mesh does not come up');
  }
  const before = new Map(agents.map(({ agentId }) => [agentId, processes.pointsOf(agentId)]));
  const restarts = processes.restarts;
  for (const { agentId, point } of crashes) processes.arm(agentId, point);
  const state = { isDone: false };
  void steps[name](world, world.draws.fork(name)).then(
    () => (state.isDone = true),
    (error: unknown) => {
      state.isDone = true;
      world.fail(0, 'operators', textOf(error));
    },
  );
  if (!(await time.run(time.monotonicMs() + scenarioMs, () => state.isDone))) {
    world.fail(13, 'operators', `the ${name} does not end`);
  }
  const points = agents.map(({ agentId }): [string, number] => [
    agentId,
    processes.pointsOf(agentId) - (before.get(agentId) ?? 0),
  ]);
  processes.disarm();
  await heal(world);
  checkAtRest(world);
  return {
    traceHash: world.trace.digest(),
    points: Object.fromEntries(points),
    crashes: processes.restarts - restarts,
    findings: world.findings,
  };
}

type Steps = (world: SimulatedWorld, draws: Draws) => Promise<void>;

const steps: Readonly<Record<ScenarioName, Steps>> = {
  rotation: async (world, draws) => {
    const { operator, planId } = await executed(world, draws);
    await operator.until(planId, ['retired', 'rolled_back', 'locked_out'], waitMs);
  },
  rollback: async (world, draws) => {
    const { operator, planId, planDigest } = await executed(world, draws);
    await operator.until(planId, ['activating', 'verifying', 'soaking', 'rolled_back'], waitMs);
    const reason = 'the scenario goes back';
    await operator.request('rollback-requested', { planId, planDigest, reason });
    await operator.until(planId, ['retired', 'rolled_back', 'locked_out'], waitMs);
  },
  'epoch change': async (world) => {
    const [operator] = pairOf(world);
    const before = epochsOf(world);
    await operator.rotateEpochs();
    await until(world, () =>
      [...epochsOf(world)].every(([name, e]) => e > (before.get(name) ?? 0)),
    );
  },
  'registry update': async (world, draws) => {
    await world.activityPorts(draws).amend('registry');
    const { observer, agents } = world;
    await until(world, () =>
      agents.every(({ agentId }) => (observer.agents.get(agentId)?.trust?.registry ?? 1) >= 2),
    );
  },
};

async function executed(world: SimulatedWorld, draws: Draws) {
  const [operator, other] = pairOf(world);
  const plan = await plannedInTime(draws, operator);
  const { planId, planDigest } = plan;
  await other.request('plan-approved', { planId, planDigest });
  await operator.until(planId, ['approved'], waitMs);
  await operator.request('execution-requested', { planId, planDigest, dryRun: false });
  return { operator, planId, planDigest };
}

/** An agent that dies while it is asked is in no plan: whoever wants one asks again. */
async function plannedInTime(draws: Draws, operator: Operator): Promise<RotationDetails> {
  for (let tries = 0; tries < planTriesMax; tries += 1) {
    const plan = await planned({ draws }, operator, allLayers);
    if (plan !== undefined) return plan;
    await operator.pause(planPauseMs);
  }
  throw new Error('the plan of the scenario is not validated');
}

function pairOf({ operators }: SimulatedWorld): [Operator, Operator] {
  const [first, second] = operators;
  if (first === undefined || second === undefined) throw new Error('a world has two operators');
  return [first, second];
}

function epochsOf({ observer }: SimulatedWorld): Map<string, number> {
  return new Map(
    [...observer.agents.values()].flatMap(({ agentId, epochs }) =>
      [...epochs].map(([channel, epoch]): [string, number] => [`${agentId} ${channel}`, epoch]),
    ),
  );
}

async function until({ time }: SimulatedWorld, isSo: () => boolean): Promise<void> {
  const deadlineMs = time.monotonicMs() + waitMs;
  while (!isSo() && time.monotonicMs() < deadlineMs) {
    await new Promise<void>((resolve) => time.after(100, resolve));
  }
}
