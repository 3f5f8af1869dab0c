/**
 * What the mesh must accept of operators' requests in one state, what it must refuse and with which codes,
 * and what becomes of a plan by itself. Written from what a coordinated rotation is, apart from the code
 * that carries it out: nothing of it is used here.
 */

import type { OrchCode } from '#schemas/errors.ts';

export type LayerNo = 1 | 2 | 3 | 4 | 5 | 6 | 7;

/**
 * Where a plan is, as far as it matters to who asks something of it. `drafted`: not yet held against the
 * live agents. `reserving`: told to go, and about to ask for its slots. `turning`: it holds them, and
 * nothing is decided. `returning`: decided for the way back, its slots may be held still. `recovering`:
 * locked out, and enough approvals are there for another try.
 */
export type PlanPhase =
  | 'drafted'
  | 'validated'
  | 'approved'
  | 'refused'
  | 'reserving'
  | 'turning'
  | 'committed'
  | 'returning'
  | 'returned'
  | 'locked'
  | 'recovering';

/** What an operator asks. `digest`: of this very plan, of another one, or of a plan that nobody made. */
export type Wish =
  | {
      readonly kind: 'plan';
      readonly operator: string;
      readonly name: string;
      readonly layers: readonly LayerNo[];
      readonly type: 'scheduled' | 'emergency';
    }
  | {
      readonly kind: PlanWish;
      readonly operator: string;
      readonly name: string;
      readonly digest: 'right' | 'wrong' | 'unknown plan';
    };
export type PlanWish =
  'approve' | 'execute' | 'dry run' | 'call back' | 'ask for recovery' | 'approve recovery';

/** `unknown`: nobody told the operator what became of it. */
export type Told = 'accepted' | 'unknown' | OrchCode;

export interface Rules {
  /** Approvers that a plan needs beside the one who asked for it. */
  readonly approvals: Readonly<Record<'scheduled' | 'emergency', number>>;
  /** Who may not take part in turning layer 1: enrolled without a second factor. */
  readonly withoutFactor: readonly string[];
  /** Somebody may be away for a while: whoever is waited for then is given up. */
  readonly hasFaults: boolean;
}

/** How a layer's keys stood when a plan was made: turned so often; null where it was being turned. */
type Basis = number | null;

export interface Plan {
  readonly phase: PlanPhase;
  /** Sorted; nobody asks for them any more once the plan has begun. */
  readonly approvers: readonly string[];
  readonly basis: readonly Basis[];
  /** Who asked for the recovery from the present lockout. */
  readonly recovery: string | null;
}

/** One state in which the mesh may be. */
export interface State {
  readonly plans: Readonly<Record<string, Plan>>;
  /** How often each layer was turned. */
  readonly turned: Readonly<Record<number, number>>;
  /** Wishes of which nobody knows whether they are heard yet. */
  readonly unheard: readonly number[];
}

interface Facts {
  readonly requester: string;
  readonly layers: readonly LayerNo[];
  readonly needed: number;
}

export interface Step {
  readonly told: Told;
  readonly state: State;
}

/** Its slots are its own, or may be. */
const holding: ReadonlySet<PlanPhase> = new Set(['turning', 'returning', 'locked', 'recovering']);
/** Neither going on by itself nor decided. */
const beforeExecution: ReadonlySet<PlanPhase> = new Set(['drafted', 'validated', 'approved']);
/** The decision is taken, for one way or the other. */
const decided: ReadonlySet<PlanPhase> = new Set([
  'committed',
  'returning',
  'returned',
  'locked',
  'recovering',
]);

const resting: ReadonlySet<PlanPhase> = new Set([
  'validated',
  'approved',
  'refused',
  'committed',
  'returned',
]);

/** The rules for one plan and its neighbours. */
export class PlanRules {
  readonly #rules: Rules;
  readonly #facts = new Map<string, Facts>();

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** Plans that are asked for. */
  note(wishes: readonly Wish[]): void {
    for (const wish of wishes) {
      if (wish.kind !== 'plan') continue;
      const needed = this.#rules.approvals[wish.type];
      const { operator: requester, layers } = wish;
      this.#facts.set(wish.name, { requester, layers, needed });
    }
  }

