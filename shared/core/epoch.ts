/**
 * One channel's epochs as a pure machine:
 *
 *     announced → activated → superseded → closed        announced → abandoned
 *
 * `stepEpoch` folds what the log says; `epochCommand` says what is to be done next, from that state, the
 * time and what an orchestrator sees of the mesh. Any orchestrator comes to the same command, and the
 * log's optimistic append lets one of them carry it out. Invariants: numbers never go down; one epoch is
 * in use at a time; none is used before every member has accepted it or is named as absent; a secret is
 * given up only after the grace, and not while a saga that began under it is under way.
 */

import type { EpochCause, EpochStanding } from '#schemas/epoch.ts';
import { epochsHeldMax } from '#schemas/epoch.ts';
import type { ChannelRules } from '#schemas/policy.ts';

export interface EpochRecord {
  readonly epoch: number;
  readonly standing: EpochStanding;
  readonly cause: EpochCause;
  /** SHA3-256 of the announcement, hexadecimal. */
  readonly announcementDigest: string;
  /** Who could hold the secret when it was announced (`entitledDigest`). */
  readonly entitledDigest: string;
  readonly members: readonly string[];
  /** Statement hash of each member's acceptance. */
  readonly accepted: ReadonlyMap<string, string>;
  readonly absent: readonly string[];
  readonly announcedAtMs: number;
  /** Where the announcement stands in the stream. */
  readonly announcedSequence: number;
  readonly activatedAtMs: number | null;
  readonly supersededAtMs: number | null;
}

export interface EpochState {
  readonly channel: string;
  /** Highest number that was ever announced. */
  readonly highest: number;
  /** What is not over, by rising number. */
  readonly epochs: readonly EpochRecord[];
}

/** What the log says. Times are those of the events' headers. */
export type EpochEvent =
  | {
      readonly type: 'epoch-announced';
      readonly epoch: number;
      readonly cause: EpochCause;
      readonly announcementDigest: string;
      readonly entitledDigest: string;
      readonly members: readonly string[];
      readonly atMs: number;
      /** Sequence of the message in the stream. */
      readonly sequence: number;
    }
  | {
      readonly type: 'epoch-accepted';
      readonly epoch: number;
      readonly agentId: string;
      readonly announcementDigest: string;
      readonly hash: string;
    }
  | {
      readonly type: 'epoch-activated';
      readonly epoch: number;
      /** Statement hashes of acceptances. */
      readonly accepted: readonly string[];
      readonly absent: readonly string[];
      /** Those without whom no epoch comes into use, as far as they are members. */
      readonly keepers: readonly string[];
      readonly atMs: number;
    }
  | {
      readonly type: 'epoch-closed' | 'epoch-abandoned';
      readonly epoch: number;
      readonly atMs: number;
    };

/** Why an event of the log changes nothing. */
export type EpochRejection =
  /** Not above every number that was announced before. */
  | 'EPOCH_NOT_RISING'
  /** Another one is announced and neither in use nor abandoned. */
  | 'EPOCH_PENDING'
  | 'EPOCH_NOT_PENDING'
  | 'EPOCH_NOT_SUPERSEDED'
  /** Within the grace of the policy. */
  | 'EPOCH_IN_GRACE'
  | 'NOT_A_MEMBER'
  | 'ANNOUNCEMENT_UNKNOWN'
  | ActivationFault;

export type ActivationFault =
  /** The members are not those who accepted and those who are absent, taken together. */
  | 'MEMBERS_MISMATCH'
  /** Who keeps the secrets at rest did not accept it: at the next full stop it would be lost. */
  | 'KEEPER_ABSENT';

export type EpochStep = { readonly state: EpochState } | { readonly rejected: EpochRejection };

export interface StepRules {
  readonly graceMs: number;
  /** What two clocks may differ by. */
  readonly skewMs: number;
}

export function initialEpochs(channel: string): EpochState {
  return { channel, highest: 0, epochs: [] };
}

/** The epoch that senders use. */
export function activeEpoch({ epochs }: EpochState): EpochRecord | undefined {
  return epochs.findLast(({ standing }) => standing === 'active');
}

/** The epoch that is announced and not yet in use. */
export function pendingEpoch({ epochs }: EpochState): EpochRecord | undefined {
  return epochs.findLast(({ standing }) => standing === 'announced');
}

export function stepEpoch(state: EpochState, event: EpochEvent, rules: StepRules): EpochStep {
  switch (event.type) {
    case 'epoch-announced':
      return announced(state, event);
    case 'epoch-accepted':
      return accepted(state, event);
    case 'epoch-activated':
      return activated(state, event);
    case 'epoch-abandoned': {
      const record = recordOf(state, event.epoch);
      if (record?.standing !== 'announced') return { rejected: 'EPOCH_NOT_PENDING' };
      return { state: without(state, (epoch) => epoch === event.epoch) };
    }
    case 'epoch-closed': {
      const record = recordOf(state, event.epoch);
      if (record === undefined || record.supersededAtMs === null) {
        return { rejected: 'EPOCH_NOT_SUPERSEDED' };
      }
      if (event.atMs + rules.skewMs < record.supersededAtMs + rules.graceMs && !isOverfull(state)) {
        return { rejected: 'EPOCH_IN_GRACE' };
      }
      // With it goes what came before it: the older ones were superseded earlier.
      return { state: without(state, (epoch) => epoch <= event.epoch) };
    }
  }
}

