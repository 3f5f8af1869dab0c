/**
 * Appends to one saga's log: one entry at a time, only on top of everything that was delivered and
 * settled, with the bus's optimistic concurrency as the judge between two orchestrators (invariant 2).
 * A proposal that no longer follows from the state is dropped, never forced.
 */

import type { SagaEntry } from '#schemas/saga.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { Turns } from '#shared/runtime/turns.ts';
import { askForReceipts } from './receipts.ts';
import type { SagaLog } from './saga-log.ts';

export type ProposedEvent<Event> = Event extends { atMs: number } ? Omit<Event, 'atMs'> : never;

export interface Proposal {
  readonly event: ProposedEvent<SagaEntry['event']>;
  /** Statement hashes of the events that it rests on. */
  readonly consumed: readonly string[];
  /** Asked before each attempt: whether what it serves is still waited for. */
  readonly isWanted?: () => boolean;
}

export type ProposalOutcome =
  | { readonly status: 'applied' }
  | { readonly status: 'rejected'; readonly code: string; readonly reason: string };

interface AppenderPorts {
  readonly trust: TrustView;
  readonly exchange: Exchange;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
}

const receiptTimeoutMs = 2_000;
const retryMs = 200;
/** How often an entry may be refused by the auditor before its proposal is given up. */
const refusalsMax = 5;

/** Code of a proposal that the auditor refused: what it rests on is not what it seemed. */
export const entryRefused = 'ENTRY_REFUSED';
/** Code of a proposal whose purpose has passed. */
export const noLongerWanted = 'NO_LONGER_WANTED';

export class Appender {
  readonly #ports: AppenderPorts;
  readonly #saga: SagaLog<unknown, unknown>;
  readonly #kind: SagaEntry['saga'];
  readonly #turns = new Turns();
  #stopped = false;

  constructor(ports: AppenderPorts, saga: SagaLog<unknown, unknown>, kind: SagaEntry['saga']) {
    this.#ports = ports;
    this.#saga = saga;
    this.#kind = kind;
  }