  /** What the mesh may answer in one state: accepted, or each code of which the reason holds. */
  answers(state: State, wish: Wish): readonly Step[] {
    if (wish.kind === 'plan') return this.#planned(state, wish);
    // Nobody says which of several reasons is told.
    const codes = this.#reasons(state, wish);
    if (codes.size > 0) return Array.from(codes, (told) => ({ told, state }));
    return [{ told: 'accepted', state: this.#accepted(state, wish) }];
  }

  #planned(state: State, wish: Extract<Wish, { kind: 'plan' }>): readonly Step[] {
    const { operator, layers, name } = wish;
    const { hasFaults, withoutFactor } = this.#rules;
    if (withoutFactor.includes(operator) && layers.includes(1)) {
      return [{ told: 'ORCH-8015', state }];
    }
    const others = this.#overlapping(state, name);
    const basis = layers.map((layer) =>
      // Which of the two keys the agents name is a matter of when they are asked.
      others.some(
        (other) => holding.has(other.phase) && this.#factsOf(other.name).layers.includes(layer),
      )
        ? null
        : (state.turned[layer] ?? 0),
    );
    const plan: Plan = { phase: 'drafted', approvers: [], basis, recovery: null };
    const accepted: Step = { told: 'accepted', state: withPlan(state, name, plan) };
    // An agent that is away is not ready, nor is one whose slots a lockout has frozen; and without the
    // signer, or an orchestrator that can do its work, there is no plan.
    const refusals: OrchCode[] = hasFaults ? ['ORCH-8007', 'ORCH-8013'] : [];
    return [accepted, ...refusals.map((told) => ({ told, state }))];
  }

  /** Why a wish about a plan is refused. None: it must be accepted. */
  #reasons(state: State, wish: Extract<Wish, { kind: PlanWish }>): Set<OrchCode> {
    const codes = new Set<OrchCode>();
    const plan = state.plans[wish.name];
    if (wish.digest !== 'right' || plan === undefined) codes.add('ORCH-8004');
    if (plan === undefined) return codes;
    const { operator, kind, name } = wish;
    const { withoutFactor } = this.#rules;
    const { layers, requester } = this.#factsOf(name);
    const { phase, approvers, recovery } = plan;
    // A call back asks for nothing new.
    if (kind !== 'call back' && withoutFactor.includes(operator) && layers.includes(1)) {
      codes.add('ORCH-8015');
    }
    switch (kind) {
      case 'approve':
        if (!beforeExecution.has(phase)) codes.add('ORCH-8004');
        else if (operator === requester || approvers.includes(operator)) codes.add('ORCH-8015');
        break;
      case 'execute':
        if (phase === 'validated') codes.add('ORCH-8015');
        else if (phase !== 'approved') codes.add('ORCH-8004');
        break;
      case 'dry run':
        if (phase !== 'validated' && phase !== 'approved') codes.add('ORCH-8004');
        break;
      case 'call back':
        if (phase === 'refused') codes.add('ORCH-8004');
        else if (decided.has(phase)) codes.add('ORCH-8005');
        break;
      case 'ask for recovery':
        if (phase === 'recovering' || recovery !== null) codes.add('ORCH-8005');
        else if (phase !== 'locked') codes.add('ORCH-8004');
        break;
      case 'approve recovery':
        if (phase === 'recovering') codes.add('ORCH-8015');
        else if (phase !== 'locked' || recovery === null) codes.add('ORCH-8004');
        else if (operator === recovery) codes.add('ORCH-8015');
    }
    return codes;
  }

