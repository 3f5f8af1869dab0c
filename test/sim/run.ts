/**
 * One run: a world is made from its seed and starts, then things go wrong while operators work, then
 * everything heals and has to come to rest; the invariants are checked all the way and once more at the end.
 */

import { drawActivity, settle, type ActivityPorts } from './activities.ts';
import { drawExtent, type Extent } from './extent.ts';
import { applyFault } from './faults.ts';
import type { RulesName } from './genesis.ts';
import { healings } from './healings.ts';
import { running } from './lives.ts';
import { SimulatedCrash, type Draws } from './model.ts';
import type { RunResult } from './results.ts';
import { describeFault, drawSchedule, type Fault, type FaultName } from './schedule.ts';
import type { ScheduleOptions, VictimKind } from './schedule.ts';
import { drawsFrom } from './seed.ts';
import type { Kept } from './shrink.ts';
import { SimulatedWorld } from './world.ts';

export interface RunOptions extends Profile {
  readonly print?: (line: string) => void;
  /** Leaves out all other faults and activities. */
  readonly kept?: Kept;
  readonly faultsMax?: number;
}

/** What a run is held to, of all that its seed may draw. Undefined: whatever is drawn. */
export interface Profile {
  /** Draws no other faults. */
  readonly names?: readonly FaultName[] | undefined;
  /** Draws no other activities. */
  readonly activities?: readonly string[] | undefined;
  readonly hasEpochs?: boolean | undefined;
  readonly extent?: Extent['name'] | undefined;
  /** Two layers have a second agent. */
  readonly hasSecond?: boolean | undefined;
  readonly rules?: RulesName | undefined;
  readonly hasWorkload?: boolean | undefined;
  /** Layer 7 asks for emergency rotations. */
  readonly hasHealing?: boolean | undefined;
  /** Whom faults strike. */
  readonly victims?: readonly VictimKind[] | undefined;
  /** How many faults there are at least. */
  readonly faultsMin?: number | undefined;
  /** How often a fault lasts for 15 s and more, 0 to 1. */
  readonly longChance?: number | undefined;
  /** How long the mesh is watched once it is at rest; 15 s unless told. */
  readonly quietMs?: number | undefined;
}

const bootMs = 30_000;
const activitiesMs = 150_000;
const healingMs = 240_000;
/** After everything came to rest: what would still come has come by then. */
const restMs = 15_000;

let current: SimulatedWorld | undefined;

process.on('unhandledRejection', (error) => {
  if (error instanceof SimulatedCrash) return;
  const life = running.getStore();
  if (life !== undefined && current !== undefined) current.processes.ended(life, error);
  else if (current !== undefined) current.fail(0, 'nobody', textOf(error));
  else throw error;
});

export async function runWorld(seed: number, options: RunOptions = {}): Promise<RunResult> {
  const draws = drawsFrom(seed).fork('run');
  const layers = [1, 2, 3, 4, 5, 6, 7] as const;
  const isSecond = draws.chance(0.05);
  const kind = drawKind(draws, options);
  const hasSecond = options.hasSecond ?? isSecond;
  const world = await SimulatedWorld.make({
    seed,
    ...kind,
    second: hasSecond
      ? draws
          .shuffled(layers)
          .slice(0, 2)
          .toSorted((a, b) => a - b)
      : [],
    takeoverMs: draws.pick([300, 500, 1_500]),
    print: options.print,
  });
  return await whileCurrent(world, async () => {
    try {
      return await runPhases(world, draws, { ...options, ...kind, hasSecond });
    } catch (error) {
      world.fail(0, 'the world', textOf(error));
      return resultOf(world, {}, { faults: 0, activities: 0 }, []);
    }
  });
}

/** Secrets by epochs, other rules than usual and use of the keys take time: a part of the seeds has them. */
function drawKind(run: Draws, profile: Profile) {
  const [draws, healing] = [run.fork('kind'), run.fork('healing')];
  const [isEpochs, isWorkload, isOther] = [0.005, 0.03, 0.3].map((part) => draws.chance(part));
  const hasEpochs = profile.hasEpochs ?? isEpochs === true;
  const other: RulesName = hasEpochs ? draws.pick(['short-epochs', 'impatient']) : 'impatient';
  // What a call names is all that happens.
  const isHealing = healing.chance(0.015) && profile.activities === undefined;
  const hasHealing = profile.hasHealing ?? isHealing;
  const usual: RulesName = hasHealing && healing.chance(0.5) ? 'prompt' : 'usual';
  return {
    hasEpochs,
    hasHealing,
    rules: profile.rules ?? (isOther === true ? other : usual),
    hasWorkload: profile.hasWorkload ?? isWorkload === true,
  };
}

