/**
 * The model of requests. A rotation goes on by itself while operators ask, and of two requests at once
 * either may come first; so the model keeps every state in which the mesh may be, and each answer that an
 * operator is given leaves those that agree with it. Where none is left, the mesh said what it must not.
 */

import {
  PlanRules,
  type PlanPhase,
  type Rules,
  type State,
  type Told,
  type Wish,
} from './requests-plans.ts';

const statesMax = 50_000;

export class RequestsModel {
  readonly #rules: PlanRules;
  readonly #unheard: Wish[] = [];
  readonly #plans: string[] = [];
  #states: readonly State[] = [{ plans: {}, turned: {}, unheard: [] }];

  constructor(rules: Rules) {
    this.#rules = new PlanRules(rules);
  }

  /** Plans that there are for certain, the latest first. */
  get plans(): readonly string[] {
    return this.#plans;
  }

  /**
   * Wishes at once, and what came of each. In any order, because each becomes an entry of one log and
   * nobody promises which comes first; between two of them, and before and after, rotations go on.
   * Returns what may have been told instead, where it may not have been this.
   */
  heard(wishes: readonly Wish[], told: readonly Told[]): readonly string[] | undefined {
    this.#rules.note(wishes);
    const left = this.#explore(wishes, told);
    if (left.length === 0) return this.#allowed(wishes);
    this.#states = left;
    for (const [index, wish] of wishes.entries()) {
      if (wish.kind === 'plan' && told[index] === 'accepted') this.#plans.unshift(wish.name);
    }
    return undefined;
  }

  /** All is at rest, and the plans are in these phases. Returns the phases that the model allows if not. */
  atRest(
    phases: Readonly<Record<string, PlanPhase>>,
    { areRecovered }: { readonly areRecovered: boolean },
  ): readonly string[] | undefined {
    const reached = distinct(this.#drift(this.#states, areRecovered)).filter((state) =>
      this.#rules.isAtRest(state, areRecovered),
    );
    const left = reached.filter(({ plans }) =>
      Object.entries(plans).every(([name, { phase }]) => phases[name] === phase),
    );
    if (left.length === 0) return [...new Set(reached.map(textOf))];
    this.#states = left;
    return undefined;
  }

  /** States after all wishes in any order, with these answers. */
  #explore(wishes: readonly Wish[], told: readonly Told[]): readonly State[] {
    let reached = new Map<number, readonly State[]>([[0, this.#states]]);
    const all = 2 ** wishes.length - 1;
    for (let count = 0; count < wishes.length; count += 1) {
      const next = new Map<number, State[]>();
      for (const [done, states] of reached) {
        const drifted = this.#drift(states);
        for (const [index, wish] of wishes.entries()) {
          if ((done & (1 << index)) !== 0) continue;
          const after = done | (1 << index);
          const found = next.get(after) ?? [];
          next.set(after, found);
          for (const state of drifted) found.push(...this.#answered(state, wish, told[index]));
        }
      }
      reached = new Map(Array.from(next, ([done, states]) => [done, distinct(states)]));
    }
    return reached.get(all) ?? [];
  }

  #answered(state: State, wish: Wish, told: Told | undefined): State[] {
    if (told === 'unknown') {
      // It may have been heard, may be heard later, or never.
      this.#unheard.push(wish);
      return [{ ...state, unheard: [...state.unheard, this.#unheard.length - 1] }];
    }
    return this.#rules
      .answers(state, wish)
      .filter((step) => step.told === told)
      .map((step) => step.state);
  }

  /** Every combination of answers that the model allows, for who has to find out. */
  #allowed(wishes: readonly Wish[]): readonly string[] {
    const texts = new Set<string>();
    const go = (states: readonly State[], left: readonly number[], said: readonly Told[]): void => {
      if (left.length === 0) texts.add(said.join(' and '));
      for (const index of left) {
        const wish = wishes[index];
        if (wish === undefined) continue;
        const byAnswer = new Map<Told, State[]>();
        for (const state of this.#drift(states)) {
          for (const { told, state: after } of this.#rules.answers(state, wish)) {
            byAnswer.set(told, [...(byAnswer.get(told) ?? []), after]);
          }
        }
        for (const [answer, after] of byAnswer) {
          const others = left.filter((other) => other !== index);
          go(distinct(after), others, said.with(index, answer));
        }
      }
    };
    const indexes = [...wishes.keys()];
    go(this.#states, indexes, Array<Told>(wishes.length).fill('unknown'));
    return [...texts].toSorted();
  }

  /** These states, and all that the mesh may come to from them while nobody asks for anything. */
  #drift(states: readonly State[], areRecovered = false): readonly State[] {
    const known = new Map(states.map((state) => [JSON.stringify(state), state]));
    for (const state of known.values()) {
      for (const next of this.#goesOn(state, areRecovered)) {
        const key = JSON.stringify(next);
        if (!known.has(key)) known.set(key, next);
      }
      if (known.size > statesMax) throw new Error(`the model has more than ${statesMax} states`);
    }
    return [...known.values()];
  }

  #goesOn(state: State, areRecovered: boolean): readonly State[] {
    const ofPlans = Object.keys(state.plans).flatMap((name) =>
      this.#rules.goOn(state, name, areRecovered),
    );
    const late = state.unheard.flatMap((index) => {
      const wish = this.#unheard[index];
      const without = { ...state, unheard: state.unheard.filter((other) => other !== index) };
      return wish === undefined ? [] : this.#rules.answers(without, wish).map((step) => step.state);
    });
    return [...ofPlans, ...late];
  }
}

function distinct(states: readonly State[]): readonly State[] {
  return [...new Map(states.map((state) => [JSON.stringify(state), state])).values()];
}

function textOf({ plans }: State): string {
  return Object.entries(plans)
    .map(([name, { phase }]) => `${name} ${phase}`)
    .join(', ');
}