function announced(
  state: EpochState,
  event: Extract<EpochEvent, { type: 'epoch-announced' }>,
): EpochStep {
  if (event.epoch <= state.highest) return { rejected: 'EPOCH_NOT_RISING' };
  if (pendingEpoch(state) !== undefined) return { rejected: 'EPOCH_PENDING' };
  const { epoch, cause, announcementDigest, entitledDigest, members, atMs, sequence } = event;
  const record: EpochRecord = {
    epoch,
    standing: 'announced',
    cause,
    announcementDigest,
    entitledDigest,
    members,
    accepted: new Map(),
    absent: [],
    announcedAtMs: atMs,
    announcedSequence: sequence,
    activatedAtMs: null,
    supersededAtMs: null,
  };
  return { state: { ...state, highest: epoch, epochs: [...state.epochs, record] } };
}

/** Late ones count too: then the member is absent no longer. */
function accepted(
  state: EpochState,
  event: Extract<EpochEvent, { type: 'epoch-accepted' }>,
): EpochStep {
  const { epoch, agentId, announcementDigest, hash } = event;
  const record = recordOf(state, epoch);
  if (record === undefined) return { rejected: 'EPOCH_NOT_PENDING' };
  if (record.announcementDigest !== announcementDigest) return { rejected: 'ANNOUNCEMENT_UNKNOWN' };
  if (!record.members.includes(agentId)) return { rejected: 'NOT_A_MEMBER' };
  const known = new Map(record.accepted).set(agentId, hash);
  const absent = record.absent.filter((each) => each !== agentId);
  return { state: replaced(state, { ...record, accepted: known, absent }) };
}

function activated(
  state: EpochState,
  event: Extract<EpochEvent, { type: 'epoch-activated' }>,
): EpochStep {
  const { epoch, accepted: hashes, absent, keepers, atMs } = event;
  const record = recordOf(state, epoch);
  if (record?.standing !== 'announced') return { rejected: 'EPOCH_NOT_PENDING' };
  const fault = activationFault({ accepted: hashes, absent }, record.members, keepers);
  if (fault !== undefined) return { rejected: fault };
  const epochs = state.epochs.map((each) => {
    if (each.epoch === epoch) {
      const missing = absent.filter((agentId) => !record.accepted.has(agentId));
      return { ...each, standing: 'active' as const, activatedAtMs: atMs, absent: missing };
    }
    if (each.standing !== 'active') return each;
    return { ...each, standing: 'superseded' as const, supersededAtMs: atMs };
  });
  return { state: { ...state, epochs } };
}

/**
 * Why an epoch with these members does not come into use by this, or undefined. Whether the hashes are
 * acceptances is not asked: only the auditor is sure to have them.
 */
export function activationFault(
  { accepted: hashes, absent }: { accepted: readonly string[]; absent: readonly string[] },
  members: readonly string[],
  keepers: readonly string[],
): ActivationFault | undefined {
  if (keepers.some((agentId) => absent.includes(agentId))) return 'KEEPER_ABSENT';
  const areMembers = absent.every((agentId) => members.includes(agentId));
  const areDistinct =
    new Set(hashes).size === hashes.length && new Set(absent).size === absent.length;
  const isWhole = hashes.length > 0 && hashes.length + absent.length === members.length;
  return areMembers && areDistinct && isWhole ? undefined : 'MEMBERS_MISMATCH';
}

function recordOf({ epochs }: EpochState, epoch: number): EpochRecord | undefined {
  return epochs.find((record) => record.epoch === epoch);
}

function replaced(state: EpochState, record: EpochRecord): EpochState {
  const epochs = state.epochs.map((each) => (each.epoch === record.epoch ? record : each));
  return { ...state, epochs };
}

function without(state: EpochState, isOver: (epoch: number) => boolean): EpochState {
  return { ...state, epochs: state.epochs.filter(({ epoch }) => !isOver(epoch)) };
}

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
  | { readonly type: 'close'; readonly epoch: number }
  | { readonly type: 'abandon'; readonly epoch: number; readonly reason: string }
  /** Nothing to be done before this time, unless something happens; null: unless something happens. */
  | { readonly type: 'wait'; readonly untilMs: number | null };

/** The one thing to be done next. */
export function epochCommand(state: EpochState, seen: EpochSituation): EpochCommand {
  const pending = pendingEpoch(state);
  if (pending !== undefined) return pendingCommand(pending, seen);
  const over = state.epochs.find((record) => mayClose(state, record, seen));
  if (over !== undefined) return { type: 'close', epoch: over.epoch };
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
  const { supersededAtMs } = record;
  if (supersededAtMs === null) return false;
  if (isOverfull(state)) return true;
  const { nowMs, rules, sagaSinceMs } = seen;
  const isNeeded = sagaSinceMs !== null && sagaSinceMs <= supersededAtMs;
  return !isNeeded && nowMs >= supersededAtMs + rules.epoch_grace_ms;
}

function isOverfull({ epochs }: EpochState): boolean {
  return epochs.length >= epochsHeldMax;
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
    supersededAtMs === null ? [] : [supersededAtMs + rules.epoch_grace_ms],
  );
  if (active !== undefined) dues.push(timeDueMs(active, rules));
  const coming = dues.filter((dueMs) => dueMs > nowMs);
  return coming.length === 0 ? null : Math.min(...coming);
}

function timeDueMs(active: EpochRecord, rules: ChannelRules): number {
  return (active.activatedAtMs ?? active.announcedAtMs) + rules.epoch_max_ms;
}
