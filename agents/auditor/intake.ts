/**
 * From the control stream into the log: follows the stream in its own order, from behind the last
 * message that the log holds, takes what is there as one batch, judges it, makes it durable with one
 * barrier, and has receipts issued. It is the second holder of invariant 5.
 *
 * The stream is followed and not worked off through a durable consumer: after a crash a durable
 * delivers what was under way only once its wait is over, behind newer messages, and an entry that
 * arrives behind its successor would be refused for ever. The log itself says where to go on.
 *
 * What is not authentic is counted, logged and passed over: nobody without an enrolled key can make
 * the log grow. A copy of a known event is no second leaf; its receipt is issued once more.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import type { Bus, BusMessage, Subscription } from '#shared/bus/bus.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { Archive } from './archive.ts';
import type { AuditBook, Judged } from './book.ts';
import type { LeafNote } from './leaf-note.ts';
import { AuditLogError } from './log-error.ts';
import type { AuditLog, LogRecord } from './log.ts';
import type { ReceiptWriter } from './receipts.ts';

/** Messages judged and synced at once. */
const batchMax = 64;
/** Messages read ahead of the log. */
const queueMax = 256;
const retryMs = 1_000;

export interface IntakePorts {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
  readonly book: AuditBook;
  readonly archive: Archive;
  readonly records: AuditLog;
  readonly receipts: ReceiptWriter;
  /** Patterns of the control stream. */
  readonly subjects: readonly string[];
  /** Waits, for a bounded time, for an epoch that is announced and whose secret is still asked for. */
  readonly whenReadable?: (
    name: { channel: string; epoch: number },
    sender: string,
  ) => Promise<boolean>;
  /** Called when leaves have been added. */
  readonly onLeaves: () => void;
  /** Called for an event that is refused, with the judge's code. */
  readonly onRefused: (code: string, note: LeafNote) => void;
}

interface Arrival {
  readonly message: BusMessage;
  readonly judged: Judged;
}

export class Intake {
  readonly #ports: IntakePorts;
  readonly #queue: BusMessage[] = [];
  readonly #room: (() => void)[] = [];
  readonly #refusals: Partial<Record<RefusalCode, number>> = {};
  #subscription: Subscription | undefined;
  #working: Promise<void> | undefined;
  #lastSequence = 0;
  #losses = 0;
  #trouble: string | undefined;
  #stopped = false;

  constructor(ports: IntakePorts) {
    this.#ports = ports;
  }

  /** Sequence of the last message that was taken in or passed over. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  /** How often the stream was found to have gone back. */
  get losses(): number {
    return this.#losses;
  }

  /** Messages that were no leaves, by code. */
  refusals(): Readonly<Partial<Record<RefusalCode, number>>> {
    return this.#refusals;
  }

  refusedCount(): number {
    return Object.values(this.#refusals).reduce((sum, count) => sum + count, 0);
  }

  /** Why nothing is taken in at present, a code. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Follows the stream from behind the last message. Resolves `ended` when that is over. */
  async start(): Promise<Subscription> {
    this.#lastSequence = await this.#standsAt();
    return await this.#follow();
  }

  async #follow(): Promise<Subscription> {
    const { bus, subjects } = this.#ports;
    this.#subscription = await bus.follow(
      { stream: 'GYRE_CONTROL', subjects, fromSequence: this.#lastSequence + 1 },
      (message) => this.#receive(message),
    );
    return this.#subscription;
  }

