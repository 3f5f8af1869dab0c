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
  approvalMissing: 6,
  rolledBack: 7,
  lockedOut: 8,
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
  readonly cause?: unknown;
}

export class CliFault extends Error {
  override readonly name = 'CliFault';
  readonly code: string;
  readonly reason: string;
  readonly hint: string;
  readonly exitCode: ExitCode;

  constructor({ code, reason, hint, exitCode = exitCodes.failed, cause }: FaultFields) {
    super(`${code}: ${reason}`, cause === undefined ? {} : { cause });
    this.code = code;
    this.reason = reason;
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

/** A command that was asked for in a way that cannot be meant. Exit code 2. */
export function usageFault(reason: string, hint: string): CliFault {
  return new CliFault({ code: 'USAGE', reason, hint, exitCode: exitCodes.usage });
}
