/**
 * Operators of a simulated world who ask at once what the model of requests knows about: they ask the
 * mesh, hold what they are told against the model and against the record, and ask both orchestrators
 * what became of every request.
 */

import { bootOperator } from '../support/mesh-agents.ts';
import { SimulatedClock } from './clock.ts';
import { applyFault } from './faults.ts';
import type { RulesName } from './genesis.ts';
import { SimulatedLife } from './lives.ts';
import { Operator, type RequestOutcome } from './operator.ts';
import { RequestRecord, type RecordedPlan } from './requests-record.ts';
import type { RequestsModel } from './requests-model.ts';
import type { PlanPhase, Rules, Told, Wish } from './requests-plans.ts';
import { checkAtRest, heal, textOf } from './run.ts';
import type { FaultName } from './schedule.ts';
import { SimulatedWorld } from './world.ts';
import { principalOf } from './world-hosts.ts';

export interface Mishap {
  readonly name: Extract<FaultName, 'crash' | 'crash-at-point' | 'pause' | 'delay'>;
  readonly victim: string;
  readonly size: number;
  readonly lastsMs: number;
}

export interface RequestCounts {
  plans: number;
  requests: number;
  /** Requests that had another one beside them. */
  atOnce: number;
  mishaps: number;
  told: Record<string, number>;
}

const bootMs = 60_000;
/** An operator gives up before that. */
const requestMs = 600_000;
const restMs = 180_000;
const quietMs = 3_000;
const unknownPlan = {
  planId: 'rot-0123456789abcdef',
  planDigest: '0'.repeat(64),
  lockouts: 0,
};

/** Phases in which nothing goes on by itself, in the model's words. */
const restPhases: Readonly<Record<string, PlanPhase>> = {
  validated: 'validated',
  approved: 'approved',
  refused: 'refused',
  retired: 'committed',
  rolled_back: 'returned',
  locked_out: 'locked',
};

export function rulesOf(rules: RulesName, hasFaults: boolean): Rules {
  const isCareful = rules === 'careful';
  return {
    approvals: { scheduled: isCareful ? 2 : 1, emergency: rules === 'prompt' ? 0 : 1 },
    withoutFactor: isCareful ? ['op-3'] : [],
    hasFaults,
  };
}

export class RequestsMesh {
  readonly #world: SimulatedWorld;
  readonly #record: RequestRecord;
  /** One for each orchestrator, who asks nobody else. */
  readonly #onlookers: readonly Operator[];
  /** What was done and said until now, a line each. */
  readonly #trail: string[] = [];
  readonly #counts: RequestCounts = { plans: 0, requests: 0, atOnce: 0, mishaps: 0, told: {} };

  private constructor(world: SimulatedWorld) {
    this.#world = world;
    this.#record = new RequestRecord(world.observer);
    this.#onlookers = onlookersOf(world);
  }

  static async start(world: SimulatedWorld): Promise<RequestsMesh> {
    const { time, processes } = world;
    world.start();
    if (!(await time.run(bootMs, () => processes.areUp() && world.hasJoined()))) {
      throw new Error(`the mesh does not come up: ${processes.down()}`);
    }
    return new RequestsMesh(world);
  }

  /** What was asked, alone or at once, and what was told. */
  get counts(): RequestCounts {
    return this.#counts;
  }

  get operators(): readonly string[] {
    return this.#world.operators.map(({ id }) => id);
  }

  newName(): string {
    this.#counts.plans += 1;
    return `plan-${this.#counts.plans}`;
  }

