/**
 * Faults as the command line tells them: a code, one sentence of what happened, one of what to do,
 * and the exit code. Every command throws this class and nothing else; what comes from elsewhere is
 * translated where it enters (`translate-fault.ts`).
 */

/** Exit codes of the command line; scripts rely on them. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 5,
  /** It waits for people: an approval is missing or does not count, or nobody has executed the plan. */
  approvalMissing: 6,
  rolledBack: 7,
  lockedOut: 8,
  /** What was asked for goes on by itself; the command's time was over first. */
  timeOver: 9,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export interface FaultFields {
  /** `ORCH-8004`, `PORT_IN_USE` …: what a script may match. */
  readonly code: string;
  /** What happened, one sentence. */
  readonly reason: string;
  /** What to do about it, one sentence. */
  readonly hint: string;
  readonly exitCode?: ExitCode;
  /** What it is about, for scripts: stands beside the error under --json. */
  readonly about?: FaultSubject;
  readonly cause?: unknown;
}

export interface FaultSubject {
  readonly planId?: string;
  readonly negotiationId?: string;
}

export class CliFault extends Error {
  override readonly name = 'CliFault';
  readonly code: string;
  readonly reason: string;
  readonly hint: string;
  readonly exitCode: ExitCode;
  readonly about: FaultSubject;

  constructor(fields: FaultFields) {
    const { code, reason, hint, exitCode = exitCodes.failed, about = {}, cause } = fields;
    super(`${code}: ${reason}`, cause === undefined ? {} : { cause });
    this.code = code;
    this.reason = reason;
    this.hint = hint;
    this.exitCode = exitCode;
    this.about = about;
  }

  /** The same fault, of this plan or negotiation. */
  of(about: FaultSubject): CliFault {
    const { code, reason, hint, exitCode, cause } = this;
    return new CliFault({ code, reason, hint, exitCode, about, cause });
  }
}

/** A command that was asked for in a way that cannot be meant. Exit code 2. */
export function usageFault(reason: string, hint: string): CliFault {
  return new CliFault({ code: 'USAGE', reason, hint, exitCode: exitCodes.usage });
}

/** A file that was named and cannot be read, whatever it should hold. */
export function fileFault(path: string, why: string, cause: unknown): CliFault {
  return new CliFault({
    code: 'FILE_UNREADABLE',
    reason: `${path} cannot be read (${why})`,
    hint: 'Name a file that is there and that you may read.',
    cause,
  });
}
