/**
 * What operators do in a run of the model of requests, as commands that are drawn, carried out and cut
 * down: single requests, two at once, a plan made ready with all its approvals, time that passes, rest,
 * and, in a part of the runs, one thing that goes wrong. A run is a world and its commands.
 */

import fc from 'fast-check';
import { agents } from '#cli/mesh/members.ts';
import type { RulesName } from './genesis.ts';
import {
  RequestsMesh,
  rulesOf,
  textOfWish,
  type Mishap,
  type RequestCounts,
} from './requests-mesh.ts';
import { RequestsModel } from './requests-model.ts';
import type { LayerNo, PlanWish, Wish } from './requests-plans.ts';
import { whileCurrent } from './run.ts';
import { SimulatedWorld } from './world.ts';

type Command = fc.AsyncCommand<RequestsModel, RequestsMesh>;

/** A wish before the run: operators and plans by their place. */
type Intent = PlanIntent | OfPlan;

interface PlanIntent {
  readonly kind: 'plan';
  readonly operator: number;
  readonly layers: readonly LayerNo[];
  readonly type: 'scheduled' | 'emergency';
}

interface OfPlan {
  readonly kind: PlanWish;
  readonly operator: number;
  /** 0 is the latest plan. */
  readonly back: number;
  readonly digest: 'right' | 'wrong' | 'unknown plan';
}

export interface RequestsRun {
  readonly seed: number;
  readonly rules: RulesName;
  readonly takeoverMs: number;
  readonly commands: Iterable<Command>;
}

const agentIds = agents.map(({ id }) => id);
const operators = ['op-1', 'op-2', 'op-3'];
/** Few, so that most plans meet another one. */
const layerChoices: readonly (readonly LayerNo[])[] = [[1, 2], [2], [2, 6], [6], [3], [4, 5]];

/** Requests at once, each of them by whoever asks it. */
class Ask implements Command {
  readonly #intents: readonly Intent[];

  constructor(intents: readonly Intent[]) {
    this.#intents = intents;
  }

  check(model: Readonly<RequestsModel>): boolean {
    return this.#intents.every(
      (intent) => intent.kind === 'plan' || intent.back < model.plans.length,
    );
  }

  run(model: RequestsModel, mesh: RequestsMesh): Promise<void> {
    const wishes = this.#intents.map((intent) => wishOf(intent, model, mesh));
    return mesh.ask(model, wishes);
  }

  toString(): string {
    return this.#intents.map(textOfIntent).join(' | ');
  }
}

/** A plan that everyone else approves, one after the other. */
class Ready implements Command {
  readonly #intent: PlanIntent;

  constructor(intent: PlanIntent) {
    this.#intent = intent;
  }

  check(): boolean {
    return true;
  }

  async run(model: RequestsModel, mesh: RequestsMesh): Promise<void> {
    await makeReady(this.#intent, model, mesh);
  }

  toString(): string {
    return `${textOfIntent(this.#intent)}, and everyone else approves it`;
  }
}

/** Two plans made ready, and both told to go; with some time between them, or none. */
class Rivals implements Command {
  readonly #intents: readonly [PlanIntent, PlanIntent];
  readonly #ms: number;

  constructor(intents: readonly [PlanIntent, PlanIntent], ms: number) {
    this.#intents = intents;
    this.#ms = ms;
  }

  check(): boolean {
    return true;
  }

