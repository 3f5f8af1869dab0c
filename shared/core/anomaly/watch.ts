/**
 * Looks for anomalies in what layer agents say of themselves: a fold over telemetry, with time in the
 * events and in nothing else. Each agent has its series, by metric; all are bounded in number, and the
 * least recently heard goes first. Telemetry is evidence and no authority: what comes out of here is a
 * finding, and `healing.ts` says which findings are worth an action.
 */

import type { LayerNumber } from '#schemas/layers.ts';
import type { AnomalyRule } from '#schemas/healing.ts';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import { noLevel, stepLevel, type Level, type LevelRule } from './level.ts';
import { noRatio, stepRatio, type Ratio, type RatioRule } from './ratio.ts';
import {
  checkSilence,
  noSilence,
  noteHeartbeat,
  overslept,
  type Silence,
  type SilenceRule,
} from './silence.ts';

export type WatchEvent =
  | {
      readonly kind: 'telemetry';
      readonly agentId: string;
      readonly layer: LayerNumber;
      readonly event: TelemetryEvent;
      /** When it was received. */
      readonly atMs: number;
    }
  | { readonly kind: 'tick'; readonly atMs: number };

/** `raised`: new at this event; `stands`: it goes on; `cleared`: it is over. */
export interface Finding {
  readonly verdict: 'raised' | 'stands' | 'cleared';
  readonly agentId: string;
  readonly layer: LayerNumber;
  readonly metric: string;
  readonly rule: AnomalyRule;
  readonly slot?: string;
  readonly version?: number;
  readonly observed: number;
  readonly expected: number;
  readonly threshold: number;
  readonly samples: number;
  /** The span that was looked at. */
  readonly windowMs: number;
  readonly atMs: number;
}

/** A number that counts up since its process began, and when it was last told. */
interface Counter {
  readonly value: number;
  readonly atMs: number;
}

interface Watched {
  readonly layer: LayerNumber;
  readonly silence: Silence;
  readonly levels: ReadonlyMap<string, Level>;
  readonly counters: ReadonlyMap<string, Counter>;
  readonly ratios: ReadonlyMap<string, Ratio>;
}

export interface WatchState {
  /** The last tick, which tells whether the watcher itself was awake. */
  readonly tickedAtMs?: number;
  readonly agents: ReadonlyMap<string, Watched>;
}

export interface WatchStep {
  readonly state: WatchState;
  readonly findings: readonly Finding[];
}

export interface WatchRules {
  readonly level: LevelRule;
  readonly rate: LevelRule;
  readonly ratio: RatioRule;
  readonly silence: SilenceRule;
}

const common = { deviations: 8, raiseAfter: 3, clearAfter: 5, learnAnewAfter: 180 };

export const watchRules: WatchRules = {
  level: { ...common, sides: 'both', floor: { absolute: 1e-9, relative: 0.1, root: 0 } },
  // Counts within ten seconds: a Poisson process deviates by the root of its mean.
  rate: { ...common, sides: 'above', floor: { absolute: 1, relative: 0.1, root: 1 } },
  ratio: {
    recentReports: 3,
    pastMin: 100,
    recentMin: 20,
    usualMin: 0.005,
    marginMin: 0.05,
    chance: 1e-6,
    burst: 4,
    clearAfter: 5,
  },
  silence: { pauses: 5, deviations: 12, leastMs: 5_000 },
};

export const watchedAgentsMax = 64;
export const seriesPerAgentMax = 96;
/** Rates are counts within this span. */
const rateSpanMs = 10_000;

export const nothingWatched: WatchState = { agents: new Map() };

/** Metrics that count up since the start of their process: their rates are looked at. */
export function isCounter(metric: string): boolean {
  return (
    metric.startsWith('refused-') || metric.startsWith('integrity-') || metric.endsWith('-dropped')
  );
}

export function stepWatch(
  state: WatchState,
  event: WatchEvent,
  rules: WatchRules = watchRules,
): WatchStep {
  if (event.kind === 'tick') return tick(state, event.atMs, rules);
  const { agentId, layer } = event;
  const known = state.agents.get(agentId);
  if (known === undefined && state.agents.size >= watchedAgentsMax) return { state, findings: [] };
  const watched = known ?? { ...nothing, layer };
  const { watched: next, findings } = hear(watched, event, rules);
  return {
    state: { ...state, agents: put(state.agents, agentId, next, watchedAgentsMax) },
    findings,
  };
}

const nothing = {
  silence: noSilence,
  levels: new Map<string, Level>(),
  counters: new Map<string, Counter>(),
  ratios: new Map<string, Ratio>(),
};

