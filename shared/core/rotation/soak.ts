/**
 * Soaking: the new keys are in use and the old ones could still come back. When the window is over
 * every owner is asked for its measurements, and each slot by itself must have enough samples and no
 * trigger that holds. Silence is not health: too few samples lead back as a trigger does.
 */

import type { SlotProgress } from './state.ts';
import { evaluateTrigger, parseTrigger, type Measurements } from '../triggers.ts';
import { askForCommit } from './commit.ts';
import { ensureTimer, issueSteps, settleBatch, type Draft } from './draft.ts';
import { beginRollback, failureAt } from './rollback.ts';

export function beginSoak(draft: Draft): void {
  const { soak_ms: soakMs } = draft.state.plan.body.timing;
  if (soakMs === 0) {
    askForCommit(draft);
    return;
  }
  settleBatch(draft);
  draft.state.phase = 'soaking';
  ensureTimer(draft, 'soak', soakMs);
}

export function measure(draft: Draft): void {
  issueSteps(draft, {
    operation: 'measure',
    targets: draft.state.slots.map((slot) => ({ agentId: slot.owner, slot })),
    evidence: () => [],
    documents: [],
  });
}

export function concludeSoak(draft: Draft): void {
  const unhealthy = draft.state.slots
    .map((slot) => complaint(draft, slot))
    .find((reason) => reason !== null);
  if (unhealthy === undefined) {
    askForCommit(draft);
    return;
  }
  beginRollback(draft, failureAt(draft, { code: 'ORCH-8005', reason: unhealthy ?? '' }));
}

/** The trigger on failures and incompatibility that holds already, while steps are under way. */
export function firedTrigger(draft: Draft): string | undefined {
  const { counters, incompatible, plan } = draft.state;
  return plan.body.rollback_triggers.find((expression) => {
    const trigger = parseTrigger(expression);
    const measurements = {
      rotation_failure_count: counters.failures,
      incompatibility_detected: incompatible,
    };
    return trigger.ok && evaluateTrigger(trigger.trigger, measurements) === 'holds';
  });
}

/** What speaks against one slot, or null. */
function complaint({ state }: Draft, slot: SlotProgress): string | null {
  const plan = state.plan.body;
  const operations = slot.samples?.operations ?? 0;
  const samplesMin = plan.timing.soak_samples_min;
  if (operations < samplesMin) {
    return `${slot.slot}: ${operations} of ${samplesMin} samples in the soak window`;
  }
  for (const expression of plan.rollback_triggers) {
    const parsed = parseTrigger(expression);
    if (!parsed.ok) return `trigger not understood: ${expression}`;
    const result = evaluateTrigger(parsed.trigger, measurementsOf(state, slot));
    if (result === 'holds') return `${slot.slot}: trigger ${expression}`;
    if (result === 'unknown' && samplesMin > 0) return `${slot.slot}: not measured: ${expression}`;
  }
  return null;
}

function measurementsOf(state: Draft['state'], slot: SlotProgress): Measurements {
  const known: Measurements = {
    rotation_failure_count: state.counters.failures,
    incompatibility_detected: state.incompatible,
  };
  if (slot.samples === null || slot.samples.operations === 0) return known;
  const { operations, failures, latencyPercent } = slot.samples;
  const failedPercent = (100 * Math.min(failures, operations)) / operations;
  return {
    ...known,
    service_availability: 100 - failedPercent,
    error_rate: failedPercent,
    performance_degradation: Math.max(0, latencyPercent - 100),
  };
}
