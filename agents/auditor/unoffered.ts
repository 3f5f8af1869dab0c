/**
 * Documents that are in force and that no leaf offers: learned from what is kept for late comers while
 * the bus lost, or never stored, the offer. Whoever judges the log knows only what it offers, so that
 * everything said under such a document would be refused, now and by everyone who checks later. The
 * auditor offers them itself.
 */

import { BusError, type Bus } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
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
}

/** How often to look: an offer that is on its way arrives within that. */
const lookMs = 1_000;

export class Unoffered {
  readonly #ports: UnofferedPorts;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;
  /** Somebody knows of a document that this agent may not know of. */
  #isBehind = false;
  /** Where the stream ended when something was first found missing; it must be missing behind that. */
  #missingSince: number | undefined;

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
    const { exchange, bus, trust, book, intake, log, subjects } = this.#ports;
    if (this.#isBehind) {
      this.#isBehind = false;
      await exchange.catchUp();
    }
    if (book.unofferedOf(trust).length === 0) {
      this.#missingSince = undefined;
      return;
    }
    try {
      if (this.#missingSince === undefined) {
        this.#missingSince = (await bus.streamState('GYRE_CONTROL')).lastSequence;
        return;
      }
      if (intake.lastSequence < this.#missingSince) return;
      this.#missingSince = undefined;
      for (const document of book.unofferedOf(trust)) {
        if (this.#stopped) return;
        log.warn(
          { kind: document.body.kind },
          'a document in force was offered nowhere in the log',
        );
        await exchange.publish({
          type: 'document-offered',
          subject: subjects.trust(exchange.agentId),
          channel: noticesChannel,
          body: { document: new Uint8Array(utf8(JSON.stringify(document))) },
        });
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code }, 'what is missing in the log is offered later');
    }
  }
}