  /** All of them at once; throws where an answer is not among those that the model allows. */
  async ask(model: RequestsModel, wishes: readonly Wish[]): Promise<void> {
    const asked = this.#record.requests.length;
    const told = await this.#within('the requests', requestMs, () =>
      Promise.all(wishes.map((wish) => this.#request(wish))),
    );
    const line = wishes.map((wish, index) => `${textOfWish(wish)}: ${told[index]}`).join(' | ');
    this.#trail.push(line);
    this.#count(told);
    const allowed = model.heard(wishes, told);
    if (allowed !== undefined) this.#fail(`${line}, but the model allows ${allowed.join('; or ')}`);
    this.#record.read();
    this.#compare(wishes, told, asked);
    await this.#askBoth(asked, false);
  }

  async pass(ms: number): Promise<void> {
    this.#trail.push(`${ms} ms pass`);
    await this.#world.time.run(this.#world.time.monotonicMs() + ms);
  }

  /** Nothing goes on by itself any more: what is there must be what the model says. */
  async rest(model: RequestsModel): Promise<void> {
    const { time } = this.#world;
    const isAtRest = (): boolean => {
      this.#record.read();
      return this.#record.plans.every(({ phase }) => restPhases[phase] !== undefined);
    };
    for (let isQuiet = false; !isQuiet;) {
      if (!(await time.run(time.monotonicMs() + restMs, isAtRest))) {
        this.#fail(`it does not come to rest: ${this.#phasesText()}`);
      }
      await time.run(time.monotonicMs() + quietMs);
      isQuiet = isAtRest();
    }
    this.#trail.push(`at rest: ${this.#phasesText()}`);
    this.#holdAgainst(model, false);
  }

  mishap({ name, victim, size, lastsMs }: Mishap): void {
    const { time, draws } = this.#world;
    this.#counts.mishaps += 1;
    this.#trail.push(`${name} of ${victim}`);
    const fault = { name, victim, size, lastsMs, atMs: 0 };
    const undo = applyFault(this.#world, fault, draws.fork(`mishap ${this.#counts.mishaps}`));
    time.after(lastsMs, undo);
  }

  /** Everything heals and comes to rest; the record, both orchestrators, the model and the checkers agree. */
  async end(model: RequestsModel): Promise<void> {
    const world = this.#world;
    world.heal();
    await heal(world);
    checkAtRest(world);
    if (world.findings.length > 0) {
      const findings = world.findings.map(
        ({ invariant, agent, what }) => `invariant ${invariant}, ${agent}: ${what}`,
      );
      this.#fail(findings.join('\n'));
    }
    this.#record.read();
    this.#trail.push(`in the end: ${this.#phasesText()}`);
    this.#holdAgainst(model, true);
    await this.#askBoth(0, true);
  }

  #count(told: readonly Told[]): void {
    const counts = this.#counts;
    counts.requests += told.length;
    if (told.length > 1) counts.atOnce += told.length;
    for (const one of told) counts.told[one] = (counts.told[one] ?? 0) + 1;
  }

  async #request(wish: Wish): Promise<Told> {
    const operator = this.#world.operators.find(({ id }) => id === wish.operator);
    if (operator === undefined) throw new Error(`there is no operator ${wish.operator}`);
    const outcome = await this.#send(operator, wish);
    if (outcome.status === 'refused') return outcome.code as Told;
    return outcome.status;
  }

  #send(operator: Operator, wish: Wish): Promise<RequestOutcome> {
    if (wish.kind === 'plan') {
      const { name: requestId, layers, type: rotationType } = wish;
      const reason = 'an operator of the model wants it';
      return operator.request('rotation-requested', { requestId, rotationType, layers, reason });
    }
    const plan = wish.digest === 'unknown plan' ? unknownPlan : this.#plan(wish.name);
    const about = { planId: plan.planId, planDigest: digestOf(plan, wish) };
    switch (wish.kind) {
      case 'approve':
        return operator.request('plan-approved', about);
      case 'execute':
        return operator.request('execution-requested', { ...about, dryRun: false });
      case 'dry run':
        return operator.request('execution-requested', { ...about, dryRun: true });
      case 'call back':
        return operator.request('rollback-requested', { ...about, reason: 'second thoughts' });
      case 'ask for recovery':
        return operator.request('recovery-requested', about);
      case 'approve recovery':
        return operator.request('recovery-approved', {
          ...about,
          lockout: Math.max(1, plan.lockouts),
        });
    }
  }

  #plan(name: string): RecordedPlan {
    this.#record.read();
    const plan = this.#record.plans.find((one) => one.name === name);
    if (plan === undefined) this.#fail(`${name} was accepted and is not on the record`);
    return plan;
  }

  /** What operators were told is what the record says of what they asked. */
  #compare(wishes: readonly Wish[], told: readonly Told[], from: number): void {
    const requests = this.#record.requests.slice(from);
    const said = wishes.flatMap((wish, index) =>
      told[index] === 'unknown' ? [] : [`${wish.operator} ${kindOf(wish)} ${told[index]}`],
    );
    const recorded = requests.map(({ hash, operator, type }) => {
      const outcome = this.#record.outcomeOf(hash);
      if (outcome === 'both') this.#fail(`${type} of ${operator} was accepted and refused`);
      return `${operator} ${type} ${outcome}`;
    });
    for (const one of said) {
      const at = recorded.indexOf(one);
      if (at < 0) this.#fail(`told: ${one}; on the record: ${recorded.join(', ')}`);
      recorded.splice(at, 1);
    }
  }

  /** Both orchestrators say of a request what the record says; `isOver`: neither leaves it open. */
  async #askBoth(from: number, isOver: boolean): Promise<void> {
    for (const { hash, operator, type } of this.#record.requests.slice(from)) {
      const answers = await this.#within('an answer of both orchestrators', requestMs, () =>
        Promise.all(this.#onlookers.map((onlooker) => outcomeAt(onlooker, hash, isOver))),
      );
      this.#record.read();
      const recorded = this.#record.outcomeOf(hash);
      const wrong = answers.filter(
        (answer) => answer !== recorded && (isOver || answer !== 'pending'),
      );
      if (wrong.length === 0) continue;
      const all = answers.join(' and ');
      this.#fail(`${type} of ${operator}: orchestrators say ${all}, the record ${recorded}`);
    }
  }

  #holdAgainst(model: RequestsModel, areRecovered: boolean): void {
    const phases = Object.fromEntries(
      this.#record.plans.map(({ name, phase }) => [name, restPhases[phase] ?? 'drafted'] as const),
    );
    const allowed = model.atRest(phases, { areRecovered });
    if (allowed === undefined) return;
    this.#fail(`at rest: ${JSON.stringify(phases)}; the model allows ${allowed.join('; or ')}`);
  }

  #phasesText(): string {
    return this.#record.plans.map(({ name, phase }) => `${name} ${phase}`).join(', ');
  }

  async #within<Result>(what: string, ms: number, run: () => Promise<Result>): Promise<Result> {
    const { time } = this.#world;
    let settled: { readonly result: Result } | { readonly error: unknown } | undefined;
    void run().then(
      (result) => (settled = { result }),
      (error: unknown) => (settled = { error }),
    );
    await time.run(time.monotonicMs() + ms, () => settled !== undefined);
    if (settled === undefined) this.#fail(`${what} took longer than ${ms} ms`);
    if ('error' in settled) this.#fail(textOf(settled.error));
    return settled.result;
  }

  #fail(what: string): never {
    throw new Error([what, ...this.#trail.map((line) => `  ${line}`)].join('\n'));
  }
}

