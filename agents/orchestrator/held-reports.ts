/**
 * Reports that wait to become part of an entry: of every agent the latest ones, so that whoever
 * reports on steps that nobody asked for pushes out nothing but its own. A report counts for the step
 * of its own agent only (invariant 12).
 */

import type { StepReport } from '#schemas/saga.ts';

type Step = Pick<StepReport, 'agentId' | 'operation'> & { readonly id: string };

/** Of one agent; it has a few steps under way at a time. */
const reportsPerAgentMax = 64;

export class HeldReports {
  /** By agent, then by the step that they answer; the oldest first. */
  readonly #agents = new Map<string, Map<string, StepReport>>();

  /** The latest report on a step is kept. */
  hold(report: StepReport): void {
    const held = this.#agents.get(report.agentId) ?? new Map<string, StepReport>();
    this.#agents.set(report.agentId, held);
    const name = nameOf(report);
    held.delete(name);
    held.set(name, report);
    const [oldest] = held.keys();
    if (held.size > reportsPerAgentMax && oldest !== undefined) held.delete(oldest);
  }

  of({ id: commandId, agentId, operation }: Step): StepReport | undefined {
    return this.#agents.get(agentId)?.get(nameOf({ commandId, operation }));
  }

  /** Those that have been dealt with; one that came meanwhile stays. */
  drop(reports: readonly StepReport[]): void {
    for (const report of reports) {
      const held = this.#agents.get(report.agentId);
      if (held?.get(nameOf(report)) === report) held.delete(nameOf(report));
    }
  }

  clear(): void {
    this.#agents.clear();
  }
}

function nameOf({ commandId, operation }: Pick<StepReport, 'commandId' | 'operation'>): string {
  return `${operation} ${commandId}`;
}