type Heard = Extract<WatchEvent, { kind: 'telemetry' }>;
interface Hearing {
  readonly watched: Watched;
  readonly findings: readonly Finding[];
}

function hear(watched: Watched, heard: Heard, rules: WatchRules): Hearing {
  const { event, atMs } = heard;
  switch (event.kind) {
    case 'heartbeat':
      return {
        watched: { ...watched, silence: noteHeartbeat(watched.silence, atMs) },
        findings: [],
      };
    case 'measurement': {
      const { metric, value } = event;
      return isCounter(metric)
        ? counted(watched, heard, { metric, value, rules })
        : measured(watched, heard, { metric, value, rule: 'level', rules });
    }
    case 'usage':
      return used(watched, heard, rules);
  }
}

function measured(
  watched: Watched,
  { agentId, layer, atMs }: Heard,
  about: { metric: string; value: number; rule: 'level' | 'rate'; rules: WatchRules },
): Hearing {
  const { metric, value, rule, rules } = about;
  if (!Number.isFinite(value)) return { watched, findings: [] };
  const step = stepLevel(watched.levels.get(metric) ?? noLevel, value, rules[rule]);
  const levels = put(watched.levels, metric, step.level, seriesPerAgentMax);
  const windowMs = rule === 'rate' ? rateSpanMs : 0;
  const about2 = { agentId, layer, metric, rule, windowMs, atMs };
  return {
    watched: { ...watched, levels },
    findings: step.finding === undefined ? [] : [{ ...about2, ...step.finding }],
  };
}

/** The growth of a counter; a smaller one is another start of its process. */
function counted(
  watched: Watched,
  heard: Heard,
  { metric, value, rules }: { metric: string; value: number; rules: WatchRules },
): Hearing {
  const { atMs } = heard.event;
  const last = watched.counters.get(metric);
  const counters = put(watched.counters, metric, { value, atMs }, seriesPerAgentMax);
  const next = { ...watched, counters };
  const spanMs = last === undefined ? 0 : atMs - last.atMs;
  if (last === undefined || spanMs <= 0 || value < last.value)
    return { watched: next, findings: [] };
  const rate = ((value - last.value) * rateSpanMs) / spanMs;
  return measured(next, heard, { metric, value: rate, rule: 'rate', rules });
}

/** A new version of a key is a new series: what is usual for it is learnt, and nothing is carried over. */
function used(watched: Watched, heard: Heard, rules: WatchRules): Hearing {
  const { agentId, layer, event, atMs } = heard;
  if (event.kind !== 'usage') return { watched, findings: [] };
  const { slot, version, operations, failures } = event;
  const name = `${slot}#${version}`;
  const step = stepRatio(
    watched.ratios.get(name) ?? noRatio,
    { operations, failures },
    rules.ratio,
  );
  const ratios = put(watched.ratios, name, step.ratio, seriesPerAgentMax);
  const about = { agentId, layer, metric: 'failure-ratio', rule: 'ratio', slot, version } as const;
  return {
    watched: { ...watched, ratios },
    findings: step.finding === undefined ? [] : [{ ...about, ...step.finding, windowMs: 0, atMs }],
  };
}

/** Between two ticks the watcher was asleep for what is more than this: nobody is called silent for it. */
const tickGapMs = 500;

function tick(state: WatchState, atMs: number, rules: WatchRules): WatchStep {
  const findings: Finding[] = [];
  const sleptMs = Math.max(0, atMs - (state.tickedAtMs ?? atMs) - tickGapMs);
  const agents = new Map(state.agents);
  for (const [agentId, watched] of state.agents) {
    const awake = overslept(watched.silence, sleptMs);
    const { silence, finding } = checkSilence(awake, atMs, rules.silence);
    if (silence === watched.silence) continue;
    agents.set(agentId, { ...watched, silence });
    if (finding === undefined) continue;
    const about = { agentId, layer: watched.layer, metric: 'heartbeat', rule: 'silence' } as const;
    findings.push({ verdict: 'raised', ...about, ...finding, windowMs: finding.observed, atMs });
  }
  return { state: { agents, tickedAtMs: atMs }, findings };
}

/** The least recently told goes when there is no more room. */
function put<Value>(
  map: ReadonlyMap<string, Value>,
  key: string,
  value: Value,
  entriesMax: number,
): ReadonlyMap<string, Value> {
  const next = new Map(map);
  next.delete(key);
  next.set(key, value);
  const oldest = next.size > entriesMax ? next.keys().next().value : undefined;
  if (oldest !== undefined) next.delete(oldest);
  return next;
}
