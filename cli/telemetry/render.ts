/** Telemetry as text: one line per agent, and the events that can be proven where one was named. */
import type { AgentTelemetrySummary, TelemetryEvent, TelemetryRecent } from '#schemas/telemetry.ts';
import { fingerprint, span, table, type Style } from '../style.ts';
import type { Proven, WrittenProof } from './actions.ts';

export function renderRecent({ agents }: TelemetryRecent, style: Style, isOne: boolean): string {
  const head = [
    'agent',
    'heartbeat',
    'registry',
    'policy',
    'missed',
    'batches',
    'events',
    'uses',
    'failures',
  ];
  const rows = agents.map((agent) => [
    agent.agentId,
    heartbeatText(agent, style),
    String(agent.documents?.registry ?? ''),
    String(agent.documents?.policy ?? ''),
    String(agent.missed),
    String(agent.batches),
    String(agent.events),
    String(sumOf(agent, 'operations')),
    String(sumOf(agent, 'failures')),
  ]);
  const overview = table([head.map((name) => style.dim(name)), ...rows]);
  const [agent] = agents;
  if (!isOne || agent === undefined) return overview;
  return [overview, ...details(agent, style)].join('\n');
}

export function renderWritten({ file, rootDigest, ...proven }: WrittenProof): string {
  return [
    ...provenLines(proven),
    `written to ${file}`,
    `check it anywhere: gyre telemetry verify ${file} --root ${rootDigest}`,
  ].join('\n');
}

export function renderProven(proven: Proven, style: Style): string {
  return [style.good('the proof holds'), ...provenLines(proven)].join('\n');
}

function provenLines({ agentId, layer, atMs, batch, index, count, event }: Proven): string[] {
  return [
    `  ${agentId} of layer ${layer} said at ${new Date(atMs).toISOString()}: ${eventText(event)}`,
    `  event ${index + 1} of ${count} in batch ${batch}`,
  ];
}

function details({ measurements, usage, recent }: AgentTelemetrySummary, style: Style): string[] {
  return [
    ...measurements.map(({ metric, value }) => `  ${metric}  ${value}`),
    ...usage.map(
      ({ slot, version, algorithm, operations, failures }) =>
        `  ${slot} v${version}  ${algorithm}  ${operations} uses, ${failures} failures`,
    ),
    '',
    table(
      [
        ['batch', 'index', 'event'].map((name) => style.dim(name)),
        ...recent.map(({ batch, index, event }) => [
          fingerprint(batch),
          String(index),
          eventText(event),
        ]),
      ],
      2,
    ),
  ];
}

function heartbeatText({ heartbeat, silent, silentMs }: AgentTelemetrySummary, style: Style) {
  const text = heartbeat === undefined ? `none for ${span(silentMs)}` : `${span(silentMs)} ago`;
  return silent ? style.failed(`${text}, silent`) : text;
}

function sumOf({ usage }: AgentTelemetrySummary, what: 'operations' | 'failures'): number {
  return usage.reduce((sum, each) => sum + each[what], 0);
}

function eventText(event: TelemetryEvent): string {
  switch (event.kind) {
    case 'heartbeat':
      return `heartbeat ${event.sequence}`;
    case 'measurement':
      return `${event.metric} ${event.value}`;
    case 'usage':
      return `${event.slot} v${event.version}: ${event.operations} uses, ${event.failures} failures`;
  }
}
