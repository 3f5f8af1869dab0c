/**
 * What the signer checks by itself before it announces an epoch: who asks, that epochs go up and never
 * leap, that only those are given the secret who belong to the channel and showed a prekey that was never
 * used, and that the cause is one (invariants 6 and 10). A stolen orchestrator can rekey needlessly and
 * can leave members out, who then ask for the secret; it cannot let anyone in, go back, or have a prekey
 * used twice. Signatures of the events were checked by the caller.
 */

import type { EpochAnnouncementBody } from '#schemas/epoch.ts';
import type { OrchCode } from '#schemas/errors.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { channels, channelsOf } from './channels.ts';
import { instantMs } from './instant.ts';
import type { VerifiedEvent } from './verified-event.ts';

/** How long after its publication a prekey may be used. */
export const prekeyAgeMaxMs = 2 * 24 * 3_600_000;
/** How long after it an operator's request is a cause. */
export const causeAgeMaxMs = 3_600_000;
/** How many epochs one announcement may pass over: nobody may use up the numbers. */
export const epochLeapMax = 64;
/** What an announcement is refused with whose number is taken: a higher one may do. */
export const numberTaken = 'ORCH-8009' satisfies OrchCode;
/** And one with a prekey that was used, is too old or was not shown: others may do. */
export const prekeyUnusable = 'ORCH-8014' satisfies OrchCode;

export interface EpochMemberOf {
  readonly agentId: string;
  readonly kind: AgentKind;
  readonly layer?: number;
}

export interface EpochCheck {
  readonly statement: EpochAnnouncementBody;
  readonly asker: { readonly agentId: string; readonly kind: AgentKind };
  readonly mesh: string;
  readonly evidence: readonly VerifiedEvent[];
  /** Enrolled, not revoked, not expired; others may be among them who do not belong to the channel. */
  readonly agents: readonly EpochMemberOf[];
  /** Who may hold the channel's secret, as a digest: what the statement must say. */
  readonly entitledDigest: string;
  /** The highest epoch of the channel in its log; 0 before the first. */
  readonly highest: number;
  /** Whether an announcement in the log used the prekey. */
  readonly isUsed: (prekeyId: string) => boolean;
  /** Of root, registry and policy: with stale documents no epoch begins. */
  readonly documents: readonly { readonly kind: string; readonly expires_at: string }[];
  readonly nowMs: number;
  readonly clockSkewMs: number;
}

/** A prekey that the announcement uses up. */
export interface PresentedPrekey {
  readonly agentId: string;
  readonly prekeyId: string;
  /** When it was published. */
  readonly timeMs: number;
}

export type EpochVerdict =
  | { readonly status: 'ok'; readonly prekeys: readonly PresentedPrekey[] }
  | { readonly status: 'refused'; readonly code: OrchCode; readonly reason: string };

type Refusal = Extract<EpochVerdict, { status: 'refused' }>;

export function checkEpochAnnouncement(check: EpochCheck): EpochVerdict {
  const refusal =
    whoRefusal(check) ?? numberRefusal(check) ?? timeRefusal(check) ?? causeRefusal(check);
  if (refusal !== undefined) return refusal;
  return checkMembers(check);
}

function whoRefusal({ statement, asker, mesh }: EpochCheck): Refusal | undefined {
  if (statement.mesh !== mesh) return refuse('ORCH-8015', 'the statement is of another mesh');
  if (asker.kind !== 'orchestrator') return refuse('ORCH-8015', `not for a ${asker.kind} to ask`);
  return channels.includes(statement.channel)
    ? undefined
    : refuse('ORCH-8004', `${statement.channel} has no epochs`);
}

function numberRefusal({ statement, highest }: EpochCheck): Refusal | undefined {
  const { epoch } = statement;
  if (epoch <= highest) return refuse(numberTaken, `epoch ${highest} was announced: none below`);
  return epoch > highest + epochLeapMax
    ? refuse('ORCH-8015', 'the epoch leaps too far')
    : undefined;
}

