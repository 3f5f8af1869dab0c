/**
 * Receipts: the auditor's signed word that leaves are on its disk, and where their sagas stand. They
 * are on the critical path of every rotation, so there is no timer and no wish for a fuller batch:
 * what is there goes out, and what arrives meanwhile goes out next. They are published without an
 * outbox, because the log is where they come from: whatever may have been lost is issued again.
 */

import type { ReceiptEntry } from '#schemas/events.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { AuditBook, LeafNote } from './book.ts';

/** Entries of one event. Step commands carry the whole event, so it is kept small: about 8 KiB. */
export const receiptsPerEventMax = 32;
/** Receipts that may wait; more than that and the intake waits too. */
export const receiptsWaitingMax = 256;
const retryMs = 200;

export interface ReceiptPorts {
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
  readonly book: AuditBook;
  readonly subject: string;
}

export class ReceiptWriter {
  readonly #ports: ReceiptPorts;
  readonly #waiting = new Map<string, LeafNote>();
  readonly #room: (() => void)[] = [];
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(ports: ReceiptPorts) {
    this.#ports = ports;
  }

  /** Issues receipts for leaves that are on the disk; a leaf that waits already waits once. */
  issue(notes: Iterable<LeafNote>): void {
    for (const note of notes) this.#waiting.set(note.hash, note);
    if (this.#waiting.size > 0 && !this.#stopped) this.#running ??= this.#run();
  }

  /** Resolves when there is room for another batch. */
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
    while (this.#waiting.size > 0 && !this.#stopped) {
      const batch = [...this.#waiting.values()].slice(0, receiptsPerEventMax);
      for (const { hash } of batch) this.#waiting.delete(hash);
      this.#makeRoom();
      if (await this.#publish(batch)) continue;
      for (const note of batch) this.#waiting.set(note.hash, note);
      await new Promise<void>((resolve) => this.#ports.clock.after(retryMs, resolve));
    }
    this.#running = undefined;
  }

  async #publish(batch: readonly LeafNote[]): Promise<boolean> {
    const { exchange, book, subject, log } = this.#ports;
    try {
      await exchange.publish({
        type: 'receipts-issued',
        subject,
        channel: 'mesh',
        body: { treeSize: book.size, rootHash: book.rootHash(), entries: batch.map(entryOf) },
      });
      return true;
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code, receipts: batch.length }, 'receipts wait for the bus');
      return false;
    }
  }

  #makeRoom(): void {
    for (const resolve of this.#room.splice(0)) resolve();
  }
}

function entryOf({ hash, leafIndex, verdict, saga }: LeafNote): ReceiptEntry {
  const entry = { statementHash: hash, leafIndex, verdict };
  if (saga === undefined) return entry;
  const { sagaId, sagaIndex, phase } = saga;
  return { ...entry, sagaId, sagaIndex, ...(phase === undefined ? {} : { phase }) };
}
