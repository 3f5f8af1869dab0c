/** Reports that wait: nobody pushes out or overwrites what another agent said. */
import { expect, test } from 'vitest';
import type { StepReport } from '#schemas/saga.ts';
import { HeldReports } from '#agents/orchestrator/held-reports.ts';

function report(agentId: string, commandId: string, number = 0): StepReport {
  const name = number.toString(16).padStart(64, '0');
  return { report: name, commandId, agentId, operation: 'accept', status: 'done', slots: [] };
}

const step = { id: 'rot-1-9-1', agentId: 'network-a', operation: 'accept' } as const;

test('a flood of one agent leaves the report of another where it is', () => {
  const held = new HeldReports();
  held.hold(report('network-a', step.id));
  for (let count = 0; count < 2_000; count += 1) held.hold(report('phi-a', `rot-1-${count}-1`));
  held.hold(report('phi-a', step.id, 7));
  expect(held.of(step)).toEqual(report('network-a', step.id));
  expect(held.of({ ...step, operation: 'retire' })).toBeUndefined();
});

test('the latest report stands, and one that came meanwhile is not dropped with the former', () => {
  const held = new HeldReports();
  const [former, latest] = [report('network-a', step.id, 1), report('network-a', step.id, 2)];
  held.hold(former);
  held.hold(latest);
  held.drop([former]);
  expect(held.of(step)).toBe(latest);
  held.drop([latest]);
  expect(held.of(step)).toBeUndefined();
});
