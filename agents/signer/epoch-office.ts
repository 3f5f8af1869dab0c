/**
 * The signer's word on epochs: which announcements it states, and what it remembers of those that stand
 * in the logs. It follows the logs by itself, so that neither a number nor a prekey is used twice,
 * whatever an orchestrator asks for (invariants 6 and 10).
 */

import type { EpochAnnouncementBody } from '#schemas/epoch.ts';
import type { OrchCode } from '#schemas/errors.ts';
import type { Bus, BusMessage, Subscription } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { isEntitledTo } from '#shared/core/channels.ts';
import { announcementAllowed, announcementsPerWishMax } from '#shared/core/epoch-allowance.ts';
import {
  causeAgeMaxMs,
  checkEpochAnnouncement,
  prekeyAgeMaxMs,
  wishBehind,
  type EpochCheck,
} from '#shared/core/epoch-evidence.ts';
import type { VerifiedEvent } from '#shared/core/verified-event.ts';
import { entitledDigest } from '#shared/crypto/epoch-capsule.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import { entryFault } from '#shared/runtime/epoch-announcements.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EpochRecord } from './epoch-record.ts';

export interface EpochOfficePorts {
  readonly bus: Bus;
  readonly exchange: Exchange;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly subjects: Subjects;
  readonly record: EpochRecord;
  /** Whether the agent offered a bad document and may ask for nothing new for a while. */
  readonly isLockedOut: (agentId: string) => boolean;
}

/** Messages of the control stream that are gone through at a start, for what was missed before it. */
const rereadMax = 16_384;
/** How often one agent is given secrets in a minute: far above what a start or an epoch needs. */
const asksMax = 120;
const askSpanMs = 60_000;

export class EpochOffice {
  readonly #ports: EpochOfficePorts;
  /** When each agent asked for secrets lately. Bounded by the number of those enrolled. */
  readonly #asked = new Map<string, number[]>();
  #subscription: Subscription | undefined;

  constructor(ports: EpochOfficePorts) {
    this.#ports = ports;
  }

  async start(): Promise<void> {
    const { bus, subjects } = this.#ports;
    const { lastSequence } = await bus.streamState('GYRE_CONTROL');
    this.#subscription = await bus.follow(
      {
        stream: 'GYRE_CONTROL',
        subjects: [subjects.patterns.epoch],
        fromSequence: Math.max(1, lastSequence - rereadMax),
      },
      (message) => this.#note(message),
    );
  }

  async stop(): Promise<void> {
    await this.#subscription?.stop();
  }

  /** Why the announcement is not stated, or undefined: then it counts as stated. */
  refusalOf(
    statement: EpochAnnouncementBody,
    asker: Enrolled,
    evidence: readonly VerifiedEvent[],
  ): { readonly code: OrchCode; readonly reason: string } | undefined {
    const { trust, crypto, clock, record, isLockedOut } = this.#ports;
    const nowMs = clock.nowMs();
    if (isLockedOut(asker.agentId)) return { code: 'ORCH-8015', reason: 'the asker is locked out' };
    const entitled = trust
      .agents()
      .filter((agent) => isEntitledTo(statement.channel, agent, nowMs));
    const check: EpochCheck = {
      statement,
      asker,
      mesh: trust.mesh,
      evidence,
      agents: entitled,
      entitledDigest: entitledDigest(crypto, statement.channel, entitled),
      highest: record.highest(statement.channel),
      isUsed: (prekeyId) => record.isUsed(prekeyId),
      documents: [trust.root, trust.registry, trust.policy],
      nowMs,
      clockSkewMs: trust.policy.policies.rotation.clock_skew_ms,
    };
    const verdict = checkEpochAnnouncement(check);
    if (verdict.status !== 'ok') return { code: verdict.code, reason: verdict.reason };
    return this.#countOf(check);
  }

  /** What holds is counted before it is stated: by the request that it rests on, or by its asker. */
  #countOf(check: EpochCheck): { readonly code: OrchCode; readonly reason: string } | undefined {
    const { record, trust } = this.#ports;
    const { nowMs } = check;
    const { channel } = check.statement;
    const asked = { channel, asker: check.asker.agentId };
    const wish = wishBehind(check);
    if (wish !== undefined && record.statedFor(asked, wish.hash) < announcementsPerWishMax) {
      const { hash: request, timeMs } = wish;
      record.stateFor(asked, { request, timeMs, forgetBeforeMs: nowMs - 2 * causeAgeMaxMs });
      return undefined;
    }
    const rules = trust.policy.policies.channels;
    const untilMs = announcementAllowed(record.paidUntilMs(asked), nowMs, rules);
    if (untilMs === undefined) {
      const reason = `too many epochs of ${channel}: now an operator has to ask for one`;
      return { code: 'ORCH-8015', reason };
    }
    record.pay(asked, untilMs);
    return undefined;
  }

  /** Why the asker is given no secrets now, or undefined. Every asking counts. */
  givingRefusal(asker: Enrolled): string | undefined {
    const { clock, isLockedOut } = this.#ports;
    const nowMs = clock.nowMs();
    if (nowMs > asker.expiresAtMs) return 'the enrolment of the asker is over';
    if (nowMs >= (asker.revokedAtMs ?? Infinity)) return 'the asker is revoked';
    if (isLockedOut(asker.agentId)) return 'the asker is locked out';
    const since = clock.monotonicMs() - askSpanMs;
    const asked = (this.#asked.get(asker.agentId) ?? []).filter((atMs) => atMs > since);
    const isTooOften = asked.length >= asksMax;
    if (!isTooOften) asked.push(clock.monotonicMs());
    this.#asked.set(asker.agentId, asked);
    return isTooOften ? 'the asker asks too often' : undefined;
  }

  /**
   * An entry of a log that announces what this signer stated uses up its number, whoever appended it
   * and when. Its prekeys are used up only where the members hear it too and draw others: else a stolen
   * orchestrator could use up everyone's, and after it was revoked nobody could be rekeyed.
   */
  #note(message: BusMessage): void {
    const { exchange, trust, crypto, subjects, record, clock } = this.#ports;
    const { data, subject } = message;
    const event = exchange.openRecord(data);
    if (event?.type !== 'epoch-entry' || event.header.subject !== subject) return;
    const { channel, epoch, event: said } = event.body;
    const address = subjects.parse(subject);
    if (address?.kind !== 'saga-epoch' || address.channel !== channel) return;
    if (said.type !== 'epoch-announced') return;
    if (entryFault({ crypto, trust }, event.body, said) !== undefined) return;
    const opening = exchange.open(message);
    const isHeard = opening.status !== 'refused' || opening.code === 'EVENT_EXPIRED';
    record.announced(
      { channel, epoch },
      {
        prekeyIds: isHeard ? said.capsules.map(({ prekeyId }) => prekeyId) : [],
        timeMs: event.header.timeMs,
        forgetBeforeMs: clock.nowMs() - 2 * prekeyAgeMaxMs,
      },
    );
  }
}
