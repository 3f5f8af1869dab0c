/**
 * Keeps what is in force and what the log says to be in force the same thing. Documents that no leaf
 * offers were learned from what is kept for late comers while the bus lost, or never stored, the offer:
 * whoever judges the log knows only what it offers, so that everything said under such a document would
 * be refused, now and by everyone who checks later. The auditor offers them itself. What a leaf offers
 * and agents refused, because it reached them too late, it takes from its log, and offers once more.
 */

import { BusError, type Bus } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { isOfferedStill } from '#shared/core/document-review.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { versionsOf } from '#shared/crypto/known-versions.ts';
import type { AmendedDocument, Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import type { AuditBook } from './book.ts';
import type { Intake } from './intake.ts';

export interface UnofferedPorts {
  readonly exchange: Exchange;
  readonly bus: Bus;
  /** The agent's own view: what is in force. */
  readonly trust: TrustView;
  readonly book: AuditBook;
  readonly intake: Pick<Intake, 'lastSequence'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly subjects: Subjects;
  /** Absent where nobody offers documents. */
  readonly trustDesk: Pick<TrustDesk, 'learn'> | undefined;
}

/** How often to look: an offer that is on its way arrives within that. */
const lookMs = 1_000;
const takeAgainMs = 15_000;

export class Unoffered {
  readonly #ports: UnofferedPorts;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;
  /** Somebody knows of a document that this agent may not know of. */
  #isBehind = false;
  /** Where the stream ended when something was first found missing; it must be missing behind that. */
  #missingSince: number | undefined;
  /** How many documents of the log were not in force at the last look. */
  #untaken = 0;
  /** What cannot be taken now is not tried again before that. */
  #takeAgainMs = Number.NEGATIVE_INFINITY;
  readonly #owed: AmendedDocument[] = [];

  constructor(ports: UnofferedPorts) {
    this.#ports = ports;
  }

  /** An event rests on a document that the log does not offer: others may have heard of it. */
  documentMissing(): void {
    this.#isBehind = true;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#ports.clock.after(lookMs, () => {
      this.#looking = this.#look().finally(() => this.start());
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { exchange, log } = this.#ports;
    if (this.#isBehind) {
      this.#isBehind = false;
      await exchange.catchUp();
    }
    try {
      await this.#takeFromLog();
      await this.#offerOwed();
      await this.#offerUnoffered();
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code }, 'what is missing in the log is offered later');
    }
  }

  /** What is still untaken a look later: most offers reach this agent on both ways at once. */
  async #takeFromLog(): Promise<void> {
    const { book, trust, trustDesk, exchange, clock, log } = this.#ports;
    const untaken = book.untakenBy(trust);
    const isStill = untaken.length > 0 && untaken.length === this.#untaken;
    this.#untaken = untaken.length;
    if (trustDesk === undefined || !isStill || clock.monotonicMs() < this.#takeAgainMs) return;
    this.#takeAgainMs = clock.monotonicMs() + takeAgainMs;
    const known = versionsOf(trust.highest());
    const revoked = new Set(trust.agents().filter(isRevoked).map(agentIdOf));
    const bad = await trustDesk.learn(untaken.map(bytesOf), exchange.agentId, { isBlamed: false });
    if (bad !== undefined) {
      const { code, refusal } = bad;
      log.warn({ code, refusal }, 'a document that the log offers cannot come into force');
    }
    const newest = trust.highest();
    const taken = trust.documentsSince(known).filter(({ body }) => {
      if (body.kind === 'revocation') return !revoked.has(body.agent_id);
      return isOfferedStill(body, newest);
    });
    this.#owed.push(...taken);
  }

  /** What was taken from the log and the others may not have heard of. */
  async #offerOwed(): Promise<void> {
    for (let [owed] = this.#owed; owed !== undefined && !this.#stopped; [owed] = this.#owed) {
      await this.#offer([owed], 'a document that the log offers was not in force');
      this.#owed.shift();
    }
  }

  async #offerUnoffered(): Promise<void> {
    const { bus, trust, book, intake } = this.#ports;
    if (book.unofferedOf(trust).length === 0) {
      this.#missingSince = undefined;
      return;
    }
    if (this.#missingSince === undefined) {
      this.#missingSince = (await bus.streamState('GYRE_CONTROL')).lastSequence;
      return;
    }
    if (intake.lastSequence < this.#missingSince) return;
    this.#missingSince = undefined;
    const unoffered = book.unofferedOf(trust);
    await this.#offer(unoffered, 'a document in force was offered nowhere in the log');
  }

  async #offer(documents: readonly AmendedDocument[], why: string): Promise<void> {
    const { exchange, log, subjects } = this.#ports;
    for (const document of documents) {
      if (this.#stopped) return;
      log.warn({ kind: document.body.kind }, why);
      await exchange.publish({
        type: 'document-offered',
        subject: subjects.trust(exchange.agentId),
        channel: noticesChannel,
        body: { document: bytesOf(document) },
      });
    }
  }
}

function bytesOf(document: AmendedDocument): Uint8Array<ArrayBuffer> {
  return new Uint8Array(utf8(JSON.stringify(document)));
}

function isRevoked({ revokedAtMs }: Enrolled): boolean {
  return revokedAtMs !== undefined;
}

function agentIdOf({ agentId }: Enrolled): string {
  return agentId;
}