  /**
   * Place of the newest leaf that the stream still has where it was: it may have gone back meanwhile, and
   * have other messages in the places of those that were taken in.
   */
  async #standsAt(): Promise<number> {
    const { book, bus } = this.#ports;
    for (let back = 1; back <= book.size; back *= 2) {
      const note = book.notes(book.size - back, book.size - back + 1)[0];
      const place = note === undefined ? 0 : book.placeOf(note.hash);
      const message = place === 0 ? null : await bus.getMessage('GYRE_CONTROL', place);
      if (message === null) continue;
      const examined = book.examine(message.data, message.subject);
      if (examined.status === 'authentic' && examined.audited.hash === note?.hash) return place;
    }
    return 0;
  }

  /** The stream began its sequences anew: goes through all of it; what is known is no new leaf. */
  async startOver(): Promise<Subscription> {
    await this.#subscription?.stop();
    await this.#working;
    this.#lastSequence = 0;
    this.#ports.book.arrivesAt(0);
    return await this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const resolve of this.#room.splice(0)) resolve();
    await this.#subscription?.stop();
    await this.#working;
  }

  async #receive(message: BusMessage): Promise<void> {
    if (this.#stopped) return;
    this.#queue.push(message);
    this.#working ??= this.#work();
    while (this.#queue.length >= queueMax && !this.#stopped) {
      await new Promise<void>((resolve) => this.#room.push(resolve));
    }
  }

  async #work(): Promise<void> {
    // Messages of one delivery are handed over one by one: let all of them arrive first.
    await new Promise<void>((resolve) => setImmediate(resolve));
    try {
      while (this.#queue.length > 0 && !this.#stopped) {
        const batch = this.#nextBatch();
        for (const resolve of this.#room.splice(0)) resolve();
        await this.#take(batch);
      }
    } catch (error) {
      // The judge may be ahead of the log: nothing more can be taken in before a new start.
      this.#stopped = true;
      throw error;
    }
    this.#working = undefined;
  }

  /** In rising order: where the stream went back another batch begins. */
  #nextBatch(): BusMessage[] {
    const end = this.#queue.findIndex(
      ({ sequence }, index) => index > 0 && sequence <= (this.#queue[index - 1]?.sequence ?? 0),
    );
    const batch = this.#queue.splice(0, Math.min(batchMax, end < 0 ? batchMax : end));
    const [first] = batch;
    if (first !== undefined && first.sequence <= this.#lastSequence) {
      this.#losses += 1;
      const { log } = this.#ports;
      log.error({ code: 'BUS_LOST_EVENTS', sequence: first.sequence }, 'the stream went back');
    }
    for (const { sequence } of batch) this.#ports.book.arrivesAt(sequence);
    return batch;
  }

  async #take(batch: readonly BusMessage[]): Promise<void> {
    const { book, receipts, onLeaves, whenReadable } = this.#ports;
    const arrivals: Arrival[] = [];
    const copies: LeafNote[] = [];
    const inBatch = new Set<string>();
    if (!(await this.#archiveReady())) return;
    for (const message of batch) {
      const audited = this.#authentic(message);
      if (audited === undefined) continue;
      const known = book.noteOf(audited.hash);
      if (known !== undefined) {
        copies.push(known);
        book.seenAt(known.hash, message.sequence);
      } else if (!inBatch.has(audited.hash)) {
        inBatch.add(audited.hash);
        const { channel, epoch, sender } = audited.frame.header;
        await whenReadable?.({ channel, epoch }, sender);
        const judged = book.judgeNext(audited, book.size + arrivals.length);
        this.#report(judged);
        arrivals.push({ message, judged });
      }
    }
    if (!(await this.#append(arrivals))) return;
    for (const { message, judged } of arrivals) book.note(judged, message.sequence);
    this.#lastSequence = batch.at(-1)?.sequence ?? this.#lastSequence;
    receipts.issue([...copies, ...arrivals.map(({ judged }) => judged.note)]);
    if (arrivals.length > 0) onLeaves();
    await receipts.room();
  }

  /** Nothing is taken in that could not be kept: waits for the archive key where the policy has one. */
  async #archiveReady(): Promise<boolean> {
    const { archive, clock, log } = this.#ports;
    while (!this.#stopped) {
      if (!archive.isWanted || archive.hasKey) {
        this.#trouble = undefined;
        return true;
      }
      this.#trouble = 'ARCHIVE_KEY_MISSING';
      log.error({ code: this.#trouble }, 'no receipts until the signer has given the archive key');
      await new Promise<void>((resolve) => clock.after(retryMs, resolve));
    }
    return false;
  }

  #authentic(message: BusMessage) {
    const examination = this.#ports.book.examine(message.data, message.subject);
    if (examination.status === 'authentic') return examination.audited;
    const { code } = examination;
    this.#refusals[code] = (this.#refusals[code] ?? 0) + 1;
    const { sequence, subject } = message;
    this.#ports.log.warn({ code, sequence, subject }, 'message is no authentic event');
    return undefined;
  }

  #report({ judgement, note }: Judged): void {
    if (judgement.verdict === 'accepted') return;
    const { code, reason } = judgement;
    const { hash, type, subject } = note;
    this.#ports.log.warn({ code, reason, event: hash, type, subject }, 'event refused');
    this.#ports.onRefused(code, note);
  }

  /** Waits for the disk as long as it is full: what was judged is appended, or nothing is. */
  async #append(arrivals: readonly Arrival[]): Promise<boolean> {
    const { records, clock, log } = this.#ports;
    const receivedAtMs = clock.nowMs();
    const entries = arrivals.map(({ message, judged }): LogRecord => {
      const { audited, note, archived } = judged;
      const { leafIndex, verdict } = note;
      const { sequence } = message;
      const { bytes: frame } = audited.frame;
      return { leafIndex, sequence, receivedAtMs, verdict, frame, ...(archived && { archived }) };
    });
    while (!this.#stopped) {
      try {
        await records.append(entries);
        this.#trouble = undefined;
        return true;
      } catch (error) {
        if (!(error instanceof AuditLogError && error.code === 'AUDIT_DISK_FULL')) throw error;
        this.#trouble = error.code;
        log.error({ code: error.code }, 'no receipts until there is room on the disk');
        await new Promise<void>((resolve) => clock.after(retryMs, resolve));
      }
    }
    return false;
  }
}