/** Rejections that nobody catches are this world's meanwhile; its databases are free afterwards. */
export async function whileCurrent<Result>(
  world: SimulatedWorld,
  run: () => Promise<Result>,
): Promise<Result> {
  current = world;
  try {
    return await run();
  } finally {
    world.disks.release();
    current = undefined;
  }
}

async function runPhases(
  world: SimulatedWorld,
  draws: Draws,
  options: RunOptions,
): Promise<RunResult> {
  const { time, processes } = world;
  const { kept, activities, quietMs, hasHealing } = options;
  world.start();
  if (!(await time.run(bootMs, () => processes.areUp() && world.hasJoined()))) {
    world.fail(13, processes.down(), 'the mesh does not come up');
  }
  const extent = drawExtent(draws.fork('extent'), options);
  const schedule = drawSchedule(draws.fork('faults'), victimsOf(world), faultsOf(options, extent));
  const faults = schedule.filter((_, index) => kept?.faults.includes(index) ?? true);
  const healing = begin(world, faults, draws.fork('effects'));
  const busy = beginActivities(world, draws, { extent, kept, activities, hasHealing });
  await time.run(time.monotonicMs() + activitiesMs, () => busy.done && healing.done);
  healing.heal();
  world.heal();
  await heal(world, quietMs);
  checkAtRest(world);
  const drawn = { faults: schedule.length, activities: extent.activities };
  return resultOf(world, countsOf(faults), drawn, kindsOf(extent, options));
}

/** A profile that names faults has one of them at least. */
function faultsOf(options: RunOptions, extent: Extent): ScheduleOptions {
  const { names, faultsMax, faultsMin, victims, longChance } = options;
  const { phaseMs } = extent;
  const most = names?.length === 0 ? 0 : (faultsMax ?? extent.faultsMax);
  const least = faultsMin ?? (names === undefined ? 0 : 1);
  return {
    phaseMs,
    victims,
    longChance,
    faultsMax: most,
    faultsMin: Math.min(most, least),
    ...(names === undefined ? {} : { names }),
  };
}

/** Once more, all of them: what they found all the way is told too. */
export function checkAtRest(world: SimulatedWorld): void {
  for (const violation of world.checks.atRest()) {
    const about = violation.about.length === 0 ? '' : ` [${violation.about.join(', ')}]`;
    world.fail(violation.invariant, violation.agentId, `${violation.what}${about}`);
  }
}

/** Begins each fault at its time and ends it after its length, or when told. */
function begin(world: SimulatedWorld, faults: readonly Fault[], draws: Draws) {
  const ends = new Set<() => void>();
  const state = { done: faults.length === 0, left: faults.length };
  for (const fault of faults) {
    world.time.after(fault.atMs, () => {
      const what = describeFault(fault);
      world.trace.note('fault', { what });
      const undo = applyFault(world, fault, draws.fork(what));
      const end = (): void => {
        if (!ends.delete(end)) return;
        undo();
        state.left -= 1;
        state.done = state.left === 0;
      };
      ends.add(end);
      world.time.after(fault.lastsMs, end);
    });
  }
  return {
    get done() {
      return state.done;
    },
    heal: () => {
      for (const end of ends) end();
    },
  };
}

