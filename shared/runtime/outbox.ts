/**
 * The outbox of a producer: a control event is durable here before it is published, and leaves only
 * when an auditor's receipt covers it (a batch of the bulk lane, of which there are no receipts, when
 * the bus has it). The bus may forget, the connection may be away, the process
 * may die: what is here is published again. Receipts and checkpoints do not pass through it, so that
 * the mesh comes to rest.
 *
 * Rows are published in order through a bounded window. Within one window a message that the bus
 * could not take yet may be overtaken by the one behind it; a window of 1 rules that out.
 */
import type { DatabaseSync } from 'node:sqlite';
import { BusError, checkPublishRequest } from '#shared/bus/bus.ts';
import type { Bus, PublishOutcome, PublishRequest } from '#shared/bus/bus.ts';
import { OutboxError, OutboxStore } from './outbox-store.ts';
import type { OutboxCounts, OutboxRow } from './outbox-store.ts';
import type { Clock } from './ports.ts';

export interface OutboxLimits {
  readonly rowsMax: number;
  /** Payload bytes of all rows together. */
  readonly bytesMax: number;
  /** Publishes under way at once. */
  readonly windowMax: number;
  /** How long a stored row waits for its receipt; doubled at each repetition, up to 64 times. */
  readonly republishAfterMs: number;
}

export const outboxLimits: OutboxLimits = {
  rowsMax: 10_000,
  bytesMax: 256 * 1024 * 1024,
  windowMax: 8,
  republishAfterMs: 15_000,
};

export interface OutboxOptions {
  /** The producer's own database: the outbox makes its tables there. */
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly limits?: Partial<OutboxLimits>;
  /** What lets a row go: an auditor's receipt, unless told, or that the bus stored it. */
  readonly settledBy?: 'receipt' | 'bus';
  /**
   * Another message took the place that this one expected. It is removed after the call, so a crash
   * between the two repeats it.
   */
  readonly onConflict: (conflict: OutboxConflict) => void;
  /** Faults that the outbox survives by trying again, for the log. */
  readonly onTrouble: (error: BusError | OutboxError) => void;
}

export interface OutboxConflict {
  readonly messageId: string;
  readonly subject: string;
  readonly lastSequence: number;
}

export interface OutboxDrain {
  /** Begins no further publish; resolves when those under way have ended. */
  stop(): Promise<void>;
  /** Resolves when the drain stopped or the bus was closed; rejects with a fault of `onConflict`. */
  readonly ended: Promise<void>;
}

const pauseMsMin = 100;
const pauseMsMax = 5_000;
const doublingsMax = 6;
const openTransactionPauseMs = 5;

export class Outbox {
  readonly #store: OutboxStore;
  readonly #clock: Clock;
  readonly #limits: OutboxLimits;
  readonly #settledBy: 'receipt' | 'bus';
  readonly #onConflict: (conflict: OutboxConflict) => void;
  readonly #onTrouble: (error: BusError | OutboxError) => void;
  #resume: (() => void) | null = null;
  /** Something was enqueued since the last look at the rows. */
  #news = false;
  #draining = false;

  /** @throws OutboxError OUTBOX_DISK_FULL, OUTBOX_STORE_FAILED */
  constructor(options: OutboxOptions) {
    this.#store = new OutboxStore(options.database);
    this.#clock = options.clock;
    this.#limits = { ...outboxLimits, ...options.limits };
    this.#settledBy = options.settledBy ?? 'receipt';
    this.#onConflict = options.onConflict;
    this.#onTrouble = options.onTrouble;
  }

  /**
   * Durable when it returns; inside a transaction of the caller, when that commits. An id that is
   * already here is left as it is.
   * @throws OutboxError OUTBOX_FULL, OUTBOX_DISK_FULL, OUTBOX_REJECTED, OUTBOX_STORE_FAILED
   */
  enqueue(request: PublishRequest): void {
    checkRequest(request);
    const { subject, data, messageId, expectLastSubjectSequence = null } = request;
    const { rows, bytes } = this.#store.totals();
    const { rowsMax, bytesMax } = this.#limits;
    if (rows >= rowsMax || bytes + data.length > bytesMax) {
      throw new OutboxError('OUTBOX_FULL', `the outbox holds ${rows} messages of ${bytes} bytes`);
    }
    this.#store.insert({ subject, data, messageId, expectLastSubjectSequence });
    this.#wake();
  }

  /**
   * A receipt covers these messages: they leave, all or none. Unknown ids are ignored.
   * @throws OutboxError OUTBOX_DISK_FULL (removing needs a little room too), OUTBOX_STORE_FAILED
   */
  settle(messageIds: readonly string[]): number {
    return this.#store.removeIds(messageIds);
  }

