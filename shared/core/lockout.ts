/**
 * Who offered a bad document, and until when it is refused what asks for something new. How long comes
 * from the table of codes (900 seconds for ORCH-8010 and ORCH-8011); the time is the receiver's own.
 * The ledger is a value that its owner keeps across restarts; it has a fixed number of entries, and the
 * one that ends first gives way, so that many names cannot make it grow.
 */

import {
  orchestrationCodes,
  orchCodes,
  type OrchCode,
  type OrchestrationCode,
} from '#schemas/errors.ts';
import { lockoutsShownMax, type LockoutsShown } from '#schemas/queries.ts';

export interface Lockout {
  readonly sender: string;
  readonly code: OrchCode;
  readonly untilMs: number;
}

export const lockoutsMax = 4096;

/** As an answer tells it: bounded, and nothing where nobody is locked out. */
export function lockoutsShown(lockouts: readonly Lockout[]): { readonly lockouts?: LockoutsShown } {
  if (lockouts.length === 0) return {};
  return { lockouts: lockouts.slice(0, lockoutsShownMax).map((each) => ({ ...each })) };
}

export class LockoutLedger {
  readonly #bySender = new Map<string, Lockout>();

  /** The lockout that follows from the code; undefined where the table names none for it. */
  note(sender: string, code: OrchCode, nowMs: number): Lockout | undefined {
    const row: OrchestrationCode = orchestrationCodes[code];
    const { lockout } = row;
    if (lockout === null || lockout === 'sticky') return undefined;
    const untilMs = Math.max(
      nowMs + lockout.seconds * 1000,
      this.#bySender.get(sender)?.untilMs ?? 0,
    );
    const noted = { sender, code, untilMs };
    this.#bySender.set(sender, noted);
    if (this.#bySender.size > lockoutsMax) this.#makeRoom(sender);
    return noted;
  }

  isLockedOut(sender: string, nowMs: number): boolean {
    return this.of(sender, nowMs) !== undefined;
  }

  /** The lockout of a sender while it lasts. */
  of(sender: string, nowMs: number): Lockout | undefined {
    const lockout = this.#bySender.get(sender);
    return lockout !== undefined && nowMs < lockout.untilMs ? lockout : undefined;
  }

  /** What lasts at `nowMs`, by sender. */
  lasting(nowMs: number): Lockout[] {
    return [...this.#bySender.values()]
      .filter(({ untilMs }) => nowMs < untilMs)
      .toSorted((left, right) => (left.sender < right.sender ? -1 : 1));
  }

  toJSON(): readonly Lockout[] {
    return [...this.#bySender.values()];
  }

  /** Undefined where the value is not what `toJSON` gives. */
  static fromJSON(value: unknown): LockoutLedger | undefined {
    if (!Array.isArray(value) || value.length > lockoutsMax) return undefined;
    const ledger = new LockoutLedger();
    for (const each of value as unknown[]) {
      if (!isLockout(each)) return undefined;
      ledger.#bySender.set(each.sender, each);
    }
    return ledger;
  }

  #makeRoom(keep: string): void {
    let first: Lockout | undefined;
    for (const lockout of this.#bySender.values()) {
      if (lockout.sender === keep) continue;
      if (first === undefined || lockout.untilMs < first.untilMs) first = lockout;
    }
    if (first !== undefined) this.#bySender.delete(first.sender);
  }
}

function isLockout(value: unknown): value is Lockout {
  if (typeof value !== 'object' || value === null) return false;
  const { sender, code, untilMs } = value as Partial<Record<keyof Lockout, unknown>>;
  return (
    typeof sender === 'string' &&
    sender.length <= 64 &&
    orchCodes.some((known) => known === code) &&
    typeof untilMs === 'number' &&
    Number.isSafeInteger(untilMs)
  );
}
