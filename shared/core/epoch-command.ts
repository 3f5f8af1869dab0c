/**
 * What is to be done next for one channel's epochs: from the state that its log folds to, the time, and
 * what an orchestrator sees of the mesh. Any orchestrator comes to the same command, and the log's
 * optimistic append lets one of them carry it out. A secret is given up only after the grace, not while a
 * saga that began under it is under way, and not before the auditors have read what was sealed under it,
 * for as long as they are waited for.
 */

import type { EpochCause } from '#schemas/epoch.ts';
import type { ChannelRules } from '#schemas/policy.ts';
import {
  activeEpoch,
  isOverfull,
  pendingEpoch,
  type EpochRecord,
  type EpochState,
} from './epoch.ts';

/** Lives of an epoch for which an auditor that is away is waited for. */
const auditPatienceEpochs = 24;
/**
 * Times of acceptance for which a keeper is waited for: without it the epoch is given up, and all that
 * everyone did for it is done once more, by the same busy machines.
 */
const keeperPatience = 4;

/** What an orchestrator sees of a channel beside its log. */
export interface EpochSituation {
  readonly nowMs: number;
  readonly rules: ChannelRules;
  /** Of those who may hold the secret now. */
  readonly entitledDigest: string;
  /** Running members of the channel, and which of them have a prekey that was not used. */
  readonly candidates: readonly string[];
  readonly prekeyed: ReadonlySet<string>;
  /** Those without whom no epoch comes into use: who keeps the secrets at rest. */
  readonly keepers: readonly string[];
  /** Since when this orchestrator looks, and whether it misses the secret in use all that time. */
  readonly lookingSinceMs: number;
  readonly isLost: boolean;
  /** Messages under the epoch in use, and whether a sender has used up its chain. */
  readonly messages: number;
  /** Rekeying that somebody asked for: when by his clock, and where in the stream. */
  readonly wish: {
    readonly cause: 'operator' | 'suspicion';
    readonly atMs: number;
    readonly sequence: number;
  } | null;
  /** What two clocks may differ by. */
  readonly skewMs: number;
  /** When the oldest saga that still needs this channel began; null where there is none. */
  readonly sagaSinceMs: number | null;
  /** Epochs of which every auditor has taken in all that was sealed before their grace was over. */
  readonly audited: ReadonlySet<number>;
  /** Documents have run out: nothing new is opened. */
  readonly isStale: boolean;
}

export type EpochCommand =
  | {
      readonly type: 'announce';
      readonly epoch: number;
      readonly cause: EpochCause;
      readonly members: readonly string[];
    }
  | {
      readonly type: 'activate';
      readonly epoch: number;
      readonly accepted: readonly string[];
      readonly absent: readonly string[];
    }
  | {
      readonly type: 'close';
      readonly epoch: number;
      /** No auditor is waited for any longer: what it has not read by now it will never read. */
      readonly isUnaudited: boolean;
    }
  | { readonly type: 'abandon'; readonly epoch: number; readonly reason: string }
  /** Nothing to be done before this time, unless something happens; null: unless something happens. */
  | { readonly type: 'wait'; readonly untilMs: number | null };

/** The one thing to be done next. */
export function epochCommand(state: EpochState, seen: EpochSituation): EpochCommand {
  const pending = pendingEpoch(state);
  if (pending !== undefined) return pendingCommand(pending, seen);
  const over = state.epochs.find((record) => mayClose(state, record, seen));
  if (over !== undefined) {
    return { type: 'close', epoch: over.epoch, isUnaudited: !seen.audited.has(over.epoch) };
  }
  const cause = causeOf(state, seen);
  if (cause !== undefined && !seen.isStale) return announceCommand(state, cause, seen);
  return { type: 'wait', untilMs: nextDueMs(state, seen) };
}

function pendingCommand(pending: EpochRecord, seen: EpochSituation): EpochCommand {
  const { epoch, members, accepted: known, announcedAtMs } = pending;
  const { nowMs, rules, keepers } = seen;
  if (pending.entitledDigest !== seen.entitledDigest) {
    return { type: 'abandon', epoch, reason: 'the members are others than those it was made for' };
  }
  const absent = members.filter((agentId) => !known.has(agentId));
  const dueMs = announcedAtMs + rules.epoch_accept_ms;
  if (absent.length > 0 && nowMs < dueMs) return { type: 'wait', untilMs: dueMs };
  // One whom it was not even made for is missing too.
  const missing = keepers.filter((agentId) => !known.has(agentId));
  const keptMs = announcedAtMs + keeperPatience * rules.epoch_accept_ms;
  const isComing = missing.length > 0 && missing.every((agentId) => members.includes(agentId));
  if (isComing && nowMs < keptMs) return { type: 'wait', untilMs: keptMs };
  if (known.size === 0 || missing.length > 0) {
    const who = missing.length > 0 ? missing.join(', ') : 'nobody';
    return {
      type: 'abandon',
      epoch,
      reason: missing.length > 0 ? `${who} did not accept it in time` : `${who} accepted it`,
    };
  }
  return { type: 'activate', epoch, accepted: [...known.values()], absent };
}

