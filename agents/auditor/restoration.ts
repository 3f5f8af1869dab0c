/**
 * Puts back what the bus lost after acknowledging it (invariant 15). Every second, and at the start,
 * the auditor compares: does the stream still reach as far back, and as far forward, as it did, has it
 * no new gaps, and is the last message of every unfinished saga's subject the one that it knows? If not, every event
 * of the unfinished sagas that is no longer there is published again, inside an `event-restored` on
 * its own subject, in the order of the leaves. The original message itself is never published again:
 * its sender's sequence numbers and the bus's deduplication are not the auditor's to use.
 *
 * What is still there, under its own sequence or as an earlier restoration, is left alone, so that
 * looking twice restores once.
 */

import { BusError, type Bus, type StreamState } from '#shared/bus/bus.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import type { AuditBook } from './book.ts';
import type { LeafNote } from './leaf-note.ts';
import type { Intake } from './intake.ts';
import type { AuditLog } from './log.ts';
import type { ReceiptWriter } from './receipts.ts';

/** An `event-restored` holds at most this much (schemas/events.ts). */
const restorableBytesMax = 440 * 1024;
/** A restoration that has not come back through the stream after this long is looked at again. */
const settleMs = 10_000;
/** How long the intake may take to reach the end of the stream before it is looked at anyway. */
const catchUpMs = 2_000;
const catchUpPauseMs = 20;
/** Sagas that are over and looked for again, at a time; more are looked for when they are said again. */
const contestedMax = 8;

export interface RestorationPorts {
  readonly bus: Bus;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
  readonly book: AuditBook;
  readonly records: AuditLog;
  readonly receipts: ReceiptWriter;
  readonly intake: Intake;
  /** How often to look. */
  readonly intervalMs: number;
}

export class Restoration {
  readonly #ports: RestorationPorts;
  /** Hash of an original → its restoration, until that is seen on the bus. */
  readonly #underWay = new Map<string, { readonly sinceMs: number; readonly place: number }>();
  #firstSequence = 0;
  #gaps = 0;
  #losses = 0;
  /** Some of what was looked for was under way: it is to be looked for once more. */
  #isOwed = false;
  #restored = 0;
  /** Sagas that somebody continues from an older entry than the last one. */
  readonly #contested = new Set<string>();
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  constructor(ports: RestorationPorts) {
    this.#ports = ports;
  }

  /** Events put back since the start. */
  get restored(): number {
    return this.#restored;
  }

  /**
   * An entry did not follow the last one of its saga: its author may not have heard that the saga is over,
   * where the bus lost the end of it.
   */
  contested(sagaId: string): void {
    if (this.#contested.size < contestedMax) this.#contested.add(sagaId);
  }

  start(): void {
    this.#looking = this.#look(true).finally(() => this.#later());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #later(): void {
    this.#looking = undefined;
    if (this.#stopped) return;
    this.#timer = this.#ports.clock.after(this.#ports.intervalMs, () => {
      this.#looking = this.#look(false).finally(() => this.#later());
    });
  }

  async #look(isFirst: boolean): Promise<void> {
    const { bus, intake, log } = this.#ports;
    try {
      const known = intake.lastSequence;
      const state = await bus.streamState('GYRE_CONTROL');
      if (state.lastSequence < known) await this.#startOver(state, known);
      await this.#caughtUp(state.lastSequence);
      const gaps = gapsOf(state);
      const hasJumped = state.firstSequence > this.#firstSequence;
      const isAsked = this.#isOwed || this.#contested.size > 0;
      const hasLost = isAsked || gaps > this.#gaps || intake.losses > this.#losses;
      const missesLast = isFirst || hasLost || (await this.#missesLast());
      this.#firstSequence = state.firstSequence;
      this.#gaps = gaps;
      this.#losses = intake.losses;
      if (hasJumped || missesLast) await this.#restore(state, missesLast);
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      this.#firstSequence = 0;
      log.warn({ code: error.code }, 'the bus could not be looked at for losses');
    }
  }

