/**
 * What operators do while things go wrong: rotations of all layers and of some, two at a time on the same
 * layers, races of approvals, rollbacks, wrong digests, their own plans approved by themselves, amendments
 * of policy and registry. Every activity ends by itself, whatever the mesh does.
 */

import type { RotationPhase } from '#schemas/saga.ts';
import { drawLayers, type Extent } from './extent.ts';
import type { Draws } from './model.ts';
import type { Operator, RotationDetails, RotationSummary } from './operator.ts';

/** Nothing more happens to a rotation in one of these, unless somebody asks for it. */
export const atRest: ReadonlySet<RotationPhase> = new Set([
  'validated',
  'refused',
  'approved',
  'retired',
  'rolled_back',
  'locked_out',
]);

export interface ActivityPorts {
  readonly draws: Draws;
  readonly extent: Extent;
  readonly operators: readonly Operator[];
  /** Offers the next policy or registry; whom it concerns hears of it. */
  readonly amend: (kind: 'policy' | 'registry') => Promise<void>;
  readonly rotateEpochs: (operator: Operator) => Promise<void>;
  /** Nothing gets to or from a layer's agent once it has activated a key, until the result is called. */
  readonly isolate: (layer: number) => () => void;
  /** An enrolled agent offers what must not be adopted; nobody takes its offers for 900 s. */
  readonly offerBadly: () => Promise<void>;
  readonly restart: () => void;
}

const planWaitMs = 20_000;
const rotationWaitMs = 60_000;
/** Longer than all attempts of a rollback. */
const awayMs = 40_000;

type Activity = (ports: ActivityPorts) => Promise<void>;

interface Weighted {
  readonly name: string;
  readonly weight: number;
  readonly run: Activity;
}

/** What may be drawn, by how often. */
export const activities: readonly Weighted[] = [
  { name: 'rotation', weight: 8, run: (ports) => rotation(ports) },
  { name: 'rotation that is called back', weight: 3, run: (ports) => calledBack(ports) },
  { name: 'rotation after one that went back', weight: 1, run: onceMore },
  { name: 'two plans for one layer', weight: 1, run: concurrent },
  { name: 'race of approvals', weight: 1, run: approvalRace },
  { name: 'approval without right', weight: 2, run: withoutRight },
  { name: 'plan that waits', weight: 2, run: waiting },
  { name: 'dry run', weight: 2, run: dryRun },
  { name: 'policy amended in mid-rotation', weight: 1, run: (ports) => amended(ports, 'policy') },
  {
    name: 'registry amended in mid-rotation',
    weight: 1,
    run: (ports) => amended(ports, 'registry'),
  },
  { name: 'epochs turned in mid-rotation', weight: 1, run: epochsTurned },
  { name: 'rotation that cannot go back', weight: 1, run: cannotGoBack },
  { name: 'bad offers', weight: 2, run: badOffers },
];

/** @throws RangeError where none has one of the names */
export function drawActivity(draws: Draws, names?: readonly string[]): Weighted {
  const those = activities.filter(({ name }) => names?.includes(name) ?? true);
  if (those.length === 0) throw new RangeError(`there is no activity ${names?.join(', ') ?? ''}`);
  const total = those.reduce((sum, { weight }) => sum + weight, 0);
  let at = draws.between(1, total);
  for (const activity of those) {
    at -= activity.weight;
    if (at <= 0) return activity;
  }
  throw new Error('assertion: the weights add up');
}

/** Two operators who work together: the one who asks and the one who approves. */
function pair({ draws, operators }: ActivityPorts): {
  readonly asker: Operator;
  readonly other: Operator;
} {
  const [asker, other] = draws.shuffled(operators);
  if (asker === undefined || other === undefined) throw new Error('a world has two operators');
  return { asker, other };
}

