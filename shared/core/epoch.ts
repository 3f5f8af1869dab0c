/**
 * One channel's epochs as a pure machine:
 *
 *     announced → activated → superseded → closed        announced → abandoned
 *
 * `stepEpoch` folds what the log says; what is to be done next follows from that state
 * (`epoch-command.ts`). Invariants: numbers never go down; one epoch is in use at a time; none is used
 * before every member has accepted it or is named as absent; a secret is given up only after the grace.
 */

import type { EpochCause, EpochStanding } from '#schemas/epoch.ts';
import { epochsHeldMax } from '#schemas/epoch.ts';

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

/** As many as are held at once: the oldest has to go. */
export function isOverfull({ epochs }: EpochState): boolean {
  return epochs.length >= epochsHeldMax;
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