  counts(): OutboxCounts {
    return this.#store.counts();
  }

  /** Publishes what is here and what comes, until stopped. One drain at a time. */
  drain(bus: Bus): OutboxDrain {
    if (this.#draining) throw new OutboxError('OUTBOX_REJECTED', 'the outbox is being drained');
    this.#draining = true;
    const loop = { stopped: false };
    const ended = this.#run(bus, loop).finally(() => {
      this.#draining = false;
    });
    return {
      ended,
      stop: async () => {
        loop.stopped = true;
        this.#wake();
        await ended;
      },
    };
  }

  async #run(bus: Bus, loop: { stopped: boolean }): Promise<void> {
    let pauseMs = pauseMsMin;
    while (!loop.stopped) {
      if (this.#store.inTransaction) {
        await this.#pause(openTransactionPauseMs);
        continue;
      }
      const turn = await this.#turn(bus);
      if (turn === 'closed') return;
      if (loop.stopped) return;
      if (turn === 'failed') {
        await this.#pause(pauseMs);
        pauseMs = Math.min(2 * pauseMs, pauseMsMax);
      } else {
        pauseMs = pauseMsMin;
        if (turn === 'idle' && !this.#news) await this.#pause(this.#idleMs());
      }
    }
  }

  /** One window. After a failure the next one begins again with the first that is not stored. */
  async #turn(bus: Bus): Promise<'published' | 'idle' | 'failed' | 'closed'> {
    this.#news = false;
    try {
      const rows = this.#store.due(this.#clock.nowMs(), this.#limits.windowMax);
      if (rows.length === 0) return 'idle';
      const outcomes = await Promise.allSettled(rows.map((row) => bus.publish(requestOf(row))));
      const results = rows.map((row, index) => this.#note(row, outcomes[index]));
      if (results.includes('closed')) return 'closed';
      return results.includes('failed') ? 'failed' : 'published';
    } catch (error) {
      if (!(error instanceof OutboxError)) throw error;
      this.#onTrouble(error);
      return 'failed';
    }
  }

  #note(
    row: OutboxRow,
    outcome: PromiseSettledResult<PublishOutcome> | undefined,
  ): 'published' | 'failed' | 'closed' {
    if (outcome?.status !== 'fulfilled') return this.#noteFault(row, outcome?.reason);
    if (outcome.value.status === 'conflict') {
      const { messageId, subject } = row;
      this.#onConflict({ messageId, subject, lastSequence: outcome.value.lastSequence });
      this.#store.remove(row.position);
      return 'published';
    }
    if (this.#settledBy === 'bus') {
      this.#store.remove(row.position);
      return 'published';
    }
    const waitMs = this.#limits.republishAfterMs * 2 ** Math.min(row.publishes, doublingsMax);
    this.#store.markStored(row.position, outcome.value.sequence, this.#clock.nowMs() + waitMs);
    return 'published';
  }

  /** What the bus will not take now holds up the others; what it refuses for good does not. */
  #noteFault(row: OutboxRow, fault: unknown): 'published' | 'failed' | 'closed' {
    if (!(fault instanceof BusError)) throw fault;
    if (fault.code === 'BUS_CLOSED') return 'closed';
    this.#onTrouble(fault);
    if (fault.code !== 'BUS_DENIED' && fault.code !== 'BUS_REJECTED') return 'failed';
    this.#store.postpone(row.position, this.#clock.nowMs() + this.#limits.republishAfterMs);
    return 'published';
  }

  #idleMs(): number {
    const dueMs = this.#store.nextDueMs();
    const waitMs = dueMs === null ? pauseMsMax : dueMs - this.#clock.nowMs();
    return Math.min(Math.max(1, waitMs), pauseMsMax);
  }

  /** Until the time is over or something was enqueued. */
  async #pause(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resume = resolve;
    const timer = this.#clock.after(delayMs, resolve);
    await promise;
    this.#resume = null;
    timer.cancel();
  }

  #wake(): void {
    this.#news = true;
    this.#resume?.();
  }
}

function requestOf(row: OutboxRow): PublishRequest {
  const { subject, data, messageId, expectLastSubjectSequence, publishes } = row;
  return {
    subject,
    data,
    messageId,
    ...(expectLastSubjectSequence === null ? {} : { expectLastSubjectSequence }),
    ...(publishes === 0 ? {} : { repetition: publishes }),
  };
}

function checkRequest(request: PublishRequest): void {
  try {
    checkPublishRequest(request);
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
    throw new OutboxError('OUTBOX_REJECTED', 'no bus would take this message', error);
  }
}
