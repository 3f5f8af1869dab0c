/** What one run of the simulator found, and what many of them add up to. Plain data: it goes between processes. */

const invariants = Array.from({ length: 15 }, (_, index) => index + 1);

export interface Finding {
  /** 1 to 15; 0 for a process that ended by an error that no fault explains. */
  readonly invariant: number;
  readonly agent: string;
  readonly what: string;
}

export interface RunResult {
  readonly seed: number;
  /** Of the whole trace, hexadecimal. */
  readonly traceHash: string;
  readonly simulatedMs: number;
  /** Messages that the bus stored. */
  readonly events: number;
  /** Starts of processes beyond the first of each. */
  readonly restarts: number;
  /** Places at which a process could have died. */
  readonly crashPoints: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Rotations by the phase in which they came to rest. */
  readonly rotations: Readonly<Record<string, number>>;
  /** How often the checker of each invariant looked at something. */
  readonly checks: Readonly<Record<string, number>>;
  /** What sort of world it was: its extent, and what it had that not all have. */
  readonly kinds: readonly string[];
  /** How many faults and activities the seed drew. */
  readonly drawn: { readonly faults: number; readonly activities: number };
  readonly findings: readonly Finding[];
}

export interface Totals {
  runs: number;
  failed: number[];
  simulatedMs: number;
  events: number;
  restarts: number;
  crashPoints: number;
  faults: Record<string, number>;
  rotations: Record<string, number>;
  checks: Record<string, number>;
  /** Worlds by what they were. */
  kinds: Record<string, number>;
}

export function noTotals(): Totals {
  return {
    runs: 0,
    failed: [],
    simulatedMs: 0,
    events: 0,
    restarts: 0,
    crashPoints: 0,
    faults: {},
    rotations: {},
    checks: {},
    kinds: {},
  };
}

export function addRun(totals: Totals, run: RunResult): void {
  totals.runs += 1;
  if (run.findings.length > 0) totals.failed.push(run.seed);
  totals.simulatedMs += run.simulatedMs;
  totals.events += run.events;
  totals.restarts += run.restarts;
  totals.crashPoints += run.crashPoints;
  addCounts(totals.faults, run.faults);
  addCounts(totals.rotations, run.rotations);
  addCounts(totals.checks, run.checks);
  for (const kind of run.kinds) addCounts(totals.kinds, { [kind]: 1 });
}

export function addCounts(
  counts: Record<string, number>,
  more: Readonly<Record<string, number>>,
): void {
  for (const [name, count] of Object.entries(more)) counts[name] = (counts[name] ?? 0) + count;
}

/** One line, but for what is told in several. */
export function findingText({ invariant, agent, what }: Finding): string {
  return `invariant ${invariant}${agent === '' ? '' : `, ${agent}`}: ${what}`;
}

/** `crash 12, delay 3`, by rising name. */
export function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

/** `1: 49, 2: 84`, by rising number, and those that nothing was looked at for. */
export function checksText(checks: Readonly<Record<string, number>>): string {
  const named = Object.keys(checks).map(Number);
  const numbers = [...new Set([...invariants, ...named])].toSorted((one, other) => one - other);
  const countOf = (number: number): number => checks[number] ?? 0;
  const looked = numbers.filter((number) => countOf(number) > 0);
  const never = numbers.filter((number) => countOf(number) === 0);
  return [
    ...(looked.length === 0 ? [] : [looked.map((each) => `${each}: ${countOf(each)}`).join(', ')]),
    ...(never.length === 0 ? [] : [`none of ${never.join(', ')}`]),
  ].join('; ');
}

export function totalsText(totals: Totals): string {
  const { runs, failed, simulatedMs, events, restarts, crashPoints } = totals;
  const checks = Object.values(totals.checks).reduce((sum, count) => sum + count, 0);
  return [
    `seeds              ${runs}, ${failed.length} failed`,
    `worlds             ${countsText(totals.kinds)}`,
    `simulated          ${(simulatedMs / 3_600_000).toFixed(1)} hours`,
    `events on the bus  ${events}`,
    `restarts           ${restarts} (${crashPoints} places to die at were passed)`,
    `faults             ${countsText(totals.faults) || 'none'}`,
    `rotations          ${countsText(totals.rotations) || 'none'}`,
    `invariant checks   ${checks} (${checksText(totals.checks)})`,
  ].join('\n');
}