/** A plan that was checked against the live agents; undefined where it was refused or nobody said. */
export async function planned(
  { draws }: Pick<ActivityPorts, 'draws'>,
  asker: Operator,
  layers: readonly number[],
): Promise<RotationDetails | undefined> {
  const outcome = await asker.request('rotation-requested', {
    requestId: `ask-${draws.between(0, 2 ** 30).toString(36)}`,
    rotationType: draws.chance(0.15) ? 'emergency' : 'scheduled',
    layers,
    reason: 'a simulated operator wants it',
  });
  if (outcome.status !== 'accepted') return undefined;
  const view = await asker.until(outcome.planId, ['validated', 'refused'], planWaitMs);
  return view?.phase === 'validated' ? view : undefined;
}

async function approved(
  ports: ActivityPorts,
  layers: readonly number[] = drawLayers(ports.draws, ports.extent),
): Promise<RotationDetails | undefined> {
  const { asker, other } = pair(ports);
  const plan = await planned(ports, asker, layers);
  if (plan === undefined) return undefined;
  const { planId, planDigest } = plan;
  await other.request('plan-approved', { planId, planDigest });
  return await asker.until(planId, ['approved'], planWaitMs);
}

async function executed(
  ports: ActivityPorts,
  layers?: readonly number[],
): Promise<RotationSummary | undefined> {
  const plan = await approved(ports, layers);
  if (plan === undefined) return undefined;
  const { planId, planDigest } = plan;
  const operator = ports.draws.pick(ports.operators);
  await operator.request('execution-requested', { planId, planDigest, dryRun: false });
  return plan;
}

async function rotation(ports: ActivityPorts, layers?: readonly number[]): Promise<void> {
  const plan = await executed(ports, layers);
  if (plan === undefined) return;
  await ports.draws.pick(ports.operators).until(plan.planId, [...atRest], rotationWaitMs);
}

async function calledBack(ports: ActivityPorts, layers?: readonly number[]): Promise<void> {
  const { draws } = ports;
  const plan = await approved(ports, layers);
  if (plan === undefined) return;
  const operator = draws.pick(ports.operators);
  const { planId, planDigest } = plan;
  const executing = operator.request('execution-requested', { planId, planDigest, dryRun: false });
  // A small rotation takes a fraction of a second.
  await operator.pause(draws.between(0, draws.pick([150, 600, 2_500])));
  await operator.request('rollback-requested', { planId, planDigest, reason: 'second thoughts' });
  await executing;
  await operator.until(planId, [...atRest], rotationWaitMs);
}

/** The numbers of the keys that went back are never given again. */
async function onceMore(ports: ActivityPorts): Promise<void> {
  const layers = drawLayers(ports.draws, ports.extent);
  await calledBack(ports, layers);
  await rotation(ports, layers);
}

async function concurrent(ports: ActivityPorts): Promise<void> {
  await Promise.all([rotation(ports), rotation(ports)]);
}

async function approvalRace(ports: ActivityPorts): Promise<void> {
  const { asker, other } = pair(ports);
  const plan = await planned(ports, asker, drawLayers(ports.draws, ports.extent));
  if (plan === undefined) return;
  const { planId, planDigest } = plan;
  const approve = () => other.request('plan-approved', { planId, planDigest });
  const execute = () => asker.request('execution-requested', { planId, planDigest, dryRun: false });
  await Promise.all([approve(), execute(), approve(), execute()]);
  await execute();
  await asker.until(planId, [...atRest], rotationWaitMs);
}

/** The requester's own approval, and one for another plan than there is. */
async function withoutRight(ports: ActivityPorts): Promise<void> {
  const { asker, other } = pair(ports);
  const plan = await planned(ports, asker, drawLayers(ports.draws, ports.extent));
  if (plan === undefined) return;
  const { planId, planDigest } = plan;
  const wrongDigest = planDigest.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  await asker.request('plan-approved', { planId, planDigest });
  await other.request('plan-approved', { planId, planDigest: wrongDigest });
  await asker.request('execution-requested', { planId, planDigest, dryRun: false });
  // What it did all the same is for the checkers.
  await asker.pause(ports.draws.between(0, 3_000));
}

