/**
 * One saga's log as an orchestrator knows it: what the bus delivered, what the auditor's receipts made
 * effective, and the state folded from that alone (invariant 5). An entry without a receipt is
 * pending; a refused one never happened. Anything here can be forgotten and folded again.
 */

import type { Disclosure } from '#schemas/frame.ts';
import type { RotationPhase, SagaEntry } from '#schemas/saga.ts';
import type { RotationCommand } from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';

export type Fold<State, Command> = (
  state: State | null,
  entry: SagaEntry,
  hash: string,
  /** Absent for what was not appended yet. */
  taken?: Verdict,
) => { state: State; commands: Command[] } | { rejected: string; reason: string };

export interface Verdict {
  readonly verdict: 'accepted' | 'refused';
  /** The `receipts-issued` event that says so; null where only the auditor's own record does. */
  readonly receipt: Disclosure | null;
  /** Where the rotation stands once the entry has taken effect; absent where only the record says so. */
  readonly phase?: RotationPhase | undefined;
}

export interface AppliedEntry {
  readonly hash: string;
  readonly author: string;
  readonly timeMs: number;
  readonly entry: SagaEntry;
  readonly receipt: Disclosure | null;
}

/** The log of one rotation. */
export type RotationLog = SagaLog<RotationState, RotationCommand>;

const zeroHash = '0'.repeat(64);
/** Entries that may wait for a receipt; more than that only a flood makes. */
const pendingMax = 1024;
/** Refused entries that are remembered, for whoever waits to hear what became of theirs. */
const refusedMax = 256;

export class SagaLog<State, Command> {
  readonly sagaId: string;
  readonly subject: string;
  readonly #fold: Fold<State, Command>;
  readonly #pending = new Map<string, ReceivedEvent<'saga-entry'>>();
  readonly #known = new Set<string>();
  readonly #refused = new Set<string>();
  readonly applied: AppliedEntry[] = [];
  state: State | null = null;
  /**
   * Why this log cannot go on: an auditor vouched for an entry that does not follow. It lies or runs
   * other code; the saga stands still, and the others go on.
   */
  broken: string | undefined;
  /** Sequence of the last message on the subject, whatever it holds. */
  lastSequence = 0;
  #changed = Promise.withResolvers<void>();

  constructor(sagaId: string, subject: string, fold: Fold<State, Command>) {
    this.sagaId = sagaId;
    this.subject = subject;
    this.#fold = fold;
  }

  /** Index and link of the entry that may come next. */
  next(): { index: number; previous: string } {
    return { index: this.applied.length, previous: this.applied.at(-1)?.hash ?? zeroHash };
  }

  get last(): AppliedEntry | undefined {
    return this.applied.at(-1);
  }

  /** Whether entries wait for their receipts. */
  get hasPending(): boolean {
    return this.#pending.size > 0;
  }

  isApplied(hash: string): boolean {
    return this.#known.has(hash);
  }

  isPending(hash: string): boolean {
    return this.#pending.has(hash);
  }

  /** The auditor said no: the entry never happened and never will. */
  isRefused(hash: string): boolean {
    return this.#refused.has(hash);
  }

  /** Resolves at the next change: a delivery, a receipt, a loss. */
  changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** A message was seen on the subject at this sequence, be it well-formed or not. */
  saw(sequence: number): void {
    if (sequence <= this.lastSequence) return;
    this.lastSequence = sequence;
    this.#announce();
  }

  /** An authentic entry arrived. */
  deliver(event: ReceivedEvent<'saga-entry'>): void {
    if (this.#known.has(event.hash) || this.#pending.has(event.hash)) return;
    if (this.#pending.size >= pendingMax) return;
    this.#pending.set(event.hash, event);
    this.#announce();
  }

  /**
   * The bus turned out to hold nothing after `sequence`. What was pending there never happened,
   * unless the auditor has it: then it comes back as a restored event.
   */
  lost(sequence: number): void {
    this.lastSequence = sequence;
    for (const [hash, event] of this.#pending) {
      if (event.sequence > sequence) this.#pending.delete(hash);
    }
    this.#announce();
  }

  /** The bus no longer has it, though it has what came later: it never happened, unless it comes back. */
  vanished(hash: string): void {
    if (this.#pending.delete(hash)) this.#announce();
  }

  /**
   * Applies the verdicts that are known for pending entries, in order of index. Returns the commands
   * of each entry that took effect.
   */
  settle(verdicts: ReadonlyMap<string, Verdict>): { applied: AppliedEntry; commands: Command[] }[] {
    const results: { applied: AppliedEntry; commands: Command[] }[] = [];
    let isChanged = false;
    for (let moved = true; moved;) {
      moved = false;
      for (const [hash, event] of this.#pending) {
        const verdict = verdicts.get(hash);
        if (verdict === undefined) continue;
        if (verdict.verdict === 'refused') {
          this.#pending.delete(hash);
          this.#noteRefused(hash);
          moved = true;
        } else if (event.body.index === this.applied.length && this.broken === undefined) {
          this.#pending.delete(hash);
          const result = this.#apply(event, verdict);
          if (result !== undefined) results.push(result);
          moved = true;
        }
      }
      isChanged ||= moved;
    }
    if (isChanged) this.#announce();
    return results;
  }

  /** What `entry` would lead to, without applying it. */
  probe(entry: SagaEntry): ReturnType<Fold<State, Command>> {
    if (this.broken !== undefined) return { rejected: 'SAGA_BROKEN', reason: this.broken };
    return this.#fold(this.state, entry, zeroHash);
  }

  /** A receipt came for an entry that took effect by the auditor's record alone. */
  vouchedFor(hash: string, receipt: Disclosure): void {
    const at = this.applied.findIndex((entry) => entry.receipt === null && entry.hash === hash);
    const entry = this.applied[at];
    if (entry !== undefined) this.applied[at] = { ...entry, receipt };
  }

  /** Entries that wait for their receipts, the oldest first. */
  pending(): string[] {
    return [...this.#pending.keys()];
  }

  /** The same with the sequences that brought them. */
  pendingPlaces(): { readonly hash: string; readonly sequence: number }[] {
    return Array.from(this.#pending, ([hash, { sequence }]) => ({ hash, sequence }));
  }

  #apply(
    event: ReceivedEvent<'saga-entry'>,
    verdict: Verdict,
  ): { applied: AppliedEntry; commands: Command[] } | undefined {
    const folded = this.#fold(this.state, event.body, event.hash, verdict);
    if ('rejected' in folded) {
      this.broken = `entry ${event.hash} has a receipt and does not follow: ${folded.rejected}`;
      return undefined;
    }
    this.state = folded.state;
    this.#known.add(event.hash);
    const applied: AppliedEntry = {
      hash: event.hash,
      author: event.header.sender,
      timeMs: event.header.timeMs,
      entry: event.body,
      receipt: verdict.receipt,
    };
    this.applied.push(applied);
    return { applied, commands: folded.commands };
  }

  #noteRefused(hash: string): void {
    this.#refused.add(hash);
    const [oldest] = this.#refused;
    if (this.#refused.size > refusedMax && oldest !== undefined) this.#refused.delete(oldest);
  }

  #announce(): void {
    const previous = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    previous.resolve();
  }
}