  #accepted(state: State, { kind, operator, name }: Extract<Wish, { kind: PlanWish }>): State {
    const plan = state.plans[name];
    if (plan === undefined) throw new Error(`the model knows no plan ${name}`);
    switch (kind) {
      case 'approve': {
        const approvers = [...plan.approvers, operator].toSorted();
        const isEnough = approvers.length >= this.#factsOf(name).needed;
        const phase = isEnough && plan.phase === 'validated' ? 'approved' : plan.phase;
        return withPlan(state, name, { ...plan, approvers, phase });
      }
      case 'execute':
        return withPlan(state, name, { ...plan, phase: 'reserving' });
      case 'dry run':
        return state;
      case 'call back':
        return withPlan(
          state,
          name,
          begun(beforeExecution.has(plan.phase) ? 'returned' : 'returning'),
        );
      case 'ask for recovery':
        return withPlan(state, name, { ...plan, recovery: operator });
      case 'approve recovery':
        return withPlan(state, name, begun('recovering'));
    }
  }

  /** What becomes of one plan by itself. */
  goOn(state: State, name: string, areRecovered: boolean): readonly State[] {
    const plan = state.plans[name];
    if (plan === undefined) return [];
    const { hasFaults } = this.#rules;
    const to = (...phases: PlanPhase[]): State[] =>
      phases.map((phase) => withPlan(state, name, begun(phase)));
    switch (plan.phase) {
      case 'drafted': {
        const { isFree, isChanged } = this.#standing(state, name, plan);
        const isEnough = plan.approvers.length >= this.#factsOf(name).needed;
        const phase = isEnough ? 'approved' : 'validated';
        const checked = isFree ? [withPlan(state, name, { ...plan, phase })] : [];
        // Another rotation may have turned the same keys since it was asked for, or be about to; and who
        // is away when the plan is checked is not ready.
        return [...checked, ...(isChanged || hasFaults ? to('refused') : [])];
      }
      case 'reserving': {
        const { isFree, isChanged, isHeld } = this.#standing(state, name, plan);
        const back = withPlan(state, name, { ...plan, phase: 'approved' });
        // Its slots are another's, its keys are not those of the plan any more, or somebody is away: it
        // stays approved, and the operator may ask again.
        const isRefused = isChanged || isHeld || hasFaults;
        return [...(isFree && !isHeld ? to('turning') : []), ...(isRefused ? [back] : [])];
      }
      case 'turning':
        // Who asks meanwhile does so before the decision or after it: a call back is accepted, or too
        // late. Without faults nothing but a call back leads back.
        return [this.#committed(state, name), ...(hasFaults ? to('returning') : [])];
      case 'returning':
        // Until its slots are free, whoever wants one of them is refused.
        return to('returned', ...(hasFaults ? (['locked'] as const) : []));
      case 'locked':
        return areRecovered ? to('returning') : [];
      case 'recovering':
        // The signer states it; where it cannot, the lockout stays, and is to be asked for anew.
        return to('returning', 'locked');
      default:
        return [];
    }
  }

  #committed(state: State, name: string): State {
    const turned = { ...state.turned };
    for (const layer of this.#factsOf(name).layers) turned[layer] = (turned[layer] ?? 0) + 1;
    return { ...withPlan(state, name, begun('committed')), turned };
  }

  /** How a plan stands against what is live: both may hold where somebody else is turning the same. */
  #standing(state: State, name: string, plan: Plan) {
    const { layers } = this.#factsOf(name);
    const isHeld = this.#overlapping(state, name).some(({ phase }) => holding.has(phase));
    const isKnown = plan.basis.every((basis) => basis !== null);
    const isAsPlanned = layers.every((layer, index) => {
      const basis = plan.basis[index];
      return basis === null || basis === (state.turned[layer] ?? 0);
    });
    return { isFree: isAsPlanned, isChanged: !isAsPlanned || !isKnown || isHeld, isHeld };
  }

  /** Other plans that have a layer in common with this one. */
  #overlapping(state: State, name: string): { name: string; phase: PlanPhase }[] {
    const { layers } = this.#factsOf(name);
    return Object.entries(state.plans)
      .filter(([other]) => other !== name)
      .filter(([other]) => this.#factsOf(other).layers.some((layer) => layers.includes(layer)))
      .map(([other, { phase }]) => ({ name: other, phase }));
  }

  isAtRest(state: State, areRecovered: boolean): boolean {
    return Object.values(state.plans).every(
      ({ phase }) => resting.has(phase) || (phase === 'locked' && !areRecovered),
    );
  }

  #factsOf(name: string): Facts {
    const facts = this.#facts.get(name);
    if (facts === undefined) throw new Error(`the model knows no plan ${name}`);
    return facts;
  }
}

/** Once it has begun, or never will, nothing asks by whom it was approved and what it was made from. */
function begun(phase: PlanPhase): Plan {
  return { phase, approvers: [], basis: [], recovery: null };
}

function withPlan(state: State, name: string, plan: Plan): State {
  return { ...state, plans: { ...state.plans, [name]: plan } };
}