  /** Proposals queue; each one resolves when its entry took effect or no longer can. */
  propose(proposal: Proposal): Promise<ProposalOutcome> {
    return this.#turns.take('proposal', () => this.#run(proposal));
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(proposal: Proposal): Promise<ProposalOutcome> {
    for (let refusals = 0; ;) {
      if (this.#stopped) return { status: 'rejected', code: 'STOPPED', reason: 'shutting down' };
      if (proposal.isWanted?.() === false) {
        return {
          status: 'rejected',
          code: noLongerWanted,
          reason: 'nothing waits for it any more',
        };
      }
      const { broken } = this.#saga;
      if (broken !== undefined) return { status: 'rejected', code: 'SAGA_BROKEN', reason: broken };
      if (this.#saga.hasPending) {
        await this.#waitForReceipts();
        continue;
      }
      const entry = this.#entryOf(proposal);
      const probe = this.#saga.probe(entry);
      if ('rejected' in probe) {
        return { status: 'rejected', code: probe.rejected, reason: probe.reason };
      }
      const hash = await this.#append(entry);
      if (hash === undefined) continue;
      await this.#waitForReceipts();
      if (this.#saga.isApplied(hash)) return { status: 'applied' };
      if (!this.#saga.isRefused(hash) || this.#saga.next().index !== entry.index) continue;
      // Refused where it stands. The auditor may know entries that the bus has lost and that are
      // about to come back; otherwise the same entry would be refused for ever.
      await this.#pause(retryMs * 2 ** refusals);
      refusals += 1;
      if (refusals >= refusalsMax) {
        return { status: 'rejected', code: entryRefused, reason: 'the auditor refused the entry' };
      }
    }
  }

  #entryOf({ event, consumed }: Proposal): SagaEntry {
    return {
      saga: this.#kind,
      sagaId: this.#saga.sagaId,
      ...this.#saga.next(),
      consumed: [...consumed],
      event: { ...event, atMs: this.#ports.clock.nowMs() },
    } as SagaEntry;
  }

  /** Hash of the stored entry, or undefined when something else came first or the bus is away. */
  async #append(entry: SagaEntry): Promise<string | undefined> {
    const { exchange, log } = this.#ports;
    const expected = this.#saga.lastSequence;
    try {
      const outcome = await exchange.append(
        { type: 'saga-entry', subject: this.#saga.subject, channel: 'saga', body: entry },
        expected,
      );
      if (outcome.status === 'conflict') {
        if (outcome.lastSequence < expected) await this.#reread(outcome.lastSequence);
        else if (outcome.lastSequence > this.#saga.lastSequence) await this.#pause(retryMs);
        return undefined;
      }
      if (!this.#saga.isApplied(outcome.event.hash)) await this.#delivered(outcome.event.hash);
      return outcome.event.hash;
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ saga: this.#saga.sagaId, code: error.code }, 'append did not reach the bus');
      await this.#pause(retryMs);
      return undefined;
    }
  }

  /** Waits until the follow has brought our own entry (or it is gone). */
  async #delivered(hash: string): Promise<void> {
    const deadlineMs = this.#ports.clock.monotonicMs() + receiptTimeoutMs;
    while (!this.#saga.isApplied(hash) && !this.#saga.isPending(hash)) {
      if (this.#stopped || this.#ports.clock.monotonicMs() > deadlineMs) return;
      await Promise.race([this.#saga.changed(), this.#pause(retryMs)]);
    }
  }

  /** An entry without a receipt holds the saga; if the bus has lost it, it never happened. */
  async #waitForReceipts(): Promise<void> {
    const { clock, log } = this.#ports;
    const deadlineMs = clock.monotonicMs() + receiptTimeoutMs;
    while (this.#saga.hasPending && !this.#stopped) {
      if (clock.monotonicMs() > deadlineMs) {
        log.warn({ saga: this.#saga.sagaId }, 'no receipt yet: the saga waits for an auditor');
        await this.#reread(this.#saga.lastSequence);
        await this.#lookForPending();
        if (this.#saga.hasPending) await askForReceipts(this.#ports, this.#saga.pending());
        return;
      }
      await Promise.race([this.#saga.changed(), this.#pause(retryMs)]);
    }
  }

  /**
   * Asks the bus what the subject's last message really is. An answer that was overtaken by what the
   * follow brought meanwhile says nothing: it was right when it was given.
   */
  async #reread(expected: number): Promise<void> {
    const { bus, log } = this.#ports;
    const known = this.#saga.lastSequence;
    try {
      const last = await bus.lastMessage('GYRE_CONTROL', this.#saga.subject);
      const sequence = last?.sequence ?? 0;
      if (sequence < known && known === this.#saga.lastSequence) {
        log.error(
          { saga: this.#saga.sagaId, expected, sequence },
          'the bus lost entries that it had acknowledged; waiting for the auditor to put them back',
        );
        this.#saga.lost(sequence);
        await this.#pause(5 * retryMs);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      await this.#pause(retryMs);
    }
  }

  /**
   * The subject's last message tells nothing of those before it: a bus that forgot an entry may have been
   * given others since, by an auditor who never saw that one and put back what it had.
   */
  async #lookForPending(): Promise<void> {
    const { bus, log } = this.#ports;
    try {
      for (const { hash, sequence } of this.#saga.pendingPlaces()) {
        const message = await bus.getMessage('GYRE_CONTROL', sequence);
        if (message?.subject === this.#saga.subject) continue;
        log.error(
          { saga: this.#saga.sagaId, sequence },
          'the bus lost an entry that no auditor has seen: it never happened',
        );
        this.#saga.vanished(hash);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      await this.#pause(retryMs);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#ports.clock.after(ms, resolve);
    });
  }
}