  /** What is still on its way to the log must not be taken for lost. */
  async #caughtUp(sequence: number): Promise<void> {
    const { intake, clock } = this.#ports;
    const deadlineMs = clock.monotonicMs() + catchUpMs;
    while (intake.lastSequence < sequence && clock.monotonicMs() < deadlineMs && !this.#stopped) {
      await new Promise<void>((resolve) => clock.after(catchUpPauseMs, resolve));
    }
  }

  async #startOver({ lastSequence }: StreamState, known: number): Promise<void> {
    const { log, intake } = this.#ports;
    log.error(
      { code: 'BUS_LOST_EVENTS', known, lastSequence },
      'the control stream ends before what it had acknowledged',
    );
    await intake.startOver();
  }

  /** Whether an unfinished saga's subject, or the ledger's, ends before the last known entry. */
  async #missesLast(): Promise<boolean> {
    const { book, bus } = this.#ports;
    for (const notes of this.#logs()) {
      const last = notes.findLast(({ type }) => type === 'saga-entry');
      if (last === undefined) continue;
      const found = await bus.lastMessage('GYRE_CONTROL', last.subject);
      const place = book.placeOf(last.hash);
      const isLost = place === 0 || (found?.sequence ?? 0) < place;
      if (isLost && !this.#isUnderWay(last)) return true;
    }
    return false;
  }

  #logs(): (readonly LeafNote[])[] {
    const { book } = this.#ports;
    const sagas = new Set([...book.liveSagas(), ...this.#contested]);
    return sagas.size === 0
      ? [book.openRequests()]
      : [book.openRequests(), book.ledger(), ...Array.from(sagas, (id) => book.eventsOf(id))];
  }

  /** `isDeep`: asks the bus for each event, and not only whether the stream reaches as far back. */
  async #restore(state: StreamState, isDeep: boolean): Promise<void> {
    const nowMs = this.#ports.clock.nowMs();
    const known = this.#logs()
      .flat()
      .filter(({ expiresMs }) => expiresMs > nowMs);
    const wanted = known
      .filter((note) => !this.#isUnderWay(note))
      .toSorted((left, right) => left.leafIndex - right.leafIndex);
    if (isDeep) this.#isOwed = wanted.length < known.length;
    const contested = isDeep && !this.#isOwed ? [...this.#contested] : [];
    const lost: LeafNote[] = [];
    for (const note of wanted) {
      if (!(await this.#isThere(note, state, isDeep))) lost.push(note);
    }
    await this.#putAllBack(lost);
    for (const sagaId of contested) this.#contested.delete(sagaId);
  }

  async #putAllBack(lost: readonly LeafNote[]): Promise<void> {
    const { log, receipts } = this.#ports;
    if (lost.length === 0) return;
    log.error(
      { code: 'BUS_LOST_EVENTS', events: lost.length, first: lost[0]?.leafIndex },
      'the bus lost events that it had acknowledged; they are put back',
    );
    for (const note of lost) {
      if (this.#stopped) return;
      await this.#putBack(note);
    }
    receipts.issue(lost);
  }

  /** Whether the event, or what put it back, is in the stream. */
  async #isThere(note: LeafNote, state: StreamState, isDeep: boolean): Promise<boolean> {
    const { book, bus } = this.#ports;
    const sequence = book.placeOf(note.hash);
    if (sequence < state.firstSequence) return false;
    if (!isDeep) return true;
    const message = await bus.getMessage('GYRE_CONTROL', sequence);
    if (message === null) return false;
    const examined = book.examine(message.data, message.subject);
    if (examined.status === 'refused') return false;
    const { hash } = examined.audited;
    return hash === note.hash || book.noteOf(hash)?.restores === note.hash;
  }

  async #putBack(note: LeafNote): Promise<void> {
    const { exchange, clock, log, records } = this.#ports;
    const { frame } = await records.read(note.leafIndex);
    const { hash, leafIndex, subject, channel, type } = note;
    if (frame.length > restorableBytesMax) {
      log.error({ event: hash, type, bytes: frame.length }, 'too large to be put back');
      return;
    }
    try {
      await exchange.publish({
        type: 'event-restored',
        subject,
        channel,
        body: { leafIndex, statementHash: hash, frame },
      });
    } catch (error) {
      if (!(error instanceof BusError && error.code === 'BUS_DENIED')) throw error;
      log.error({ code: error.code, event: hash, subject }, 'the auditor may not put this back');
      return;
    }
    const place = this.#ports.book.placeOf(hash);
    this.#underWay.set(hash, { sinceMs: clock.monotonicMs(), place });
    this.#restored += 1;
    log.warn({ event: hash, type, subject, leafIndex }, 'event put back');
  }

  /** Published again, and not yet back through the stream. */
  #isUnderWay({ hash }: LeafNote): boolean {
    const { book, clock } = this.#ports;
    const sent = this.#underWay.get(hash);
    if (sent === undefined) return false;
    const isBack = book.placeOf(hash) !== sent.place;
    if (!isBack && clock.monotonicMs() - sent.sinceMs < settleMs) return true;
    this.#underWay.delete(hash);
    return false;
  }
}

/** Sequences of a stream that hold no message any more. */
export function gapsOf({ firstSequence, lastSequence, messages }: StreamState): number {
  return lastSequence - firstSequence + 1 - messages;
}
