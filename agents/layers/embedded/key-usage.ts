/**
 * How the keys of the slots are used: counted per version, with a sample of latencies, in memory and
 * in bounded space. From it come two answers: whether a key was used lately (then it is not
 * destroyed) and how the new key fares (then the soak may end).
 *
 * A restart forgets the counts. Until one window has passed after a start it is unknown whether an
 * older key was used lately, and unknown counts as used.
 */

import type { Samples } from '#schemas/saga.ts';
import type { Clock } from '#shared/runtime/ports.ts';

export interface KeyUse {
  readonly slot: string;
  readonly version: number;
  readonly operation: string;
  readonly durationMs: number;
  readonly failed: boolean;
}

/** Uses of one version of a slot's key since they were last taken. */
export interface UsageCount {
  readonly slot: string;
  readonly version: number;
  readonly operations: number;
  readonly failures: number;
}

interface Usage {
  operations: number;
  failures: number;
  /** Latest latencies by operation. */
  latenciesMs: Map<string, number[]>;
  /** Uses in each sixteenth of the window and in the one before it, oldest first. */
  buckets: { startMs: number; uses: number }[];
}

const bucketsPerWindow = 16;
const latenciesMax = 128;
const operationsMax = 16;
const countedVersionsMax = 64;
/** Below this many samples of both keys a comparison would be noise. */
const comparableMin = 20;
const latencyPercentMax = 1_000_000;

export class KeyUsage {
  readonly #clock: Clock;
  readonly #windowMs: number;
  readonly #startedMs: number;
  readonly #usages = new Map<string, Usage>();
  /** For telemetry: goes on through activations, and is emptied by whoever takes it. */
  #counts = new Map<string, UsageCount>();

  /** `windowMs`: how far back `usesLately` looks. */
  constructor(clock: Clock, windowMs: number) {
    this.#clock = clock;
    this.#windowMs = windowMs;
    this.#startedMs = clock.monotonicMs();
  }

  record(use: KeyUse): void {
    const usage = this.#usageOf(use.slot, use.version);
    usage.operations += 1;
    if (use.failed) usage.failures += 1;
    this.#note(use);
    this.#count(usage);
    const latencies = usage.latenciesMs.get(use.operation) ?? [];
    if (latencies.length === 0 && usage.latenciesMs.size >= operationsMax) return;
    if (latencies.length >= latenciesMax) latencies.shift();
    latencies.push(use.durationMs);
    usage.latenciesMs.set(use.operation, latencies);
  }

  usesLately(slot: string, version: number): number {
    const nowMs = this.#clock.monotonicMs();
    const usage = this.#usages.get(nameOf(slot, version));
    // The oldest bucket may have begun before the window and end in it.
    const fromMs = nowMs - this.#windowMs - this.#windowMs / bucketsPerWindow;
    const buckets = usage?.buckets.filter(({ startMs }) => startMs >= fromMs) ?? [];
    const uses = buckets.reduce((sum, bucket) => sum + bucket.uses, 0);
    return nowMs - this.#startedMs < this.#windowMs ? Math.max(1, uses) : uses;
  }

  /** Use of `version` since `begin`, its latency relative to the one of `before`. */
  samples(slot: string, version: number, before: number | undefined): Samples {
    const usage = this.#usages.get(nameOf(slot, version));
    const earlier = before === undefined ? undefined : this.#usages.get(nameOf(slot, before));
    return {
      operations: usage?.operations ?? 0,
      failures: usage?.failures ?? 0,
      latencyPercent: latencyPercent(usage, earlier),
    };
  }

  /** What was counted since the last call; at most 64 versions, uses of further ones are left out. */
  takeCounts(): UsageCount[] {
    const counts = [...this.#counts.values()];
    this.#counts = new Map();
    return counts;
  }

  /** The key became primary: what was counted of it before is left behind. */
  begin(slot: string, version: number): void {
    const buckets = this.#usages.get(nameOf(slot, version))?.buckets ?? [];
    const usage = { operations: 0, failures: 0, latenciesMs: new Map<string, number[]>(), buckets };
    this.#usages.set(nameOf(slot, version), usage);
  }

  /** The key is gone. */
  forget(slot: string, version: number): void {
    this.#usages.delete(nameOf(slot, version));
  }

  #note({ slot, version, failed }: KeyUse): void {
    const name = nameOf(slot, version);
    const before = this.#counts.get(name);
    if (before === undefined && this.#counts.size >= countedVersionsMax) return;
    const operations = (before?.operations ?? 0) + 1;
    const failures = (before?.failures ?? 0) + (failed ? 1 : 0);
    this.#counts.set(name, { slot, version, operations, failures });
  }

  #usageOf(slot: string, version: number): Usage {
    const name = nameOf(slot, version);
    const known = this.#usages.get(name);
    if (known !== undefined) return known;
    const usage = {
      operations: 0,
      failures: 0,
      latenciesMs: new Map<string, number[]>(),
      buckets: [],
    };
    this.#usages.set(name, usage);
    return usage;
  }

  #count(usage: Usage): void {
    const spanMs = this.#windowMs / bucketsPerWindow;
    const nowMs = this.#clock.monotonicMs();
    const last = usage.buckets.at(-1);
    if (last !== undefined && nowMs - last.startMs < spanMs) {
      last.uses += 1;
      return;
    }
    usage.buckets.push({ startMs: nowMs, uses: 1 });
    if (usage.buckets.length > bucketsPerWindow + 2) usage.buckets.shift();
  }
}

/** Medians of the operations that both keys have enough samples of; 100 where there is none. */
function latencyPercent(usage: Usage | undefined, earlier: Usage | undefined): number {
  let [newMs, oldMs] = [0, 0];
  for (const [operation, latencies] of usage?.latenciesMs ?? []) {
    const others = earlier?.latenciesMs.get(operation) ?? [];
    if (latencies.length < comparableMin || others.length < comparableMin) continue;
    newMs += median(latencies);
    oldMs += median(others);
  }
  if (oldMs === 0) return 100;
  return Math.min(latencyPercentMax, Math.round((100 * newMs) / oldMs));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function nameOf(slot: string, version: number): string {
  return `${slot}#${version}`;
}
