/** The figures of a run, as text and for scripts. */
import { cpus, release, totalmem } from 'node:os';
import type { FaultKind } from './faults.ts';
import type { Reckoning } from './invariants.ts';

export interface Recovery {
  readonly faults: readonly FaultKind[];
  /** From the end of the last fault until every agent was ready and a rotation had gone on. */
  readonly ms: number;
}

export interface Report extends Reckoning {
  readonly seed: number;
  readonly durationMs: number;
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  /** Kinds for which this machine has no means. */
  readonly notTested: readonly FaultKind[];
  readonly recoveries: readonly Recovery[];
  /** What operators were told, by code. */
  readonly told: Readonly<Record<string, number>>;
  /** Errors in the logs of the agents. */
  readonly logged: Readonly<Record<string, number>>;
  readonly restarts: number;
  /** Servers whose store was thrown away because damage kept them from coming back. */
  readonly rebuilt: number;
  readonly natsVersion: string;
  readonly folder: string;
}

const gibibyte = 2 ** 30;

export function reportText(report: Report): string {
  const recoveries = report.recoveries.map(({ ms }) => ms).toSorted((a, b) => a - b);
  const injected = Object.values(report.faults).reduce((sum, count) => sum + count, 0);
  const slowest = report.recoveries.toSorted((a, b) => b.ms - a.ms).slice(0, 3);
  const [cpu] = cpus();
  const verdict = report.violations.length === 0 ? 'everything holds' : 'VIOLATIONS';
  return [
    `chaos: ${verdict} after ${seconds(report.durationMs)}, seed ${report.seed}`,
    `  faults     ${injected} injected, ${Object.keys(report.faults).length} kinds`,
    ...Object.entries(report.faults).map(
      ([kind, count]) => `    ${String(count).padStart(4)}  ${kind}`,
    ),
    ...report.notTested.map((kind) => `    NOT TESTED: ${kind}: this machine has no means for it`),
    `  rotations  ${listed(report.rotations)}`,
    `  operators  ${listed(report.told)}`,
    `  audit      ${report.events} events; ${report.acknowledged} acknowledged control events`,
    `  lost       ${report.lost}`,
    `  doubled    ${report.doubled}`,
    `  recovery   median ${seconds(quantile(recoveries, 0.5))}, p99 ${seconds(quantile(recoveries, 0.99))}, max ${seconds(recoveries.at(-1) ?? 0)} (${recoveries.length} times)`,
    ...slowest.map(({ ms, faults }) => `    ${seconds(ms).padStart(8)}  ${faults.join(' + ')}`),
    `  processes  agents restarted ${report.restarts} times; ${report.rebuilt} stores rebuilt by hand`,
    ...Object.entries(report.logged).map(([name, count]) => `    logged ${count} × ${name}`),
    `  machine    ${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / gibibyte)} GiB, ${process.platform} ${release()}`,
    `  versions   node ${process.versions.node}, nats-server ${report.natsVersion}, three servers, three replicas, sync always`,
    ...report.violations.slice(0, 50).map((violation) => `  VIOLATION: ${violation}`),
    ...(report.violations.length === 0 ? [] : [`  the mesh is kept in ${report.folder}`]),
  ].join('\n');
}

/** Nearest rank; 0 of none. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

function listed(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}