  async run(model: RequestsModel, mesh: RequestsMesh): Promise<void> {
    const [first, second] = this.#intents;
    const wishes: Wish[] = [];
    for (const intent of [first, second]) {
      const name = await makeReady(intent, model, mesh);
      const [operator = ''] = mesh.operators;
      if (!model.plans.includes(name)) continue;
      wishes.push({ kind: 'execute', operator, name, digest: 'right' });
    }
    if (this.#ms === 0) return await mesh.ask(model, wishes);
    for (const wish of wishes) {
      await mesh.ask(model, [wish]);
      await mesh.pass(this.#ms);
    }
  }

  toString(): string {
    const between = this.#ms === 0 ? 'at once' : `with ${this.#ms} ms between them`;
    return `${this.#intents.map(textOfIntent).join(', ')}; both are approved and executed ${between}`;
  }
}

async function makeReady(
  intent: PlanIntent,
  model: RequestsModel,
  mesh: RequestsMesh,
): Promise<string> {
  const wish = wishOf(intent, model, mesh);
  const { name } = wish;
  await mesh.ask(model, [wish]);
  if (!model.plans.includes(name)) return name;
  await mesh.rest(model);
  for (const operator of mesh.operators.filter((other) => other !== wish.operator)) {
    await mesh.ask(model, [{ kind: 'approve', operator, name, digest: 'right' }]);
  }
  return name;
}

class Pass implements Command {
  readonly #ms: number;

  constructor(ms: number) {
    this.#ms = ms;
  }

  check(): boolean {
    return true;
  }

  run(_model: RequestsModel, mesh: RequestsMesh): Promise<void> {
    return mesh.pass(this.#ms);
  }

  toString(): string {
    return `${this.#ms} ms pass`;
  }
}

class Rest implements Command {
  check(): boolean {
    return true;
  }

  run(model: RequestsModel, mesh: RequestsMesh): Promise<void> {
    return mesh.rest(model);
  }

  toString(): string {
    return 'all comes to rest';
  }
}

class GoWrong implements Command {
  readonly #mishap: Mishap;

  constructor(mishap: Mishap) {
    this.#mishap = mishap;
  }

  check(model: Readonly<RequestsModel>): boolean {
    return model.plans.length > 0;
  }

  run(_model: RequestsModel, mesh: RequestsMesh): Promise<void> {
    mesh.mishap(this.#mishap);
    return Promise.resolve();
  }

  toString(): string {
    const { name, victim, size, lastsMs } = this.#mishap;
    return `${name} of ${victim} (${size.toFixed(2)}, ${lastsMs} ms)`;
  }
}

/** A run without faults, or with a few of them. */
export function drawnRuns(hasFaults: boolean, replayPath?: string): fc.Arbitrary<RequestsRun> {
  const ask = (all: fc.Arbitrary<readonly Intent[]>): fc.Arbitrary<Command> =>
    all.map((several) => new Ask(several));
  const weighted: readonly (readonly [number, fc.Arbitrary<Command>])[] = [
    [5, planIntents().map((intent) => new Ready(intent))],
    [7, ask(intents().map((intent) => [intent]))],
    [3, ask(fc.array(intents(), { minLength: 2, maxLength: 3, size: 'max' }))],
    [5, ask(aboutOnePlan())],
    [3, ask(sameOfTwoPlans())],
    [3, rivals()],
    [2, fc.integer({ min: 0, max: 2_500 }).map((ms) => new Pass(ms))],
    [1, fc.constant(new Rest())],
    [hasFaults ? 3 : 0, mishaps().map((mishap) => new GoWrong(mishap))],
  ];
  const all = weighted.flatMap(([weight, each]) => Array<typeof each>(weight).fill(each));
  const rules: RulesName[] = hasFaults ? ['usual', 'impatient', 'careful'] : ['usual', 'careful'];
  const replay = replayPath === undefined ? {} : { replayPath };
  return fc.record({
    seed: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    rules: fc.constantFrom(...rules),
    takeoverMs: fc.constantFrom(300, 500, 1_500),
    commands: fc.commands(all, { maxCommands: 18, size: 'max', ...replay }),
  });
}

/** A world, the commands in it, and its end. Throws where mesh and model do not agree. */
export async function carryOut(
  { seed, rules, takeoverMs, commands }: RequestsRun,
  hasFaults: boolean,
): Promise<RequestCounts> {
  const world = await SimulatedWorld.make({
    seed,
    second: [],
    hasEpochs: false,
    rules,
    takeoverMs,
  });
  return await whileCurrent(world, async () => {
    const mesh = await RequestsMesh.start(world);
    const model = new RequestsModel(rulesOf(rules, hasFaults));
    await fc.asyncModelRun(() => ({ model, real: mesh }), commands);
    await mesh.end(model);
    return mesh.counts;
  });
}

function operatorIndexes(): fc.Arbitrary<number> {
  return fc.nat({ max: operators.length - 1 });
}

function planIntents(): fc.Arbitrary<PlanIntent> {
  return fc.record({
    kind: fc.constant('plan' as const),
    operator: operatorIndexes(),
    layers: fc.constantFrom(...layerChoices),
    type: fc.constantFrom('scheduled' as const, 'emergency' as const),
  });
}

/** Wishes about a plan, by how often. */
const planWishes: readonly (readonly [PlanWish, number])[] = [
  ['approve', 4],
  ['execute', 9],
  ['dry run', 2],
  ['call back', 5],
  ['ask for recovery', 1],
  ['approve recovery', 1],
];

function intents(): fc.Arbitrary<Intent> {
  return fc.oneof(
    { weight: 3, arbitrary: planIntents() },
    { weight: 22, arbitrary: planWishIntents(placesBack()) },
  );
}

/** Two or three wishes for one plan at once. */
function aboutOnePlan(): fc.Arbitrary<readonly Intent[]> {
  return placesBack().chain((back) =>
    fc.array(planWishIntents(fc.constant(back)), { minLength: 2, maxLength: 3, size: 'max' }),
  );
}

/** The same of two plans at once: both are executed, say, and have a layer in common. */
function sameOfTwoPlans(): fc.Arbitrary<readonly Intent[]> {
  return fc
    .tuple(planWishIntents(fc.constant(0)), operatorIndexes())
    .map(([intent, operator]) => [intent, { ...intent, operator, back: 1 }]);
}

function rivals(): fc.Arbitrary<Command> {
  const between = fc.integer({ min: -1_500, max: 1_500 }).map((ms) => Math.max(0, ms));
  const intents = fc.tuple(planIntents(), planIntents());
  return fc.tuple(intents, between).map(([both, ms]) => new Rivals(both, ms));
}

function planWishIntents(back: fc.Arbitrary<number>): fc.Arbitrary<OfPlan> {
  const digests = ['right', 'wrong', 'unknown plan'] as const;
  const isRight = fc.integer({ min: 0, max: 11 });
  return fc.record({
    kind: fc.oneof(
      ...planWishes.map(([kind, weight]) => ({ weight, arbitrary: fc.constant(kind) })),
    ),
    operator: operatorIndexes(),
    back,
    digest: isRight.map((number) => digests[number - 9] ?? 'right'),
  });
}

function placesBack(): fc.Arbitrary<number> {
  return fc.integer({ min: 0, max: 9 }).map((number) => Math.max(0, Math.ceil((number - 5) / 3)));
}

function mishaps(): fc.Arbitrary<Mishap> {
  return fc.record({
    name: fc.constantFrom('crash', 'crash-at-point', 'pause', 'delay'),
    victim: fc.constantFrom(...agentIds),
    size: fc.double({ min: 0, max: 1, noNaN: true }),
    lastsMs: fc.integer({ min: 100, max: 15_000 }),
  });
}

function wishOf(intent: Intent, model: RequestsModel, mesh: RequestsMesh): Wish {
  const operator = mesh.operators[intent.operator % mesh.operators.length] ?? '';
  if (intent.kind === 'plan') {
    const { kind, layers, type } = intent;
    return { kind, operator, name: mesh.newName(), layers, type };
  }
  const { kind, digest, back } = intent;
  return { kind, operator, name: model.plans[back] ?? '', digest };
}

/** Of two operators the first is the third too. */
function textOfIntent(intent: Intent): string {
  const operator = operators[intent.operator] ?? '';
  const name = intent.kind === 'plan' ? 'a plan' : placeNames[intent.back];
  return textOfWish({ ...intent, operator, name: name ?? '' });
}

const placeNames = ['the latest plan', 'the plan before the latest', 'the one before these'];
