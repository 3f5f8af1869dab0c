/**
 * Invariant 8: a command has its effect at most once in our own stores. A rotation makes one new version
 * per slot, numbered one above the highest; what a step ended as stays, and every report of it that
 * says done says the same.
 */

import type { StepReported } from '#schemas/steps.ts';
import type { AgentView, Change, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';
import { openStepOf, turnOf } from './open-steps.ts';

/** Steps are remembered longer than this (60 days); before that none goes. */
const rememberedMsMin = 50 * 24 * 3_600_000;

export class EffectsOnce extends BaseChecker {
  readonly invariant = 8;
  readonly name = 'each command has one effect and one outcome';
  readonly kinds = ['key', 'candidate', 'step', 'message'] as const;
  /** `<agent> <slot> <saga>` → version. */
  readonly #made = new Map<string, number>();
  readonly #reports = new Map<string, string>();
  /** Steps that were reported as done: what they ended as stays. */
  readonly #done = new Set<string>();
  readonly #endedMs = new Map<string, number>();

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    switch (change.kind) {
      case 'key':
        return this.#prepared(observation, change);
      case 'candidate':
        return this.#named(observation, change);
      case 'step':
        return this.#ended(observation, change);
      case 'message':
        return this.#reported(observation, change.message);
      default:
        return nothing;
    }
  }

  #prepared(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'key' }>,
  ): readonly Violation[] {
    if (after === undefined || turnOf(before, after) !== 'prepared') return nothing;
    this.looked += 1;
    const { slot, version, keyId } = after;
    const agent = observation.agents.get(agentId);
    const others = [...(agent?.keys.get(slot)?.keys() ?? [])].filter((other) => other !== version);
    const highest = Math.max(0, ...others, ...numbersOf(agent, slot, keyId));
    const found: Violation[] = [];
    if (version !== highest + 1) {
      const what = `${slot} got version ${version} after ${highest}`;
      found.push(this.violation(observation, { agentId, what, about: [keyId] }));
    }
    const step = agent && openStepOf(agent, slot, ['prepare']);
    const due = step?.task.slots.find((each) => each.slot === slot)?.newVersion;
    if (due !== version) {
      const what = `${slot} got version ${version}, and its preparation names ${due ?? 'none'}`;
      found.push(this.violation(observation, { agentId, what, about: [keyId] }));
    }
    // A number that was meant for a rotation and never given is free again.
    const taken = [...(agent?.candidates.values() ?? [])].find(
      (other) => other.slot === slot && other.version === version && other.keyId !== undefined,
    );
    if (taken === undefined || taken.keyId === keyId) return found;
    const what = `version ${version} of ${slot} was given before`;
    return [...found, this.violation(observation, { agentId, what, about: [taken.sagaId] })];
  }

  #named(
    observation: Observation,
    { agentId, before, after }: Extract<Change, { kind: 'candidate' }>,
  ): readonly Violation[] {
    if (after === undefined) return nothing;
    this.looked += 1;
    const { slot, sagaId, version, keyId } = after;
    const name = `${agentId} ${slot} ${sagaId}`;
    const made = this.#made.get(name);
    this.#made.set(name, version);
    const isOther =
      (made !== undefined && made !== version) ||
      (before?.keyId !== undefined && before.keyId !== keyId);
    if (!isOther) return nothing;
    const what = `a second new key of ${slot} in one rotation: ${version} after ${made ?? version}`;
    return [this.violation(observation, { agentId, what, about: [sagaId, keyId ?? ''] })];
  }

  #ended(
    observation: Observation,
    { agentId, before, after, timeMs }: Extract<Change, { kind: 'step' }>,
  ): readonly Violation[] {
    const stepKey = after?.stepKey ?? before?.stepKey ?? '';
    const name = `${agentId} ${stepKey}`;
    if (before?.report === undefined) {
      if (after?.report !== undefined) this.#endedMs.set(name, timeMs);
      if (after === undefined) {
        const what = `the intent of ${stepKey} is gone without an outcome`;
        return [this.violation(observation, { agentId, what })];
      }
      return nothing;
    }
    this.looked += 1;
    if (after === undefined) {
      const ageMs = timeMs - (this.#endedMs.get(name) ?? 0) + observation.clockErrorMsMax;
      if (ageMs >= rememberedMsMin) return nothing;
      const what = `the outcome of ${stepKey} was forgotten`;
      return [this.violation(observation, { agentId, what })];
    }
    const what = `the outcome of ${stepKey} changed`;
    return [this.violation(observation, { agentId, what })];
  }

  #reported(observation: Observation, message: ObservedMessage): readonly Violation[] {
    const report = bodyOf(message, 'step-reported');
    if (report === undefined) return nothing;
    this.looked += 1;
    const agentId = message.sender;
    const step = [agentId, report.commandId, report.sagaIndex, report.operation].join(' ');
    if (report.status !== 'done') {
      if (!this.#done.has(step)) return nothing;
      const what = `${report.commandId} (${report.operation}) was done, and now it failed`;
      return [this.violation(observation, { agentId, what, about: [message.hash] })];
    }
    this.#done.add(step);
    const slots = report.slots.map(({ slot }) => slot);
    const name = [agentId, report.commandId, report.operation, ...slots].join(' ');
    const said = outcomeText(report);
    const before = this.#reports.get(name);
    this.#reports.set(name, said);
    if (before === undefined || before === said) return nothing;
    const what = `two outcomes of ${report.commandId} (${report.operation}): ${before} and ${said}`;
    return [this.violation(observation, { agentId, what, about: [message.hash] })];
  }
}

/** Of keys that the agent accepted before it came to own the slot, and of those that it made. */
function numbersOf(agent: AgentView | undefined, slot: string, keyId: string): number[] {
  return [...(agent?.candidates.values() ?? []), ...(agent?.peers.values() ?? [])].flatMap(
    (each) =>
      each.slot === slot && each.keyId !== undefined && each.keyId !== keyId ? [each.version] : [],
  );
}

function outcomeText({ slots }: StepReported): string {
  return slots.map(({ slot, version, keyId }) => `${slot} ${version} ${keyId}`).join(', ');
}
