/**
 * Receipts: the auditor's signed word that leaves are on its disk, and where their sagas stand.
 * Those of saga entries are verdicts: a rotation waits for each one, so there is no timer and no wish
 * for a fuller batch. All others only empty outboxes: they go out together, a little later, on a
 * subject of their own, so that not every agent opens a receipt for every event. Both are published
 * without an outbox, because the log is where they come from: what may be lost is issued again
 * (`receipt-watch.ts`).
 */

import type { ReceiptEntry } from '#schemas/events.ts';
import { BusError } from '#shared/bus/bus.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { AuditBook } from './book.ts';
import type { LeafNote } from './leaf-note.ts';
import type { IssuedReceipts } from './issued-receipts.ts';

/** Entries of one event. Step commands carry the whole event, so it is kept small: about 8 KiB. */
export const receiptsPerEventMax = 32;
/** Receipts that may wait; more than that and the intake waits too. */
export const receiptsWaitingMax = 256;
const retryMs = 200;

/** How long receipts that nobody waits for are gathered. */
const gatherMs = 200;

export interface ReceiptPorts {
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
  readonly book: AuditBook;
  /** Remembers where each receipt stands. */
  readonly issued: IssuedReceipts;
  /** For saga entries. */
  readonly verdictSubject: string;
  /** For everything else. */
  readonly receiptSubject: string;
}

export class ReceiptWriter {
  readonly #verdicts: ReceiptQueue;
  readonly #others: ReceiptQueue;

  constructor(receiptPorts: ReceiptPorts) {
    const { verdictSubject, receiptSubject } = receiptPorts;
    const ports = { ...receiptPorts, onLost: (lost: readonly LeafNote[]) => this.issue(lost) };
    this.#verdicts = new ReceiptQueue(ports, { subject: verdictSubject, gatherMs: 0 });
    this.#others = new ReceiptQueue(ports, { subject: receiptSubject, gatherMs });
  }

  /** Issues receipts for leaves that are on the disk; a leaf that waits already waits once. */
  issue(notes: Iterable<LeafNote>): void {
    for (const note of notes) {
      if (note.saga === undefined) this.#others.add(note);
      else this.#verdicts.add(note);
    }
  }

  /** Resolves when there is room for another batch. */
  async room(): Promise<void> {
    await Promise.all([this.#verdicts.room(), this.#others.room()]);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#verdicts.stop(), this.#others.stop()]);
  }
}

interface QueuePorts extends ReceiptPorts {
  /** Receipts turned out to be lost. */
  readonly onLost: (notes: readonly LeafNote[]) => void;
}

class ReceiptQueue {
  readonly #ports: QueuePorts;
  readonly #subject: string;
  readonly #gatherMs: number;
  readonly #waiting = new Map<string, LeafNote>();
  readonly #room: (() => void)[] = [];
  #running: Promise<void> | undefined;
  #lastSequence = 0;
  #stopped = false;

  constructor(ports: QueuePorts, { subject, gatherMs: ms }: { subject: string; gatherMs: number }) {
    this.#ports = ports;
    this.#subject = subject;
    this.#gatherMs = ms;
  }

  add(note: LeafNote): void {
    this.#waiting.set(note.hash, note);
    if (!this.#stopped) this.#running ??= this.#run();
  }

  async room(): Promise<void> {
    while (this.#waiting.size >= receiptsWaitingMax && !this.#stopped) {
      await new Promise<void>((resolve) => this.#room.push(resolve));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#makeRoom();
    await this.#running;
  }

  async #run(): Promise<void> {
    // Whoever added the first one may have more in hand.
    await this.#pause(this.#gatherMs);
    while (this.#waiting.size > 0 && !this.#stopped) {
      const batch = [...this.#waiting.values()].slice(0, receiptsPerEventMax);
      for (const { hash } of batch) this.#waiting.delete(hash);
      this.#makeRoom();
      if (await this.#publish(batch)) continue;
      for (const note of batch) this.#waiting.set(note.hash, note);
      await this.#pause(retryMs);
    }
    this.#running = undefined;
  }

  #pause(ms: number): Promise<void> {
    if (ms === 0) return Promise.resolve();
    return new Promise((resolve) => this.#ports.clock.after(ms, resolve));
  }

  async #publish(batch: readonly LeafNote[]): Promise<boolean> {
    const { exchange, book, log } = this.#ports;
    try {
      const { sequence } = await exchange.publish({
        type: 'receipts-issued',
        subject: this.#subject,
        channel: 'mesh',
        body: { treeSize: book.size, rootHash: book.rootHash(), entries: batch.map(entryOf) },
      });
      this.#remember(sequence, batch);
      return true;
    } catch (error) {
      const code = passingFault(error);
      if (code === undefined) throw error;
      log.warn({ code, receipts: batch.length }, 'receipts wait for the bus or for a secret');
      return false;
    }
  }

  /**
   * What one queue publishes stands further on each time, and where no other receipt stands: else the
   * stream went back, and lost receipts.
   */
  #remember(sequence: number, batch: readonly LeafNote[]): void {
    const { issued, onLost } = this.#ports;
    const wentBack = sequence <= this.#lastSequence || issued.isTaken(sequence);
    const lost = wentBack ? issued.takeFrom(sequence) : [];
    this.#lastSequence = sequence;
    issued.note(sequence, batch);
    if (lost.length > 0) onLost(lost);
  }

  #makeRoom(): void {
    for (const resolve of this.#room.splice(0)) resolve();
  }
}

/** The code of what is over by itself: the bus is away, or the secret of `mesh` is not there yet. */
function passingFault(error: unknown): string | undefined {
  const isPassing =
    error instanceof BusError || (error instanceof CryptoError && error.code === 'CHANNEL_UNKNOWN');
  return isPassing ? error.code : undefined;
}

function entryOf({ hash, leafIndex, verdict, saga }: LeafNote): ReceiptEntry {
  const entry = { statementHash: hash, leafIndex, verdict };
  if (saga === undefined) return entry;
  const { sagaId, sagaIndex, phase } = saga;
  return { ...entry, sagaId, sagaIndex, ...(phase === undefined ? {} : { phase }) };
}