function timeRefusal({ statement, documents, nowMs, clockSkewMs }: EpochCheck) {
  const stale = documents.find(({ expires_at }) => nowMs >= instantMs(expires_at));
  if (stale !== undefined) return refuse('ORCH-8002', `the ${stale.kind} is out of date`);
  return Math.abs(instantMs(statement.issued_at) - nowMs) > clockSkewMs
    ? refuse('ORCH-8004', 'the announcement is dated in another time')
    : undefined;
}

/** Most causes are the orchestrator's to see and do no harm; what operators want, they sign. */
function causeRefusal(check: EpochCheck): Refusal | undefined {
  const { cause } = check.statement;
  if (cause !== 'operator' && cause !== 'suspicion') return undefined;
  return wishBehind(check) === undefined
    ? refuse('ORCH-8015', 'no operator asked for this')
    : undefined;
}

/** The request of an operator that the announcement rests on, where it rests on one. */
export function wishBehind(
  check: Pick<EpochCheck, 'statement' | 'evidence' | 'nowMs' | 'clockSkewMs'>,
): VerifiedEvent | undefined {
  const { cause, channel } = check.statement;
  return check.evidence.find(
    (event) =>
      event.type === 'epoch-rotation-requested' &&
      event.senderKind === 'operator' &&
      event.body.cause === cause &&
      (event.body.channel === undefined || event.body.channel === channel) &&
      isRecent(event.timeMs, { ...check, ageMaxMs: causeAgeMaxMs }),
  );
}

function checkMembers(check: EpochCheck): EpochVerdict {
  const { statement, agents, evidence, entitledDigest, isUsed } = check;
  if (statement.entitled_digest !== entitledDigest) {
    return refuse('ORCH-8004', 'the enrolments changed since the announcement was made');
  }
  const entitled = new Map(
    agents
      .filter((agent) => agent.kind !== 'operator')
      .filter((agent) => channelsOf(agent).includes(statement.channel))
      .map((agent) => [agent.agentId, agent]),
  );
  const prekeys: PresentedPrekey[] = [];
  let before = '';
  for (const { agent_id: agentId } of statement.members) {
    if (agentId <= before) return refuse('ORCH-8004', 'members stand in order, each of them once');
    before = agentId;
    if (!entitled.has(agentId)) {
      return refuse('ORCH-8015', `${agentId} does not belong to ${statement.channel}`);
    }
    const found = presentedBy(agentId, { ...check, evidence });
    if (found === undefined) return refuse(prekeyUnusable, `${agentId} showed no prekey for this`);
    const isRepeated = prekeys.some(({ prekeyId }) => prekeyId === found.prekeyId);
    if (isRepeated || isUsed(found.prekeyId)) {
      return refuse(prekeyUnusable, `the prekey of ${agentId} was used before`);
    }
    prekeys.push(found);
  }
  const isKept = [...entitled.values()].every(
    ({ kind, agentId }) => kind !== 'signer' || prekeys.some((each) => each.agentId === agentId),
  );
  if (!isKept) return refuse('ORCH-8015', 'the signer is no member: nobody would keep the secret');
  return { status: 'ok', prekeys };
}

/** The one prekey that the agent published for the channel, where exactly one is shown. */
function presentedBy(agentId: string, check: EpochCheck): PresentedPrekey | undefined {
  const { statement, evidence } = check;
  const shown = new Map<string, number>();
  for (const event of evidence) {
    if (event.type !== 'prekeys-published' || event.senderId !== agentId) continue;
    if (!isRecent(event.timeMs, { ...check, ageMaxMs: prekeyAgeMaxMs })) continue;
    for (const { channel, prekeyId } of event.body.prekeys) {
      if (channel === statement.channel) shown.set(prekeyId, event.timeMs);
    }
  }
  const [only, ...others] = shown;
  if (only === undefined || others.length > 0) return undefined;
  return { agentId, prekeyId: only[0], timeMs: only[1] };
}

function isRecent(
  timeMs: number,
  bounds: { readonly nowMs: number; readonly clockSkewMs: number; readonly ageMaxMs: number },
): boolean {
  const { nowMs, clockSkewMs, ageMaxMs } = bounds;
  return timeMs <= nowMs + clockSkewMs && timeMs >= nowMs - ageMaxMs;
}

function refuse(code: OrchCode, reason: string): Refusal {
  return { status: 'refused', code, reason };
}
