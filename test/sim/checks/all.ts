/**
 * All 15 checkers over one observation: each hears of what it asks for, at once and in order. One of
 * these lives as long as one run.
 */

import type { Change, ChangeKind, Observation } from '../observation.ts';
import { AcceptanceBeforeUse } from './acceptance-before-use.ts';
import { AlwaysAKey } from './always-a-key.ts';
import { Approvals } from './approvals.ts';
import type { Checker, Invariant, Violation } from './check.ts';
import { Destruction } from './destruction.ts';
import { EffectsOnce } from './effects-once.ts';
import { EverySagaEnds } from './every-saga-ends.ts';
import { FencedInstances } from './fenced-instances.ts';
import { HealingPlans } from './healing-plans.ts';
import { HeldBeforeEffect } from './held-before-effect.ts';
import { LossesRestored } from './losses-restored.ts';
import { NeverDown } from './never-down.ts';
import { NoSecrets } from './no-secrets.ts';
import { OneDecision } from './one-decision.ts';
import { OnePrimary } from './one-primary.ts';
import { RefusedInput } from './refused-input.ts';
import { SagaBook } from './sagas.ts';
import { StickyLockouts } from './sticky-lockouts.ts';

/** Violations of one run that are kept; the first ones say what happened. */
const violationsMax = 64;

export function allCheckers(book: SagaBook): readonly Checker[] {
  return [
    new AcceptanceBeforeUse(book),
    new OneDecision(book),
    new AlwaysAKey(book),
    new OnePrimary(book),
    new HeldBeforeEffect(book),
    new NeverDown(),
    new FencedInstances(book),
    new EffectsOnce(),
    new Destruction(book),
    new Approvals(book),
    new HealingPlans(book),
    new NoSecrets(),
    new RefusedInput(),
    new EverySagaEnds(book),
    new StickyLockouts(book),
    new LossesRestored(book),
  ];
}

export class Checks {
  readonly book = new SagaBook();
  readonly checkers: readonly Checker[];
  readonly violations: Violation[] = [];
  readonly #observation: Observation;
  readonly #byKind = new Map<ChangeKind, Checker[]>();

  constructor(observation: Observation) {
    this.#observation = observation;
    this.checkers = allCheckers(this.book);
    for (const checker of this.checkers) {
      for (const kind of checker.kinds) {
        const those = this.#byKind.get(kind);
        if (those === undefined) this.#byKind.set(kind, [checker]);
        else those.push(checker);
      }
    }
  }

  /** At every change, at once. */
  after(change: Change): void {
    this.book.note(this.#observation, change);
    for (const checker of this.#byKind.get(change.kind) ?? []) {
      this.#keep(checker.afterEvent(this.#observation, change));
    }
  }

  /** When the faults are over and the world had its time to heal. */
  atRest(): readonly Violation[] {
    for (const checker of this.checkers) this.#keep(checker.atRest(this.#observation));
    return this.violations;
  }

  /** How often each invariant was really looked at. */
  looked(): Record<Invariant, number> {
    const counts: Partial<Record<Invariant, number>> = {};
    for (const { invariant, looked } of this.checkers) {
      counts[invariant] = (counts[invariant] ?? 0) + looked;
    }
    return counts as Record<Invariant, number>;
  }

  #keep(found: readonly Violation[]): void {
    for (const violation of found) {
      if (this.violations.length < violationsMax) this.violations.push(violation);
    }
  }
}