function beginActivities(
  world: SimulatedWorld,
  draws: Draws,
  {
    extent,
    kept,
    activities,
    hasHealing,
  }: Pick<Profile, 'activities' | 'hasHealing'> & {
    readonly extent: Extent;
    readonly kept: Kept | undefined;
  },
) {
  const state = { done: false };
  const all = Array.from({ length: extent.activities }, async (_, index) => {
    const own = draws.fork(`activity ${index}`);
    const { name, run } = drawActivity(own, activities);
    const atMs = index === 0 ? own.between(0, 2_000) : own.between(0, extent.phaseMs);
    if (kept?.activities.includes(index) === false) return;
    await new Promise<void>((resolve) => world.time.after(atMs, resolve));
    world.trace.note('activity', { name });
    await run({ ...world.activityPorts(own), extent } satisfies ActivityPorts);
    world.trace.note('activity over', { name });
  });
  const beside = hasHealing === true ? [beginHealings(world, draws.fork('healings'), extent)] : [];
  Promise.all([...all, ...beside]).then(
    () => (state.done = true),
    (error: unknown) => {
      state.done = true;
      world.fail(10, 'operators', textOf(error));
    },
  );
  return state;
}

async function beginHealings(world: SimulatedWorld, draws: Draws, { phaseMs }: Extent) {
  await new Promise<void>((resolve) => world.time.after(draws.between(0, phaseMs), resolve));
  world.trace.note('activity', { name: 'healings' });
  await healings(world.healingPorts(draws));
  world.trace.note('activity over', { name: 'healings' });
}

/** Everything runs again; operators see to what is locked out; then nothing may be left undone. */
export async function heal(world: SimulatedWorld, quietMs = restMs): Promise<void> {
  const { time, processes } = world;
  const untilMs = time.monotonicMs() + healingMs;
  let isSettled = false;
  let isAsking = false;
  const ask = async (): Promise<void> => {
    isAsking = true;
    isSettled = await settle(world.operators, true);
    if (!isSettled) await new Promise<void>((resolve) => time.after(1_000, resolve));
    isAsking = false;
  };
  const isOver = (): boolean => {
    if (isSettled && processes.areUp() && world.isQuiet()) return true;
    isSettled = false;
    if (!isAsking && processes.areUp()) void ask();
    return false;
  };
  let isRested = false;
  while (!isRested && time.monotonicMs() < untilMs) {
    await time.run(Math.min(untilMs, time.monotonicMs() + 500));
    if (!isOver()) continue;
    await time.run(Math.min(untilMs, time.monotonicMs() + quietMs));
    isSettled = await settled(world);
    isRested = isSettled && processes.areUp() && world.isQuiet();
  }
  if (!isRested) world.fail(13, processes.down(), `it does not come to rest: ${world.unrest()}`);
}

async function settled(world: SimulatedWorld): Promise<boolean> {
  let answer: boolean | undefined;
  void settle(world.operators, false).then((isSettled) => (answer = isSettled));
  await world.time.run(world.time.monotonicMs() + 30_000, () => answer !== undefined);
  return answer ?? false;
}

function victimsOf({ agents }: SimulatedWorld) {
  const named = (kind: string): string[] =>
    agents.filter((agent) => agent.kind === kind).map(({ agentId }) => agentId);
  return {
    agents: agents.map(({ agentId }) => agentId),
    orchestrators: named('orchestrator'),
    layers: named('layer'),
    signer: named('signer')[0] ?? '',
    auditors: named('auditor'),
  };
}

function kindsOf({ name }: Extent, profile: Profile): string[] {
  const { hasEpochs, hasHealing, hasSecond, hasWorkload, rules } = profile;
  return [
    name,
    ...(hasEpochs === true ? ['with epochs'] : []),
    ...(hasHealing === true ? ['with healings'] : []),
    ...(hasSecond === true ? ['with second agents'] : []),
    ...(hasWorkload === true ? ['with use of keys'] : []),
    ...(rules === undefined || rules === 'usual' ? [] : [`under ${rules} rules`]),
  ];
}

function countsOf(faults: readonly Fault[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { name } of faults) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

export function resultOf(
  world: SimulatedWorld,
  faults: Readonly<Record<string, number>>,
  drawn: RunResult['drawn'],
  kinds: RunResult['kinds'],
): RunResult {
  return {
    seed: world.choices.seed,
    traceHash: world.trace.digest(),
    simulatedMs: Math.round(world.time.monotonicMs()),
    events: world.observer.messages.length,
    restarts: world.processes.restarts,
    crashPoints: world.processes.points,
    faults,
    rotations: world.rotations(),
    checks: world.checks.looked(),
    kinds,
    drawn,
    findings: world.findings,
  };
}

export function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
