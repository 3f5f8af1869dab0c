/**
 * What users saw, by the phase in which they asked: requests, failures by step and code, how long single
 * requests took. A phase that is begun again goes on where it was.
 */
import { table } from '#cli/style.ts';
import type { Measured } from './stack-user.ts';

export interface PhaseReport {
  readonly phase: string;
  readonly seconds: number;
  readonly requests: number;
  /** Milliseconds, of single requests. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
  /** `step: CODE` to how often. */
  readonly failures: Readonly<Record<string, number>>;
  readonly failed: number;
  /** Broken connections that were tried once more. */
  readonly retries: number;
}

interface Phase {
  lastedMs: number;
  retries: number;
  readonly tookMs: number[];
  readonly failures: Map<string, number>;
}

export class PhaseBook {
  readonly #retries: () => number;
  readonly #phases = new Map<string, Phase>();
  #name: string;
  #beganMs = performance.now();
  #retriesBefore = 0;

  /** `retries`: how often a broken connection was tried once more, since the start. */
  constructor(first: string, retries: () => number) {
    this.#retries = retries;
    this.#name = first;
  }

  /** What comes from now on is counted under this name. */
  begin(name: string): void {
    this.#close();
    this.#name = name;
  }

  note({ step, tookMs, failure }: Measured): void {
    const { tookMs: all, failures } = this.#phase();
    if (failure === undefined) all.push(tookMs);
    else failures.set(`${step}: ${failure}`, (failures.get(`${step}: ${failure}`) ?? 0) + 1);
  }

  reports(): readonly PhaseReport[] {
    this.#close();
    return [...this.#phases].map(([name, phase]) => reportOf(name, phase));
  }

  #phase(): Phase {
    const known = this.#phases.get(this.#name);
    if (known !== undefined) return known;
    const phase = { lastedMs: 0, retries: 0, tookMs: [], failures: new Map<string, number>() };
    this.#phases.set(this.#name, phase);
    return phase;
  }

  #close(): void {
    const phase = this.#phase();
    const nowMs = performance.now();
    const retries = this.#retries();
    phase.lastedMs += nowMs - this.#beganMs;
    phase.retries += retries - this.#retriesBefore;
    this.#beganMs = nowMs;
    this.#retriesBefore = retries;
  }
}

export function sumOf(
  reports: readonly PhaseReport[],
  what: 'requests' | 'failed' | 'retries',
): number {
  return reports.reduce((sum, report) => sum + report[what], 0);
}

/** A line for each phase, and one under it for everything that failed in it. */
export function phaseTable(reports: readonly PhaseReport[], indent = 0): string {
  const head = ['', 'seconds', 'requests', 'failed', 'tried again', 'p50 ms', 'p99 ms', 'longest'];
  const rows = reports.flatMap((report) => [
    [
      report.phase,
      report.seconds.toFixed(1),
      String(report.requests),
      String(report.failed),
      String(report.retries),
      ...[report.p50, report.p99, report.longest].map((ms) => ms.toFixed(1)),
    ],
    ...Object.entries(report.failures).map(([what, count]) => [`  ${what}`, '', '', `${count}`]),
  ]);
  return table([head, ...rows], indent);
}

function reportOf(phase: string, { lastedMs, retries, tookMs, failures }: Phase): PhaseReport {
  const sorted = tookMs.toSorted((one, other) => one - other);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  const failed = [...failures.values()].reduce((sum, count) => sum + count, 0);
  return {
    phase,
    seconds: lastedMs / 1_000,
    requests: sorted.length + failed,
    p50: at(0.5),
    p99: at(0.99),
    longest: at(1),
    failures: Object.fromEntries(failures),
    failed,
    retries,
  };
}