/** The oldest one that nothing needs; one too many is given up even within its grace. */
function mayClose(state: EpochState, record: EpochRecord, seen: EpochSituation): boolean {
  const { epoch, supersededAtMs } = record;
  if (supersededAtMs === null) return false;
  if (isOverfull(state)) return true;
  if (!isUseless(record, seen)) return false;
  return seen.audited.has(epoch) || seen.nowMs >= supersededAtMs + auditPatienceMs(seen.rules);
}

/** Whether the grace is over, and no saga needs it. */
function isUseless(
  { supersededAtMs }: EpochRecord,
  { nowMs, rules, sagaSinceMs }: Pick<EpochSituation, 'nowMs' | 'rules' | 'sagaSinceMs'>,
): boolean {
  if (supersededAtMs === null) return false;
  const isNeeded = sagaSinceMs !== null && sagaSinceMs <= supersededAtMs;
  return !isNeeded && nowMs >= supersededAtMs + rules.epoch_grace_ms;
}

/** Epochs that are kept for the auditors alone, by rising number, unless these have read them. */
export function keptForAudit(
  { epochs }: EpochState,
  seen: Pick<EpochSituation, 'nowMs' | 'rules' | 'sagaSinceMs'>,
): number[] {
  return epochs.filter((record) => isUseless(record, seen)).map(({ epoch }) => epoch);
}

/**
 * How long an auditor is waited for after an epoch was superseded: as many lives of an epoch, or graces
 * where these are longer. A day under a policy that renews epochs every hour.
 */
export function auditPatienceMs({
  epoch_max_ms: maxMs,
  epoch_grace_ms: graceMs,
}: ChannelRules): number {
  return auditPatienceEpochs * Math.max(maxMs, graceMs);
}

function causeOf(state: EpochState, seen: EpochSituation): EpochCause | undefined {
  const active = activeEpoch(state);
  if (active === undefined) return state.highest === 0 ? 'first' : 'lost';
  const { nowMs, rules, wish } = seen;
  if (active.entitledDigest !== seen.entitledDigest) return 'membership';
  if (wish !== null && !isMet(wish, active, seen.skewMs)) return wish.cause;
  if (seen.isLost) return 'lost';
  if (seen.messages >= rules.epoch_messages_max) return 'count';
  return nowMs >= timeDueMs(active, rules) ? 'time' : undefined;
}

/**
 * Whether the epoch was announced after the wish, by the order of the stream: the clock of who wished and
 * the clock of who announced differ. Only where the times contradict that order by more than clocks may
 * differ has the stream begun its sequences anew since.
 */
function isMet(
  wish: NonNullable<EpochSituation['wish']>,
  { announcedSequence, announcedAtMs }: EpochRecord,
  skewMs: number,
): boolean {
  return announcedSequence > wish.sequence && announcedAtMs + skewMs >= wish.atMs;
}

/** Members are those who can be given the secret now; the others get it when they ask. */
function announceCommand(state: EpochState, cause: EpochCause, seen: EpochSituation): EpochCommand {
  const { nowMs, rules, candidates, prekeyed, keepers, lookingSinceMs } = seen;
  const since = Math.max(lookingSinceMs, activeEpoch(state)?.activatedAtMs ?? 0);
  const patienceMs = since + rules.epoch_accept_ms;
  const members = candidates.filter((agentId) => prekeyed.has(agentId)).toSorted();
  const isComplete = members.length === candidates.length;
  const hasKeepers = keepers.every((agentId) => prekeyed.has(agentId));
  if (!hasKeepers || members.length === 0) return { type: 'wait', untilMs: null };
  if (!isComplete && nowMs < patienceMs) return { type: 'wait', untilMs: patienceMs };
  return { type: 'announce', epoch: state.highest + 1, cause, members };
}

function nextDueMs(state: EpochState, seen: EpochSituation): number | null {
  const { rules, nowMs } = seen;
  const active = activeEpoch(state);
  const dues = state.epochs.flatMap(({ supersededAtMs }) =>
    supersededAtMs === null
      ? []
      : [supersededAtMs + rules.epoch_grace_ms, supersededAtMs + auditPatienceMs(rules)],
  );
  if (active !== undefined) dues.push(timeDueMs(active, rules));
  const coming = dues.filter((dueMs) => dueMs > nowMs);
  return coming.length === 0 ? null : Math.min(...coming);
}

function timeDueMs(active: EpochRecord, rules: ChannelRules): number {
  return (active.activatedAtMs ?? active.announcedAtMs) + rules.epoch_max_ms;
}