/** Approved or not, it is left as it is, and now and then executed after a while. */
async function waiting(ports: ActivityPorts): Promise<void> {
  const { draws, operators, extent } = ports;
  const { asker, other } = pair(ports);
  const plan = await planned(ports, asker, drawLayers(draws, extent));
  if (plan === undefined) return;
  const { planId, planDigest } = plan;
  if (draws.chance(0.7)) await other.request('plan-approved', { planId, planDigest });
  if (draws.chance(0.6)) return;
  await asker.pause(draws.between(0, extent.phaseMs));
  const operator = draws.pick(operators);
  await operator.request('execution-requested', { planId, planDigest, dryRun: false });
  await operator.until(planId, [...atRest], rotationWaitMs);
}

async function dryRun(ports: ActivityPorts): Promise<void> {
  const plan = await approved(ports);
  if (plan === undefined) return;
  const { planId, planDigest } = plan;
  const operator = ports.draws.pick(ports.operators);
  await operator.request('execution-requested', { planId, planDigest, dryRun: true });
}

async function amended(ports: ActivityPorts, kind: 'policy' | 'registry'): Promise<void> {
  const { draws, operators } = ports;
  const plan = await executed(ports);
  await draws.pick(operators).pause(draws.between(0, 1_500));
  await ports.amend(kind);
  if (plan !== undefined)
    await draws.pick(operators).until(plan.planId, [...atRest], rotationWaitMs);
}

async function epochsTurned(ports: ActivityPorts): Promise<void> {
  const { draws, operators } = ports;
  const plan = await executed(ports);
  await ports.rotateEpochs(draws.pick(operators));
  if (plan !== undefined)
    await draws.pick(operators).until(plan.planId, [...atRest], rotationWaitMs);
}

/** The owner of a key is away for as long as its rollback is tried; then somebody wants it recovered alone. */
async function cannotGoBack(ports: ActivityPorts): Promise<void> {
  const { draws, operators } = ports;
  const plan = await approved(ports);
  if (plan === undefined) return;
  const { planId, planDigest, layers } = plan;
  const operator = draws.pick(operators);
  const reconnect = ports.isolate(draws.pick(layers));
  await operator.request('execution-requested', { planId, planDigest, dryRun: false });
  const view = await operator.until(planId, ['retired', 'rolled_back', 'locked_out'], awayMs);
  reconnect();
  if (view?.phase !== 'locked_out') return;
  await operator.request('recovery-requested', { planId, planDigest });
  await operator.pause(draws.between(500, 3_000));
}

/** Older, expired and wrongly signed documents, before and after somebody who refused them starts again. */
async function badOffers({ draws, operators, offerBadly, restart }: ActivityPorts): Promise<void> {
  const operator = draws.pick(operators);
  const count = draws.between(1, 3);
  for (let offered = 0; offered < count; offered += 1) {
    await offerBadly();
    await operator.pause(draws.between(500, 2_000));
    if (draws.chance(0.7)) restart();
    await operator.pause(draws.between(500, 3_000));
  }
  await offerBadly();
}

/**
 * What operators see to once everything runs again: rotations that are locked out are recovered, by one
 * who asks and another who approves. Resolves whether all rotations are at rest and none is locked out.
 */
export async function settle(operators: readonly Operator[], recovers: boolean): Promise<boolean> {
  const [first, second] = operators;
  if (first === undefined || second === undefined) return false;
  const rotations = await first.list();
  if (rotations === undefined) return false;
  const locked = rotations.filter(({ phase }) => phase === 'locked_out');
  for (const { planId, planDigest } of recovers ? locked : []) {
    const view = await first.show(planId);
    if (view?.phase !== 'locked_out') continue;
    const { lockouts, recoveryRequest } = view.state;
    if (recoveryRequest === null) await first.request('recovery-requested', { planId, planDigest });
    // Nobody approves what he asked for himself.
    const approver = recoveryRequest?.operatorId === second.id ? first : second;
    await approver.request('recovery-approved', { planId, planDigest, lockout: lockouts });
  }
  if (recovers && locked.length > 0) return false;
  return rotations.every(({ phase }) => atRest.has(phase));
}
