/**
 * Looks whether the bus still has the receipts that it acknowledged (invariant 15): sagas wait for their
 * verdicts, and outboxes for all others, and nobody else could issue them again. Once a second the auditor
 * asks how far the audit stream reaches; only where it ends earlier, begins later or has more gaps than
 * before are single places looked at. What is missing is issued once more, verdicts first.
 */

import { BusError, type Bus, type StreamState } from '#shared/bus/bus.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import type { LeafNote } from './leaf-note.ts';
import type { IssuedReceipts } from './issued-receipts.ts';
import type { ReceiptWriter } from './receipts.ts';
import { gapsOf } from './restoration.ts';

export interface ReceiptWatchPorts {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
  readonly issued: IssuedReceipts;
  readonly receipts: Pick<ReceiptWriter, 'issue'>;
  /** How often to look. */
  readonly intervalMs: number;
}

export class ReceiptWatch {
  readonly #ports: ReceiptWatchPorts;
  #gaps = 0;
  #gapsBefore = 0;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(ports: ReceiptWatchPorts) {
    this.#ports = ports;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#ports.clock.after(this.#ports.intervalMs, () => {
      this.#looking = this.#look().finally(() => this.start());
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { bus, issued, receipts, log } = this.#ports;
    if (issued.size === 0) return;
    const lost: LeafNote[] = [];
    try {
      // What is published while the question is under way may stand behind the end that it tells.
      const known = issued.lastSequence;
      const state = await bus.streamState('GYRE_AUDIT');
      if (state.lastSequence < known) {
        lost.push(...issued.takeFrom(state.lastSequence + 1, known));
      }
      lost.push(...issued.takeFrom(0, state.firstSequence - 1));
      await this.#lookWithin(state, lost);
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code }, 'the bus could not be looked at for lost receipts');
    }
    if (lost.length === 0) return;
    log.error(
      { code: 'BUS_LOST_EVENTS', receipts: lost.length },
      'the bus lost receipts that it had acknowledged; they are issued again',
    );
    receipts.issue(lost.toSorted((one, other) => one.leafIndex - other.leafIndex));
  }

  /** Receipts in the gaps that are there now and were not before. */
  async #lookWithin(state: StreamState, lost: LeafNote[]): Promise<void> {
    const { bus, issued } = this.#ports;
    const gaps = gapsOf(state);
    if (gaps > this.#gaps) {
      for (const place of issued.places()) {
        if (place > state.lastSequence || this.#stopped) break;
        const message = await bus.getMessage('GYRE_AUDIT', place);
        if (message === null) lost.push(...issued.takeFrom(place, place));
      }
    }
    // Once more at the next look: what was under way meanwhile may be in the gap too, and is known by then.
    if (gaps === this.#gapsBefore) this.#gaps = gaps;
    this.#gapsBefore = gaps;
  }
}
