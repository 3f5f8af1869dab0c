/**
 * What a checker is: one invariant of `docs/reliability.md`, looked after at every change and once more
 * when the world is at rest. Checkers are written apart from the code that they check: they read what is
 * durable and what was said, and draw their own conclusions, so that a fault of a fold of the production
 * code is not a fault of theirs too.
 */

import type { EventBody, EventTypeName } from '#schemas/events.ts';
import type { Change, ChangeKind, Observation, ObservedMessage } from '../observation.ts';

export type Invariant = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15;

export interface Violation {
  readonly invariant: Invariant;
  /** Where it was found; empty where it is no single agent's. */
  readonly agentId: string;
  /** A sentence for people. */
  readonly what: string;
  /** Statement hashes, key ids, saga ids that it is about. */
  readonly about: readonly string[];
  /** True time. */
  readonly timeMs: number;
}

export interface Checker {
  readonly invariant: Invariant;
  readonly name: string;
  /** What it wants to hear of. */
  readonly kinds: readonly ChangeKind[];
  /** How often it really held something against something. */
  readonly looked: number;
  afterEvent(observation: Observation, change: Change): readonly Violation[];
  atRest(observation: Observation): readonly Violation[];
}

export const nothing: readonly Violation[] = [];

/** Counts and words for a checker. */
export abstract class BaseChecker implements Checker {
  abstract readonly invariant: Invariant;
  abstract readonly name: string;
  abstract readonly kinds: readonly ChangeKind[];
  looked = 0;

  afterEvent(_observation: Observation, _change: Change): readonly Violation[] {
    return nothing;
  }

  atRest(_observation: Observation): readonly Violation[] {
    return nothing;
  }

  protected violation(
    observation: Observation,
    { agentId = '', what, about = [] }: { agentId?: string; what: string; about?: string[] },
  ): Violation {
    return { invariant: this.invariant, agentId, what, about, timeMs: observation.nowMs };
  }
}

/** The body of an authentic event of a type; undefined for anything else. */
export function bodyOf<Name extends EventTypeName>(
  message: ObservedMessage | undefined,
  type: Name,
): EventBody<Name> | undefined {
  if (message === undefined || message.type !== type || !message.authentic) return undefined;
  const { body } = message;
  return typeof body === 'object' && body !== null ? (body as EventBody<Name>) : undefined;
}

export function violationText({ invariant, agentId, what, about, timeMs }: Violation): string {
  const where = agentId === '' ? '' : ` at ${agentId}`;
  const names = about.length === 0 ? '' : ` [${about.join(', ')}]`;
  return `invariant ${invariant}${where}, ${timeMs} ms: ${what}${names}`;
}