function digestOf({ planDigest }: typeof unknownPlan, wish: Wish): string {
  if (wish.kind === 'plan' || wish.digest !== 'wrong') return planDigest;
  return planDigest.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
}

async function outcomeAt(onlooker: Operator, request: string, isOver: boolean): Promise<string> {
  const query = { ask: 'request-outcome', request, waitMs: isOver ? 1_000 : 0 } as const;
  const outcome = (await onlooker.ask(query)) as RequestOutcome | { status: 'pending' } | undefined;
  if (outcome === undefined) return 'pending';
  return outcome.status === 'refused' ? outcome.code : outcome.status;
}

/** Sessions of the first operator beside its own: what they hear is what one orchestrator says. */
function onlookersOf(world: SimulatedWorld): Operator[] {
  const { genesis, network, time, agents } = world;
  const enrolled = genesis.trust.agents().find(({ kind }) => kind === 'operator');
  const signingKey = genesis.keys.get(enrolled?.agentId ?? '');
  if (enrolled === undefined || signingKey === undefined) throw new Error('there is no operator');
  const { agentId } = enrolled;
  return agents
    .filter(({ kind }) => kind === 'orchestrator')
    .map((orchestrator, index) => {
      const life = new SimulatedLife({ agentId, number: index + 2, time });
      const clock = new SimulatedClock({ life, time });
      const host = {
        agentId,
        clock,
        crypto: world.crypto(`onlooker of ${orchestrator.agentId}`),
        log: silent,
        trust: genesis.newTrust(),
        signingKey,
        bus: network.connect({ life, clock, principal: principalOf(enrolled) }),
        keyring: genesis.keyring(agentId),
      };
      // Nobody amends the documents.
      const session = bootOperator(host, () => Promise.resolve());
      const { exchange } = session;
      const orchestrators = [orchestrator.agentId];
      const { subjects } = network;
      return new Operator({ exchange, clock, subjects, orchestrators, joined: session.join() });
    });
}

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

const kinds = {
  plan: 'rotation-requested',
  approve: 'plan-approved',
  execute: 'execution-requested',
  'dry run': 'execution-requested',
  'call back': 'rollback-requested',
  'ask for recovery': 'recovery-requested',
  'approve recovery': 'recovery-approved',
} as const;

function kindOf({ kind }: Wish): string {
  return kinds[kind];
}

export function textOfWish(wish: Wish): string {
  const { operator, kind, name } = wish;
  if (wish.kind === 'plan') {
    return `${operator} asks for ${name}, ${wish.type}, of layers ${wish.layers.join(', ')}`;
  }
  const digest = wish.digest === 'right' ? '' : ` (${wish.digest})`;
  return `${operator}: ${kind} ${wish.digest === 'unknown plan' ? '' : name}${digest}`;
}
